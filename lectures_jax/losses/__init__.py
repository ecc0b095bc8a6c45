"""One value per example, in nats where it is information; the caller averages."""

from .classification import binary_cross_entropy, cross_entropy
from .divergence import gaussian_kl
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
    "YoloTerms",
    "binary_cross_entropy",
    "cross_entropy",
    "ignored_slots",
    "squared_error",
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
