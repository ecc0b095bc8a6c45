"""Parameters in files: our own, and other people's."""

from .safetensors_io import load_safetensors, save_safetensors
from .yolo import Detector, load_yolo, save_yolo

__all__ = ["Detector", "load_safetensors", "load_yolo", "save_safetensors", "save_yolo"]
