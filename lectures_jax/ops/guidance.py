"""Predictors for samplers: from networks that predict x0 or v, and with classifier-free guidance.

A predictor is `predict_noise(x_t, alpha_bar_t)`, with one signal ratio for all images. It returns
the noise, or image and noise as `Denoised`. The wrappers here return `Denoised`: at ᾱ = 0, where
x_t is noise alone, x0 cannot be computed from the noise.

Samplers compile the predictor into their program. Pass the same function in every call, and
parameters as arguments of a `jax.tree_util.Partial`; otherwise every call compiles anew.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from lectures_jax.ops.diffusion import Denoised, denoised_from_velocity, noise_from_x0
from lectures_jax.typing import checked

Predictor = Callable[[Array, Array], Array | Denoised]
"""`(x_t, alpha_bar_t) -> noise`, or `Denoised`."""


def as_partial(predict: Callable) -> Partial:
    """Returns the function as a tree, which `jit` takes as an argument."""
    return predict if isinstance(predict, Partial) else Partial(predict)


def from_x0_prediction(network: Callable[[Array, Array], Array]) -> Predictor:
    """Returns the predictor for samplers of a network that predicts the image.

    Args:
        network: `(x_t, alpha_bar_t) -> x0`.

    Returns:
        `(x_t, alpha_bar_t) -> Denoised`.

    Source:
        Salimans & Ho (2022), sec. 4.
    """
    return Partial(_from_x0, as_partial(network))


def from_velocity_prediction(network: Callable[[Array, Array], Array]) -> Predictor:
    """Returns the predictor for samplers of a network that predicts `v = √ᾱ ε − √(1 − ᾱ) x0`.

    Args:
        network: `(x_t, alpha_bar_t) -> v`.

    Returns:
        `(x_t, alpha_bar_t) -> Denoised`.

    Source:
        Salimans & Ho (2022), sec. 4.
    """
    return Partial(_from_velocity, as_partial(network))


@checked
def classifier_free_guidance(
    conditional: Predictor, unconditional: Predictor, *, scale: float | Float[Array, ""]
) -> Predictor:
    """Returns the predictor `u + scale · (c − u)`, classifier-free guidance.

    Args:
        conditional: c, a predictor for given classes.
        unconditional: u, a predictor without classes.
        scale: 0 gives u, 1 gives c, more than 1 exaggerates the class. It is `w + 1` for the w of
            Ho & Salimans.

    Returns:
        `(x_t, alpha_bar_t) -> noise`, or `Denoised` if both predictors return that.

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
    with_class, without = conditional(x_t, alpha_bar), unconditional(x_t, alpha_bar)
    mix = lambda c, u: u + scale.astype(u.dtype) * (c - u)  # noqa: E731
    return jax.tree.map(mix, with_class, without)
