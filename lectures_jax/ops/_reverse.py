"""What every sampler of a diffusion model does at a step: estimate image and noise, then update."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array

from lectures_jax.ops._precision import upcast
from lectures_jax.ops.diffusion import Denoised, noise_from_x0, predict_x0, roots
from lectures_jax.ops.guidance import Predictor

Limit = float | Array | None
"""Of the estimated images' absolute values; None is no limit."""


def steps_in_float32(solve: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a solver whose images are float32 between steps, where the network takes 16 bits.

    Otherwise each step would round them anew.

    Args:
        solve: called with a predictor, images, a schedule, and options.
    """

    @functools.wraps(solve)
    def call(predict: Predictor, x: Array, schedule: Array, **options: Any) -> Any:
        if x.dtype.itemsize >= 4:
            return solve(predict, x, schedule, **options)

        def wide(x_t: Array, ratio: Array) -> Array | Denoised:
            predicted = predict(x_t.astype(x.dtype), ratio.astype(schedule.dtype))
            return jax.tree.map(upcast, predicted)

        results = solve(wide, upcast(x), upcast(schedule), **options)
        return jax.tree.map(lambda y: y.astype(x.dtype), results)

    return call


def estimate(
    predict: Predictor,
    x: Array,
    alpha_bar: Array,
    *,
    clip: Limit = None,
    recompute_noise: bool = False,
) -> Denoised:
    """Returns image and noise of x as the predictor estimates them.

    Args:
        predict: `(x_t, alpha_bar_t) -> noise`, or `Denoised`.
        x: noisy images.
        alpha_bar: signal ratio of x.
        clip: if given, the image is clipped to [-clip, clip].
        recompute_noise: whether the noise is that of the clipped image.
    """
    predicted = predict(x, alpha_bar)
    if not isinstance(predicted, Denoised):
        predicted = Denoised(predict_x0(x, predicted, alpha_bar), predicted)
    return clipped(predicted, x, alpha_bar, clip=clip, recompute_noise=recompute_noise)


def clipped(
    denoised: Denoised, x: Array, alpha_bar: Array, *, clip: Limit, recompute_noise: bool
) -> Denoised:
    """Returns the parts of x with the image clipped; `clip=None` changes nothing."""
    if clip is None:
        return denoised
    x0 = jnp.clip(denoised.x0, -clip, clip)
    return Denoised(x0, noise_from_x0(x, x0, alpha_bar) if recompute_noise else denoised.noise)


def is_zero(eta: float | Array) -> bool:
    """Whether η is known to be 0, as it is not under a trace."""
    return not isinstance(eta, Tracer) and not eta


def ddim_update(
    denoised: Denoised,
    alpha_bar: Array,
    alpha_bar_next: Array,
    *,
    eta: float | Array = 0.0,
    fresh_noise: Array | None = None,
) -> Array:
    """Returns the images at another signal ratio, made of an image, its noise and fresh noise."""
    signal, spread = roots(alpha_bar_next, denoised.x0)
    if fresh_noise is None:
        return signal * denoised.x0 + spread * denoised.noise
    # The variance of the fresh noise, as a share of all the noise at the next ratio.
    ratio, ratio_next = jnp.asarray(alpha_bar), jnp.asarray(alpha_bar_next)
    removed = 1 - ratio / jnp.where(ratio_next > 0, ratio_next, 1)
    share = eta**2 * jnp.maximum(removed, 0) / jnp.where(ratio < 1, 1 - ratio, 1)
    fresh, kept = roots(share, denoised.x0)
    return signal * denoised.x0 + spread * (kept * denoised.noise + fresh * fresh_noise)
