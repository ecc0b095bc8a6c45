"""Parameters in files: our own, and other people's."""

try:
    from lectures_jax.weights.artifact import (
        PLATFORMS,
        ArraySpec,
        Artifact,
        load_artifact,
        save_artifact,
    )
    from lectures_jax.weights.build import build_model
    from lectures_jax.weights.darknet import load_darknet, load_darknet_weights, save_darknet
    from lectures_jax.weights.darknet_cfg import parse_darknet_config, read_darknet_config
    from lectures_jax.weights.darknet_cfg_text import darknet_config_text
    from lectures_jax.weights.detector import Detector, detector_of, load_detector
    from lectures_jax.weights.pretrained import load_pretrained
    from lectures_jax.weights.safetensors_io import load_safetensors, save_safetensors
    from lectures_jax.weights.saved import SavedModel, load_model, save_model
    from lectures_jax.weights.torchvision import load_torchvision, save_torchvision
except ModuleNotFoundError as error:
    raise ImportError(
        f"lectures_jax.weights needs {error.name}: pip install 'lectures_jax[experiments]'"
    ) from error

__all__ = [
    "PLATFORMS",
    "ArraySpec",
    "Artifact",
    "Detector",
    "SavedModel",
    "build_model",
    "darknet_config_text",
    "detector_of",
    "load_artifact",
    "load_darknet",
    "load_darknet_weights",
    "load_detector",
    "load_model",
    "load_pretrained",
    "load_safetensors",
    "load_torchvision",
    "parse_darknet_config",
    "read_darknet_config",
    "save_artifact",
    "save_darknet",
    "save_model",
    "save_safetensors",
    "save_torchvision",
]
