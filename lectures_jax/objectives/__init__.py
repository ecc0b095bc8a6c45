"""`(model, batch, key) -> (scalar, metrics)`: the only place where a model meets a loss."""

from .classification import classification
from .yolo import yolo

__all__ = ["classification", "yolo"]
