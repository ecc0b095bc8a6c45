"""`(model, batch, key) -> (scalar, metrics)`: the only place where a model meets a loss."""

from .classification import classification
from .vae import (
    autoencoder,
    balanced_pixels,
    bernoulli_pixels,
    elbo,
    gaussian_pixels,
    importance_weighted,
    naive_likelihood,
)
from .yolo import yolo

__all__ = [
    "classification",
    "yolo",
    "autoencoder",
    "balanced_pixels",
    "bernoulli_pixels",
    "elbo",
    "gaussian_pixels",
    "importance_weighted",
    "naive_likelihood",
]
from .flow import flow, image_flow
from .yolo import yolo

__all__ = ["classification", "flow", "image_flow", "yolo"]
