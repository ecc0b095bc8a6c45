"""Parameters in files: our own, and other people's."""

try:
    from .safetensors_io import load_safetensors, save_safetensors
    from .yolo import Detector, load_yolo, save_yolo
except ModuleNotFoundError as error:
    raise ImportError(
        f"lectures_jax.weights needs {error.name}: pip install 'lectures_jax[experiments]'"
    ) from error

__all__ = ["Detector", "load_safetensors", "load_yolo", "save_safetensors", "save_yolo"]
