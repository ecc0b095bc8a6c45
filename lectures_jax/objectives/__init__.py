"""`(model, batch, key) -> (scalar, metrics)`: the only place where a model meets a loss."""

from lectures_jax.objectives.adversarial_training import adversarial_training
from lectures_jax.objectives.autoencoder import autoencoder, denoising
from lectures_jax.objectives.classification import classification
from lectures_jax.objectives.diffusion import (
    diffusion_noise,
    diffusion_velocity,
    diffusion_x0,
    flow_matching,
)
from lectures_jax.objectives.flow import flow, flow_bits_per_dim
from lectures_jax.objectives.gan import gan_discriminator, gan_generator, gan_generator_relativistic
from lectures_jax.objectives.regression import regression
from lectures_jax.objectives.segmentation import segmentation
from lectures_jax.objectives.stylizer import LossNetwork, stylizer
from lectures_jax.objectives.vae import (
    bernoulli_nll,
    elbo,
    gaussian_nll,
    iwae,
    naive_likelihood,
    optimal_sigma_nll,
)
from lectures_jax.objectives.yolo import yolo

__all__ = [
    "regression",
    "segmentation",
    "classification",
    "adversarial_training",
    "flow",
    "flow_bits_per_dim",
    "gan_discriminator",
    "gan_generator",
    "gan_generator_relativistic",
    "LossNetwork",
    "stylizer",
    "yolo",
    "autoencoder",
    "denoising",
    "optimal_sigma_nll",
    "bernoulli_nll",
    "elbo",
    "gaussian_nll",
    "iwae",
    "naive_likelihood",
    "diffusion_noise",
    "diffusion_velocity",
    "diffusion_x0",
    "flow_matching",
]
