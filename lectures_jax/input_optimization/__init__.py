"""The network is fixed, and the input changes: what a network looks for, and what fools it."""

from lectures_jax.input_optimization.ascent import (
    Activation,
    Ascent,
    activate,
    maximize_activation,
)
from lectures_jax.input_optimization.attack import bim, fgsm, mi_fgsm, pgd
from lectures_jax.input_optimization.attack_adaptive import apgd
from lectures_jax.input_optimization.attack_minimal import carlini_wagner, deepfool
from lectures_jax.input_optimization.black_box import Queried, nes_attack
from lectures_jax.input_optimization.deep_dream import deep_dream, zoom
from lectures_jax.input_optimization.evolution import Evolved, evolve, few_pixel_attack
from lectures_jax.input_optimization.inversion import Inversion, invert_features
from lectures_jax.input_optimization.loop import (
    Best,
    Optimized,
    as_argument,
    descend,
    optimize_inputs,
)
from lectures_jax.input_optimization.parameterization import (
    Fourier,
    Pixels,
    color_basis,
)
from lectures_jax.input_optimization.regularization import Regularization, penalty
from lectures_jax.input_optimization.robustness import Robustness, robust_accuracy
from lectures_jax.input_optimization.saliency import (
    grad_cam,
    gradient_saliency,
    integrated_gradients,
    occlusion,
    smooth_grad,
)
from lectures_jax.input_optimization.square import square_attack
from lectures_jax.input_optimization.style_transfer import stylize
from lectures_jax.input_optimization.transforms import Transforms, warp

__all__ = [
    "Best",
    "Optimized",
    "as_argument",
    "descend",
    "optimize_inputs",
    "Pixels",
    "Fourier",
    "color_basis",
    "Transforms",
    "warp",
    "Regularization",
    "penalty",
    "Activation",
    "Ascent",
    "activate",
    "maximize_activation",
    "Inversion",
    "invert_features",
    "deep_dream",
    "zoom",
    "stylize",
    "fgsm",
    "bim",
    "mi_fgsm",
    "pgd",
    "apgd",
    "deepfool",
    "carlini_wagner",
    "Queried",
    "square_attack",
    "nes_attack",
    "Evolved",
    "evolve",
    "few_pixel_attack",
    "Robustness",
    "robust_accuracy",
    "gradient_saliency",
    "smooth_grad",
    "integrated_gradients",
    "grad_cam",
    "occlusion",
]
