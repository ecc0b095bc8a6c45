"""One value per example, in nats where it is information; the caller averages."""

from lectures_jax.losses.boxes import ciou_loss, diou_loss, giou_loss
from lectures_jax.losses.classification import (
    binary_cross_entropy,
    cross_entropy,
    sigmoid_focal_loss,
)
from lectures_jax.losses.diffusion import (
    SnrWeights,
    flow_matching,
    min_snr_weights,
    noise_prediction,
    velocity_prediction,
    x0_prediction,
)
from lectures_jax.losses.divergence import gaussian_kl
from lectures_jax.losses.flow import bits_per_dim, flow_nll
from lectures_jax.losses.gan import (
    discriminator_hinge,
    discriminator_minimax,
    discriminator_relativistic,
    discriminator_wasserstein,
    generator_minimax,
    generator_non_saturating,
    generator_wasserstein,
    gradient_penalty,
    r1_penalty,
)
from lectures_jax.losses.likelihood import (
    bernoulli_reconstruction,
    discretized_gaussian_reconstruction,
    gaussian_reconstruction,
    iwae_bound,
)
from lectures_jax.losses.regression import squared_error
from lectures_jax.losses.segmentation import (
    dice,
    jaccard,
    multiclass_dice,
    multiclass_jaccard,
    pixel_cross_entropy,
    pixel_focal,
)
from lectures_jax.losses.style import content, style, total_variation
from lectures_jax.losses.yolo import (
    YoloTerms,
    ignored_slots,
    yolo_overlap,
    yolo_v1_style,
    yolo_v3,
    yolo_v3_terms,
)

__all__ = [
    "SnrWeights",
    "YoloTerms",
    "binary_cross_entropy",
    "bits_per_dim",
    "ciou_loss",
    "content",
    "cross_entropy",
    "dice",
    "diou_loss",
    "discriminator_hinge",
    "discriminator_minimax",
    "discriminator_relativistic",
    "discriminator_wasserstein",
    "generator_minimax",
    "generator_non_saturating",
    "generator_wasserstein",
    "gradient_penalty",
    "r1_penalty",
    "flow_nll",
    "giou_loss",
    "ignored_slots",
    "jaccard",
    "min_snr_weights",
    "multiclass_dice",
    "multiclass_jaccard",
    "noise_prediction",
    "pixel_cross_entropy",
    "pixel_focal",
    "sigmoid_focal_loss",
    "squared_error",
    "style",
    "total_variation",
    "velocity_prediction",
    "flow_matching",
    "x0_prediction",
    "yolo_overlap",
    "yolo_v1_style",
    "yolo_v3",
    "yolo_v3_terms",
    "gaussian_kl",
    "gaussian_reconstruction",
    "bernoulli_reconstruction",
    "discretized_gaussian_reconstruction",
    "iwae_bound",
]
