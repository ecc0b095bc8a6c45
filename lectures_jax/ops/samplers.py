"""Samplers of diffusion models: DDIM, DDPM, the course's two readings, Heun, DPM-Solver++(2M)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt

from lectures_jax.ops._draws import draw
from lectures_jax.ops._reverse import (
    Limit,
    ddim_update,
    estimate,
    is_zero,
    steps_in_float32,
)
from lectures_jax.ops.diffusion import add_noise
from lectures_jax.ops.guidance import Predictor, as_partial
from lectures_jax.ops.solvers import sampling_schedule, solve_dpm, solve_heun
from lectures_jax.typing import Key, check_positive, check_range, checked


@checked
def per_sample_normal(
    key: Key,
    shape: tuple[int, ...],
    *,
    first: int | Int[Array, ""] | UInt[Array, ""] = 0,
    dtype: Any = None,
) -> Float[Array, "*_"]:
    """Returns standard normal numbers, those of each sample drawn from a key of its own.

    Sample i is the same in every batch that contains it and on any number of devices.

    Args:
        key: key from which each sample's is derived.
        shape: shape of the result, the samples along the first axis.
        first: number of the first sample, for a batch that continues another.
        dtype: dtype of the result, by default float32 (float64 where it is enabled).

    Returns:
        Numbers of mean 0 and variance 1.

    Source:
        Salmon et al. (2011): counters instead of a state.
    """
    return _normal(key, first, shape=tuple(shape), dtype=dtype or jnp.result_type(float))


@partial(jax.jit, static_argnames=("shape", "dtype"))
def _normal(key: Key, first: Any, *, shape: tuple[int, ...], dtype: Any) -> Array:
    numbers = jnp.arange(shape[0], dtype=jnp.uint32) + jnp.asarray(first, jnp.uint32)
    keys = jax.vmap(partial(jax.random.fold_in, key))(numbers)
    # 16 bits have too few values for the tails.
    wide = dtype if jnp.dtype(dtype).itemsize >= 4 else jnp.float32
    return jax.vmap(lambda key: draw(jax.random.normal, key, shape[1:], wide))(keys).astype(dtype)


@checked
def sample_diffusion(
    key: Key,
    predict_noise: Predictor,
    shape: tuple[int, ...],
    alpha_bar: Float[Array, " t"],
    *,
    steps: int,
    eta: float | Float[Array, ""] = 0.0,
    fresh_noise: bool = False,
    clip: float | Float[Array, ""] | None = None,
    recompute_noise: bool = False,
    first: int | Int[Array, ""] | UInt[Array, ""] = 0,
) -> Float[Array, "*_"]:
    """Returns samples of a diffusion model, as one compiled program.

    The course's reverse step removes the predicted noise and adds "noise" again for the next
    level. Read as the *predicted* noise this is DDIM, η = 0; read as *fresh* noise it is another
    sampler. DDPM is neither: it is η = 1.

    Args:
        key: for all noise; sample i is the same whatever the batch.
        predict_noise: `(x_t, alpha_bar_t) -> noise`, or `Denoised`.
        shape: shape of the result, samples along the first axis.
        alpha_bar: signal ratios of the training, falling.
        steps: calls of the network, evenly spaced over the ratios.
        eta: η, share of fresh noise, in [0, 1]: 0 is DDIM, 1 is DDPM.
        fresh_noise: whether all noise is drawn afresh at each step, the course's other reading.
        clip: if given, every estimate of x0 is clipped to [-clip, clip].
        recompute_noise: whether the noise is computed again from the clipped estimate.
        first: number of the first sample, for a batch that continues another.

    Returns:
        Images of the given shape, in the dtype of `alpha_bar`.

    Raises:
        ValueError: if steps or η is out of range, the clip is not positive, the ratios rise, or
            both η and fresh noise are given.

    Source:
        Song et al. (2021a), eq. 12 and 16; Ho et al. (2020), algorithm 2.
    """
    check_range(eta=eta, low=0, high=1)
    check_positive(clip=clip)
    if fresh_noise and not is_zero(eta):
        raise ValueError(f"fresh_noise replaces eta, got both (eta={eta}).")
    return _sample(
        key,
        as_partial(predict_noise),
        sampling_schedule(alpha_bar, steps=steps),
        first,
        eta=None if is_zero(eta) else eta,
        clip=clip,
        shape=tuple(shape),
        fresh_noise=fresh_noise,
        recompute_noise=recompute_noise,
    )


@partial(jax.jit, static_argnames=("shape", "fresh_noise", "recompute_noise"))
def _sample(
    key: Key,
    predict: Predictor,
    schedule: Array,
    first: Any,
    *,
    eta: float | Array | None,
    clip: Limit,
    shape: tuple[int, ...],
    fresh_noise: bool,
    recompute_noise: bool,
) -> Array:
    key_start, key_steps = jax.random.split(key)
    draw = partial(per_sample_normal, shape=shape, first=first)

    @steps_in_float32
    def solve(predict: Predictor, start: Array, schedule: Array) -> Array:
        def step(x: Array, interval: tuple[Array, Array, Array]) -> tuple[Array, None]:
            number, ratio, ratio_next = interval
            denoised = estimate(predict, x, ratio, clip=clip, recompute_noise=recompute_noise)
            if eta is None and not fresh_noise:
                return ddim_update(denoised, ratio, ratio_next), None
            noise = draw(jax.random.fold_in(key_steps, number), dtype=x.dtype)
            if eta is None:
                return add_noise(denoised.x0, noise, ratio_next), None
            return ddim_update(denoised, ratio, ratio_next, eta=eta, fresh_noise=noise), None

        numbers = jnp.arange(len(schedule) - 1, dtype=jnp.uint32)
        return jax.lax.scan(step, start, (numbers, schedule[:-1], schedule[1:]))[0]

    return solve(predict, draw(key_start, dtype=schedule.dtype), schedule)


@checked
def sample_heun(
    key: Key,
    predict_noise: Predictor,
    shape: tuple[int, ...],
    alpha_bar: Float[Array, " t"],
    *,
    steps: int,
    clip: float | Float[Array, ""] | None = None,
    first: int | Int[Array, ""] | UInt[Array, ""] = 0,
) -> Float[Array, "*_"]:
    """Returns samples of a diffusion model by Heun's method: two calls a step, second order.

    Args:
        key: for the noise; sample i is the same whatever the batch.
        predict_noise: `(x_t, alpha_bar_t) -> noise`, or `Denoised`.
        shape: shape of the result, samples along the first axis.
        alpha_bar: signal ratios of the training, falling.
        steps: number of steps, each with two calls of the network.
        clip: if given, every estimate of x0 is clipped to [-clip, clip].
        first: number of the first sample, for a batch that continues another.

    Returns:
        Images of the given shape, in the dtype of `alpha_bar`.

    Raises:
        ValueError: if steps is out of range, the clip is not positive, or the ratios rise.

    Source:
        Karras et al. (2022), algorithm 1.
    """
    schedule = sampling_schedule(alpha_bar, steps=steps)
    key_start, _ = jax.random.split(key)
    noise = per_sample_normal(key_start, shape, first=first, dtype=schedule.dtype)
    return solve_heun(predict_noise, noise, schedule, clip=clip)


@checked
def sample_dpm(
    key: Key,
    predict_noise: Predictor,
    shape: tuple[int, ...],
    alpha_bar: Float[Array, " t"],
    *,
    steps: int,
    clip: float | Float[Array, ""] | None = None,
    first: int | Int[Array, ""] | UInt[Array, ""] = 0,
) -> Float[Array, "*_"]:
    """Returns samples of a diffusion model by DPM-Solver++(2M): one call a step, second order.

    Args:
        key: for the noise; sample i is the same whatever the batch.
        predict_noise: `(x_t, alpha_bar_t) -> noise`, or `Denoised`.
        shape: shape of the result, samples along the first axis.
        alpha_bar: signal ratios of the training, falling.
        steps: number of steps, each with one call of the network.
        clip: if given, every estimate of x0 is clipped to [-clip, clip].
        first: number of the first sample, for a batch that continues another.

    Returns:
        Images of the given shape, in the dtype of `alpha_bar`.

    Raises:
        ValueError: if steps is out of range, the clip is not positive, or the ratios rise.

    Source:
        Lu et al. (2022), algorithm 2.
    """
    schedule = sampling_schedule(alpha_bar, steps=steps)
    key_start, _ = jax.random.split(key)
    noise = per_sample_normal(key_start, shape, first=first, dtype=schedule.dtype)
    return solve_dpm(predict_noise, noise, schedule, clip=clip)
