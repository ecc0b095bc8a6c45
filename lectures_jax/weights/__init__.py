"""Parameters in files: our own, and other people's."""

try:
    from lectures_jax.weights.build import build_model
    from lectures_jax.weights.detector import Detector, load_detector
    from lectures_jax.weights.pretrained import load_pretrained
    from lectures_jax.weights.safetensors_io import load_safetensors, save_safetensors
    from lectures_jax.weights.saved import SavedModel, load_model, save_model
    from lectures_jax.weights.torchvision import load_torchvision, save_torchvision
except ModuleNotFoundError as error:
    raise ImportError(
        f"lectures_jax.weights needs {error.name}: pip install 'lectures_jax[experiments]'"
    ) from error

__all__ = [
    "Detector",
    "SavedModel",
    "build_model",
    "load_detector",
    "load_model",
    "load_pretrained",
    "load_safetensors",
    "load_torchvision",
    "save_model",
    "save_safetensors",
    "save_torchvision",
]
