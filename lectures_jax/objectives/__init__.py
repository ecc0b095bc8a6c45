"""`(model, batch, key) -> (scalar, metrics)`: the only place where a model meets a loss."""

from .yolo import yolo

__all__ = ["yolo"]
