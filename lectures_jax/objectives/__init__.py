"""`(model, batch, key) -> (scalar, metrics)`: the only place where a model meets a loss."""

from .classification import classification
from .flow import flow, image_flow
from .yolo import yolo

__all__ = ["classification", "flow", "image_flow", "yolo"]
