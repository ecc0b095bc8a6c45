"""Deterministic samplers of diffusion models: DDIM, Heun, DPM-Solver++(2M).

A schedule is a row of signal ratios; a solver takes images from the first ratio to the last, as one
compiled program. "The noise" of an image at a ratio is ε in `x_t = √ᾱ x0 + √(1 − ᾱ) ε`.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lectures_jax.ops._precision import in_float32
from lectures_jax.ops._reverse import (
    Limit,
    clipped,
    ddim_update,
    estimate,
    is_zero,
    steps_in_float32,
)
from lectures_jax.ops.diffusion import (
    Denoised,
    check_falling,
    log_snr,
    noise_from_x0,
    predict_x0,
)
from lectures_jax.ops.guidance import Predictor, as_partial
from lectures_jax.typing import check_count, check_positive, check_range, checked


@checked
@in_float32
def ddim_step(
    x_t: Float[Array, "*s"],
    noise: Float[Array, "*s"],
    alpha_bar: Float[Array, "..."],
    alpha_bar_next: Float[Array, "..."],
    *,
    eta: float | Float[Array, ""] = 0.0,
    fresh_noise: Float[Array, "*s"] | None = None,
    clip: float | Float[Array, ""] | None = None,
    recompute_noise: bool = False,
) -> Float[Array, "*s"]:
    """Returns the images after one reverse step, at the next signal ratio.

    `√ᾱ' x̂0 + √(1 − ᾱ' − σ²) ε + σ z`, `σ² = η² (1 − ᾱ')/(1 − ᾱ) (1 − ᾱ/ᾱ')`. η = 0 is DDIM and
    η = 1 is DDPM.

    Args:
        x_t: noisy images.
        noise: ε, predicted noise of these images.
        alpha_bar: ᾱ, signal ratio of `x_t`, one for all or one per image.
        alpha_bar_next: ᾱ', signal ratio of the result; below ᾱ, with η = 0, the step adds noise.
        eta: η, share of fresh noise, in [0, 1].
        fresh_noise: z, standard normal; needed where η is not 0.
        clip: if given, x̂0 is clipped to [-clip, clip].
        recompute_noise: whether ε is computed again from the clipped x̂0.

    Returns:
        Images of the shape of `x_t`, in the dtype that the arguments have in common.

    Raises:
        ValueError: if η is not in [0, 1], or not 0 and there is no fresh noise, or the clip is not
            positive.

    Source:
        Song et al. (2021a), eq. 12 and 16.
    """
    check_range(eta=eta, low=0, high=1)
    check_positive(clip=clip)
    if fresh_noise is None and not is_zero(eta):
        raise ValueError(f"fresh_noise must be given where eta is not 0, got eta={eta}.")
    denoised = Denoised(predict_x0(x_t, noise, alpha_bar), noise)
    denoised = clipped(denoised, x_t, alpha_bar, clip=clip, recompute_noise=recompute_noise)
    fresh_noise = None if is_zero(eta) else fresh_noise
    return ddim_update(denoised, alpha_bar, alpha_bar_next, eta=eta, fresh_noise=fresh_noise)


@checked
def solve_ddim(
    predict_noise: Predictor,
    x: Float[Array, "*s"],
    schedule: Float[Array, " n"],
    *,
    clip: float | Float[Array, ""] | None = None,
    recompute_noise: bool = False,
) -> tuple[Float[Array, "n *s"], Float[Array, "m *s"]]:
    """Returns the images at every signal ratio of a schedule, by DDIM, and the estimates of x0.

    Args:
        predict_noise: `(x_t, alpha_bar_t) -> noise`, or `Denoised`.
        x: images at the first ratio.
        schedule: signal ratios in [0, 1]; noise is removed where they rise, added where they fall.
        clip: if given, every estimate of x0 is clipped to [-clip, clip].
        recompute_noise: whether the noise is computed again from the clipped estimate.

    Returns:
        The images at all n ratios; and the x0 estimated at each of them but the last.

    Raises:
        ValueError: if the schedule is empty, or the clip not positive.

    Source:
        Song et al. (2021a), eq. 13.
    """
    _check(schedule, clip)
    return _solve_ddim(
        as_partial(predict_noise), x, schedule, clip=clip, recompute_noise=recompute_noise
    )


@partial(jax.jit, static_argnames="recompute_noise")
@steps_in_float32
def _solve_ddim(
    predict: Predictor, x: Array, schedule: Array, *, clip: Limit, recompute_noise: bool
) -> tuple[Array, Array]:
    def step(x: Array, ratios: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        denoised = estimate(predict, x, ratios[0], clip=clip, recompute_noise=recompute_noise)
        return ddim_update(denoised, *ratios), (x, denoised.x0)

    last, (images, x0) = jax.lax.scan(step, x, (schedule[:-1], schedule[1:]))
    return jnp.concatenate([images, last[None]]), x0


@checked
def solve_heun(
    predict_noise: Predictor,
    x: Float[Array, "*s"],
    schedule: Float[Array, " n"],
    *,
    clip: float | Float[Array, ""] | None = None,
) -> Float[Array, "*s"]:
    """Returns the images at the last signal ratio of a schedule, by Heun's method of second order.

    A step of DDIM is Euler's in the noise-to-signal ratio `σ = √((1 − ᾱ) / ᾱ)`. Heun's repeats it
    with the mean of the noise predicted before and after it. A step to ᾱ = 1, and one from ᾱ = 0,
    where σ is infinite, stay Euler's. Where the first σ is many hundreds, as in the cosine
    schedule, the mean is a poor estimate.

    Args:
        predict_noise: `(x_t, alpha_bar_t) -> noise`, or `Denoised`; called twice a step.
        x: images at the first ratio.
        schedule: signal ratios in [0, 1].
        clip: if given, every estimate of x0 is clipped to [-clip, clip], and the noise is computed
            again from it.

    Returns:
        Images of the shape and dtype of `x`.

    Raises:
        ValueError: if the schedule is empty, or the clip not positive.

    Source:
        Karras et al. (2022), algorithm 1.
    """
    _check(schedule, clip)
    return _solve_heun(as_partial(predict_noise), x, schedule, clip=clip)


@jax.jit
@steps_in_float32
def _solve_heun(predict: Predictor, x: Array, schedule: Array, *, clip: Limit) -> Array:
    def step(x: Array, ratios: tuple[Array, Array]) -> tuple[Array, None]:
        ratio, ratio_next = ratios
        start = estimate(predict, x, ratio, clip=clip, recompute_noise=True)
        euler = ddim_update(start, ratio, ratio_next)
        end = estimate(predict, euler, ratio_next, clip=clip, recompute_noise=True)
        mean = (start.noise + end.noise) / 2
        heun = ddim_update(Denoised(predict_x0(x, mean, ratio), mean), ratio, ratio_next)
        return jnp.where((ratio > 0) & (ratio_next < 1), heun, euler), None

    return jax.lax.scan(step, x, (schedule[:-1], schedule[1:]))[0]


@checked
def solve_dpm(
    predict_noise: Predictor,
    x: Float[Array, "*s"],
    schedule: Float[Array, " n"],
    *,
    clip: float | Float[Array, ""] | None = None,
) -> Float[Array, "*s"]:
    """Returns the images at the last signal ratio of a schedule, by DPM-Solver++(2M).

    x0 is extrapolated along the log-SNR: `D = x̂0 + h / (2 h_before) (x̂0 − x̂0_before)`, with h the
    length of a step in half the log-SNR, replaces x̂0 in a step of DDIM. The first step, and one to
    ᾱ = 1, are DDIM's.

    Args:
        predict_noise: `(x_t, alpha_bar_t) -> noise`, or `Denoised`; called once a step.
        x: images at the first ratio.
        schedule: signal ratios in [0, 1].
        clip: if given, every estimate of x0 is clipped to [-clip, clip].

    Returns:
        Images of the shape and dtype of `x`.

    Raises:
        ValueError: if the schedule is empty, or the clip not positive.

    Source:
        Lu et al. (2022), algorithm 2.
    """
    _check(schedule, clip)
    return _solve_dpm(as_partial(predict_noise), x, schedule, clip=clip)


@jax.jit
@steps_in_float32
def _solve_dpm(predict: Predictor, x: Array, schedule: Array, *, clip: Limit) -> Array:
    level = log_snr(schedule)
    length = level[1:] - level[:-1]
    before = jnp.concatenate([jnp.full_like(length[:1], jnp.inf), length[:-1]])
    # A step that follows an infinite one, or is one, has nothing to extrapolate from.
    usable = jnp.isfinite(length) & jnp.isfinite(before) & (before != 0)
    share = jnp.where(usable, length, 0) / jnp.where(usable, 2 * before, 1)

    def step(
        carry: tuple[Array, Array], interval: tuple[Array, Array, Array]
    ) -> tuple[tuple[Array, Array], None]:
        (x, x0_before), (ratio, ratio_next, share) = carry, interval
        denoised = estimate(predict, x, ratio, clip=clip, recompute_noise=True)
        x0 = denoised.x0 + share * (denoised.x0 - x0_before)
        # Where nothing is extrapolated the predicted noise is exact, the computed one rounded.
        noise = jnp.where(share == 0, denoised.noise, noise_from_x0(x, x0, ratio))
        return (ddim_update(Denoised(x0, noise), ratio, ratio_next), denoised.x0), None

    return jax.lax.scan(step, (x, jnp.zeros_like(x)), (schedule[:-1], schedule[1:], share))[0][0]


@checked
def sampling_schedule(alpha_bar: Float[Array, " t"], *, steps: int) -> Float[Array, " {steps}+1"]:
    """Returns the signal ratios of a sampler: evenly spaced ones of the training, then 1.

    Args:
        alpha_bar: signal ratios of the training, falling.
        steps: number of sampling steps, at most the number of ratios.

    Returns:
        Rising ratios, the first one the last of the training.

    Raises:
        ValueError: if steps is not between 1 and the length of the schedule, or the ratios are
            known, as outside of `jit`, and do not fall.

    Source:
        Lin et al. (2024), sec. 3.3 ("trailing"): the first step is always the noisiest.
    """
    count = len(alpha_bar)
    check_count(steps=steps)
    if not 1 <= steps <= count:
        raise ValueError(f"steps must be between 1 and len(alpha_bar) = {count}, got {steps}.")
    check_falling(alpha_bar)
    chosen = np.rint(count * np.arange(steps, 0, -1) / steps).astype(np.int32) - 1
    return jnp.append(alpha_bar[chosen], jnp.ones((), alpha_bar.dtype))


def _check(schedule: Array, clip: Limit) -> None:
    check_positive(clip=clip)
    if not len(schedule):
        raise ValueError("schedule must hold at least one ratio, got none.")
