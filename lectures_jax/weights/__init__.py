"""Parameters in files: our own, and other people's."""

try:
    from lectures_jax.weights.safetensors_io import load_safetensors, save_safetensors
    from lectures_jax.weights.yolo import Detector, load_yolo, save_yolo
except ModuleNotFoundError as error:
    raise ImportError(
        f"lectures_jax.weights needs {error.name}: pip install 'lectures_jax[experiments]'"
    ) from error

__all__ = ["Detector", "load_safetensors", "load_yolo", "save_safetensors", "save_yolo"]
