"""The likelihood of images under a diffusion model: the variational bound, and the exact ODE."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from lectures_jax.ops._precision import upcast
from lectures_jax.ops._reverse import estimate
from lectures_jax.ops.diffusion import add_noise, check_falling
from lectures_jax.ops.gaussian import standard_normal_log_prob
from lectures_jax.ops.guidance import Predictor, as_partial
from lectures_jax.ops.samplers import per_sample_normal
from lectures_jax.typing import Key, check_count, checked


class VariationalTerms(NamedTuple):
    """The terms of an upper bound of −log p(x), in nats per image; their sum is the bound.

    Attributes:
        prior: divergence of the noisiest image's distribution from the standard normal.
        diffusion: squared errors of the predicted image, weighted, over all steps.
        reconstruction: −log-probability of the image's levels given the least noisy image.
    """

    prior: Float[Array, " b"]
    diffusion: Float[Array, " b"]
    reconstruction: Float[Array, " b"]


@checked
def variational_bound(
    key: Key,
    predict_noise: Predictor,
    x: Float[Array, "b *s"],
    alpha_bar: Float[Array, " t"],
    *,
    levels: int,
    draws: int,
) -> VariationalTerms:
    """Returns an upper bound of −log p(x) of images with discrete values, in nats.

    `KL(q(x_T|x) ‖ N(0, I)) + ½ Σ_t (SNR_(t−1) − SNR_t) E‖x − x̂0(x_t)‖² − E log p(x|x_1)`. The sum
    is estimated from a number of its terms, evenly spread. `p(x|x_1)` is, for each pixel, a
    distribution over its levels: those near x_1 are likely.

    Args:
        key: for the noise and the choice of terms.
        predict_noise: `(x_t, alpha_bar_t) -> noise`, or `Denoised`.
        x: images, their values among `levels` evenly spaced ones from -1 to 1.
        alpha_bar: signal ratios, falling.
        levels: number of values that a pixel can take.
        draws: number of terms of the sum that are computed.

    Returns:
        The three terms of the bound, one value per image each.

    Raises:
        ValueError: if draws is not between 1 and `len(alpha_bar) - 1`, or the ratios rise.

    Source:
        Kingma et al. (2021), eq. 4 and 13; Ho et al. (2020), eq. 5.
    """
    check_count(draws=draws)
    check_count(levels=levels, low=2)
    if not 1 <= draws <= len(alpha_bar) - 1:
        raise ValueError(
            f"draws must be between 1 and len(alpha_bar) - 1 = {len(alpha_bar) - 1}, got {draws}."
        )
    check_falling(alpha_bar)
    return _bound(key, as_partial(predict_noise), x, alpha_bar, levels=levels, draws=draws)


@partial(jax.jit, static_argnames=("levels", "draws"))
def _bound(
    key: Key, predict: Partial, x: Array, alpha_bar: Array, *, levels: int, draws: int
) -> VariationalTerms:
    key_offset, key_noise, key_first = jax.random.split(key, 3)
    transitions = len(alpha_bar) - 1
    wide = upcast(x)
    draw = partial(per_sample_normal, shape=x.shape, dtype=wide.dtype)
    ratios = alpha_bar.astype(wide.dtype)
    snr = ratios / jnp.maximum(1 - ratios, jnp.finfo(wide.dtype).tiny)
    position = jnp.arange(draws, dtype=wide.dtype) + jax.random.uniform(key_offset, (), wide.dtype)
    chosen = 1 + jnp.minimum((position * (transitions / draws)).astype(jnp.int32), transitions - 1)

    def term(total: Array, index: Array) -> tuple[Array, None]:
        noise = draw(jax.random.fold_in(key_noise, index))
        x_t = add_noise(wide, noise, ratios[index]).astype(x.dtype)  # what the network takes
        x0 = upcast(estimate(predict, x_t, alpha_bar[index]).x0)
        weight = (snr[index - 1] - snr[index]) / 2
        return total + weight * _sum((wide - x0) ** 2), None

    total, _ = jax.lax.scan(term, jnp.zeros(len(x), wide.dtype), chosen)
    prior = _sum(ratios[-1] * wide**2 - ratios[-1] - jnp.log1p(-ratios[-1])) / 2
    first = _discrete_log_prob(wide, draw(key_first), ratios[0], levels)
    terms = VariationalTerms(prior, total * (transitions / draws), -_sum(first))
    return jax.tree.map(lambda term: term.astype(x.dtype), terms)


def _discrete_log_prob(x: Array, noise: Array, alpha_bar: Array, levels: int) -> Array:
    """Log-probability of each value, among all levels, given the least noisy image."""
    values = jnp.linspace(-1, 1, levels, dtype=x.dtype).reshape((1,) * x.ndim + (-1,))
    noisy = add_noise(x, noise, alpha_bar)[..., None]
    distance = (noisy - jnp.sqrt(alpha_bar) * values) ** 2 / (1 - alpha_bar)
    number = jnp.rint((x + 1) * ((levels - 1) / 2)).astype(jnp.int32)[..., None]
    return jnp.take_along_axis(jax.nn.log_softmax(-distance / 2, axis=-1), number, axis=-1)[..., 0]


@checked
def ode_log_prob(
    key: Key,
    predict_noise: Predictor,
    x: Float[Array, "b *s"],
    alpha_bar: Float[Array, " t"],
    *,
    steps: int,
    probes: int | None = None,
) -> Float[Array, " b"]:
    """Returns the log-density of images, in nats: the deterministic sampler is a flow.

    `log p(x) = log N(x_T; 0, I) + ∫ tr(∂v/∂x) dφ` along `dx/dφ = v(x, φ)`, with the angle
    `φ = arccos √ᾱ` from the first ratio to the last, by the Runge-Kutta method of fourth order.

    Args:
        key: for the probes.
        predict_noise: `(x_t, alpha_bar_t) -> noise`, or `Denoised`; each image's from that image
            alone.
        x: images with continuous values, in the model's units, taken to be at the first ratio.
        alpha_bar: signal ratios, falling.
        steps: number of steps, each with four calls of the network and of its derivative.
        probes: number of random directions from which the trace is estimated; None takes every axis
            in turn, which is exact.

    Returns:
        `log p(x)` of each image.

    Raises:
        ValueError: if there is no step, no probe or no ratio, or the ratios rise.

    Source:
        Song et al. (2021b), sec. 4.3; Hutchinson (1989).
    """
    check_count(steps=steps, probes=probes)
    if not len(alpha_bar):
        raise ValueError("alpha_bar must hold at least one ratio, got none.")
    check_falling(alpha_bar)
    return _ode(key, as_partial(predict_noise), x, alpha_bar, steps=steps, probes=probes)


@partial(jax.jit, static_argnames=("steps", "probes"))
def _ode(
    key: Key, predict: Partial, x: Array, alpha_bar: Array, *, steps: int, probes: int | None
) -> Array:
    dtype, x = x.dtype, upcast(x)  # the network takes the dtype, the integrals are wide
    if probes is None:
        size = x[0].size
        directions = jnp.eye(size, dtype=x.dtype).reshape(size, 1, *x.shape[1:])
        share = 1.0
    else:
        directions = jax.random.rademacher(key, (probes, *x.shape), x.dtype)
        share = 1 / probes

    def derivatives(x: Array, angle: Array) -> tuple[Array, Array]:
        def velocity(x: Array) -> Array:
            ratio = (jnp.cos(angle) ** 2).astype(alpha_bar.dtype)
            x0, noise = map(upcast, estimate(predict, x.astype(dtype), ratio))
            return jnp.cos(angle) * noise - jnp.sin(angle) * x0

        v, jacobian_product = jax.linearize(velocity, x)

        def along(direction: Array) -> Array:
            direction = jnp.broadcast_to(direction, x.shape)
            return _sum(direction * jacobian_product(direction))

        return v, share * jnp.sum(jax.lax.map(along, directions), axis=0)

    first, last = (jnp.arccos(jnp.sqrt(upcast(alpha_bar[i]))).astype(x.dtype) for i in (0, -1))
    length = (last - first) / steps
    step = partial(_runge_kutta, derivatives, length)
    angles = first + length * jnp.arange(steps, dtype=x.dtype)
    start = (x, jnp.zeros(len(x), x.dtype))
    (x, trace), _ = jax.lax.scan(lambda state, angle: (step(state, angle), None), start, angles)
    log_prob = trace + standard_normal_log_prob(x.reshape(len(x), math.prod(x.shape[1:])))
    return log_prob.astype(dtype)


def _runge_kutta(
    derivatives: Callable[[Array, Array], tuple[Array, Array]],
    length: Array,
    state: tuple[Array, Array],
    angle: Array,
) -> tuple[Array, Array]:
    """Returns images and trace after a step of the given length."""
    x, trace = state
    v1, t1 = derivatives(x, angle)
    v2, t2 = derivatives(x + length / 2 * v1, angle + length / 2)
    v3, t3 = derivatives(x + length / 2 * v2, angle + length / 2)
    v4, t4 = derivatives(x + length * v3, angle + length)
    add = lambda a, b, c, d, e: a + length / 6 * (b + 2 * c + 2 * d + e)  # noqa: E731
    return add(x, v1, v2, v3, v4), add(trace, t1, t2, t3, t4)


def _sum(values: Array) -> Array:
    """Over all axes but the first."""
    return jnp.sum(values, axis=tuple(range(1, values.ndim)))
