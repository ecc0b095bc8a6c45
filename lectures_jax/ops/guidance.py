"""Predictors made from predictors: of other targets, and guided towards a class.

A predictor is `predict_noise(x_t, alpha_bar_t)`, with one signal ratio for all images. It returns
the noise; or both `Denoised`, which the wrappers here do for networks that predict x0 or v: where
nothing is left of the image, the noise alone does not say what was predicted.

Samplers compile the predictor into their program: pass the same function again, and parameters as
arguments of a `jax.tree_util.Partial`, or every call compiles anew.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from lectures_jax.ops.diffusion import Denoised, denoised_from_velocity, noise_from_x0

Predictor = Callable[[Array, Array], Array | Denoised]
"""`(x_t, alpha_bar_t) -> noise`, or `Denoised`."""


def as_partial(predict: Callable) -> Partial:
    """The same function as a tree that `jit` takes as an argument."""
    return predict if isinstance(predict, Partial) else Partial(predict)


def from_x0_prediction(predict_x0: Callable[[Array, Array], Array]) -> Predictor:
    """Returns the predictor for samplers of a network that predicts the image.

    Args:
        predict_x0: `(x_t, alpha_bar_t) -> x0`.

    Source:
        Salimans & Ho (2022), sec. 4.
    """
    return Partial(_from_x0, as_partial(predict_x0))


def from_velocity_prediction(predict_velocity: Callable[[Array, Array], Array]) -> Predictor:
    """Returns the predictor for samplers of a network that predicts `v = √ᾱ ε − √(1 − ᾱ) x0`.

    Args:
        predict_velocity: `(x_t, alpha_bar_t) -> v`.

    Source:
        Salimans & Ho (2022), sec. 4.
    """
    return Partial(_from_velocity, as_partial(predict_velocity))


def classifier_free_guidance(
    conditional: Predictor, unconditional: Predictor, *, scale: float | Float[Array, ""]
) -> Predictor:
    """Returns the predictor `u + scale · (c − u)`, classifier-free guidance.

    Args:
        conditional: c, which knows the class.
        unconditional: u, which does not.
        scale: 0 ignores the class, 1 is c itself, more exaggerates it. (Ho & Salimans count from
            there: their w is `scale − 1`.)

    Source:
        Ho & Salimans (2022), eq. 6.
    """
    parts = as_partial(conditional), as_partial(unconditional)
    return Partial(_guided, *parts, jnp.asarray(scale))


def _from_x0(predict: Callable[[Array, Array], Array], x_t: Array, alpha_bar: Array) -> Denoised:
    x0 = predict(x_t, alpha_bar)
    return Denoised(x0, noise_from_x0(x_t, x0, alpha_bar))


def _from_velocity(
    predict: Callable[[Array, Array], Array], x_t: Array, alpha_bar: Array
) -> Denoised:
    return denoised_from_velocity(x_t, predict(x_t, alpha_bar), alpha_bar)


def _guided(
    conditional: Predictor, unconditional: Predictor, scale: Array, x_t: Array, alpha_bar: Array
) -> Array | Denoised:
    towards, without = conditional(x_t, alpha_bar), unconditional(x_t, alpha_bar)
    mix = lambda c, u: u + scale.astype(u.dtype) * (c - u)  # noqa: E731
    return jax.tree.map(mix, towards, without)
