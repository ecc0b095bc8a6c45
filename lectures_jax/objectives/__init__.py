"""`(model, batch, key) -> (scalar, metrics)`: the only place where a model meets a loss."""

from .classification import classification
from .diffusion import predict_noise, predict_velocity, predict_x0
from .flow import flow, image_flow
from .yolo import yolo

__all__ = [
    "classification",
    "flow",
    "image_flow",
    "predict_noise",
    "predict_velocity",
    "predict_x0",
    "yolo",
]
