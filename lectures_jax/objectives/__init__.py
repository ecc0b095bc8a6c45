"""`(model, batch, key) -> (scalar, metrics)`: the only place where a model meets a loss."""

from .classification import classification
from .diffusion import predict_noise, predict_velocity, predict_x0
from .flow import flow, image_flow
from .gan import gan_discriminator, gan_generator, gan_generator_relativistic
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
    "flow",
    "image_flow",
    "gan_discriminator",
    "gan_generator",
    "gan_generator_relativistic",
    "yolo",
    "autoencoder",
    "balanced_pixels",
    "bernoulli_pixels",
    "elbo",
    "gaussian_pixels",
    "importance_weighted",
    "naive_likelihood",
    "predict_noise",
    "predict_velocity",
    "predict_x0",
]
