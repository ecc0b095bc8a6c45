"""One value per example, in nats where it is information; the caller averages."""

from .classification import binary_cross_entropy, cross_entropy
from .diffusion import (
    SnrWeights,
    min_snr_weights,
    noise_prediction,
    velocity_prediction,
    x0_prediction,
)
from .diffusion_likelihood import VariationalTerms, ode_log_prob, variational_bound
from .divergence import gaussian_kl
from .flow import bits_per_dim, flow_nll
from .gan import (
    discriminator_hinge,
    discriminator_minimax,
    discriminator_relativistic,
    discriminator_wasserstein,
    generator_minimax,
    generator_non_saturating,
    generator_wasserstein,
    slope_penalty,
    squared_slope,
)
from .likelihood import (
    bernoulli_reconstruction,
    discretized_gaussian_reconstruction,
    effective_sample_size,
    gaussian_reconstruction,
    importance_bound,
)
from .regression import squared_error
from .yolo import YoloTerms, ignored_slots, yolo_overlap, yolo_v1_style, yolo_v3, yolo_v3_terms

__all__ = [
    "SnrWeights",
    "VariationalTerms",
    "YoloTerms",
    "binary_cross_entropy",
    "bits_per_dim",
    "cross_entropy",
    "discriminator_hinge",
    "discriminator_minimax",
    "discriminator_relativistic",
    "discriminator_wasserstein",
    "generator_minimax",
    "generator_non_saturating",
    "generator_wasserstein",
    "slope_penalty",
    "squared_slope",
    "flow_nll",
    "ignored_slots",
    "min_snr_weights",
    "noise_prediction",
    "ode_log_prob",
    "squared_error",
    "variational_bound",
    "velocity_prediction",
    "x0_prediction",
    "yolo_overlap",
    "yolo_v1_style",
    "yolo_v3",
    "yolo_v3_terms",
    "gaussian_kl",
    "gaussian_reconstruction",
    "bernoulli_reconstruction",
    "discretized_gaussian_reconstruction",
    "importance_bound",
    "effective_sample_size",
]
