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
from .flow import bits_per_dim, flow_nll
from .regression import squared_error
from .yolo import YoloTerms, ignored_slots, yolo_overlap, yolo_v1_style, yolo_v3, yolo_v3_terms

__all__ = [
    "SnrWeights",
    "VariationalTerms",
    "YoloTerms",
    "binary_cross_entropy",
    "bits_per_dim",
    "cross_entropy",
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
]
