"""One step of a sampler, and whole paths without chance: DDIM, Heun, DPM-Solver++(2M), inversion.

A path is a row of signal ratios; a solver takes images from the first to the last of them, as one
compiled program.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lectures_jax.ops.diffusion import Denoised, log_snr, noise_from_x0, predict_x0, roots
from lectures_jax.ops.guidance import Predictor, as_partial


def ddim_step(
    x_t: Float[Array, "*s"],
    noise: Float[Array, "*s"],
    alpha_bar: Float[Array, "..."],
    alpha_bar_next: Float[Array, "..."],
    *,
    eta: float = 0.0,
    fresh_noise: Float[Array, "*s"] | None = None,
    clip: float | None = None,
    recompute_noise: bool = False,
) -> Float[Array, "*s"]:
    """Returns the images one step on: less noise, the rest of it the predicted, η of it fresh.

    `√ᾱ' x̂0 + √(1 − ᾱ' − σ²) ε + σ z`, `σ² = η² (1 − ᾱ')/(1 − ᾱ) (1 − ᾱ/ᾱ')`. η = 0 is DDIM and
    η = 1 is DDPM.

    Args:
        x_t: noisy images.
        noise: ε, as predicted.
        alpha_bar: signal ratio of `x_t`.
        alpha_bar_next: ᾱ', signal ratio of the result; below ᾱ, with η = 0, it adds noise.
        eta: share of fresh noise, 0 to 1.
        fresh_noise: z, standard normal; needed where η is not 0.
        clip: if given, x̂0 is cut to [-clip, clip].
        recompute_noise: after the cut, use the noise that belongs to the cut x̂0.

    Raises:
        ValueError: if η is not 0 and there is no fresh noise.

    Source:
        Song et al. (2021a), eq. 12 and 16.
    """
    if eta and fresh_noise is None:
        raise ValueError(f"fresh_noise must be given where eta is not 0, got eta={eta}.")
    parts = Denoised(predict_x0(x_t, noise, alpha_bar), noise)
    parts = _cut(parts, x_t, alpha_bar, clip=clip, recompute_noise=recompute_noise)
    return move(parts, alpha_bar, alpha_bar_next, eta=eta, fresh_noise=fresh_noise)


def solve_ddim(
    predict_noise: Predictor,
    x: Float[Array, "*s"],
    path: Float[Array, " n"],
    *,
    clip: float | None = None,
    recompute_noise: bool = False,
) -> tuple[Float[Array, "n *s"], Float[Array, "m *s"]]:
    """Returns the images at all levels along a path, and the x0 seen in each but the last.

    Args:
        predict_noise: `(x_t, alpha_bar_t) -> noise`, or `Denoised`.
        x: images at the first ratio.
        path: signal ratios; rising takes noise away.
        clip: if given, every estimate of x0 is cut to [-clip, clip].
        recompute_noise: after the cut, use the noise that belongs to the cut estimate.

    Raises:
        ValueError: if the path is empty.

    Source:
        Song et al. (2021a), eq. 13.
    """
    _check_path(path)
    return _solve_ddim(
        as_partial(predict_noise), x, path, clip=clip, recompute_noise=recompute_noise
    )


@partial(jax.jit, static_argnames=("clip", "recompute_noise"))
def _solve_ddim(
    predict: Predictor, x: Array, path: Array, *, clip: float | None, recompute_noise: bool
) -> tuple[Array, Array]:
    def step(x: Array, now: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        parts = estimate(predict, x, now[0], clip=clip, recompute_noise=recompute_noise)
        return move(parts, *now), (x, parts.x0)

    last, (levels, seen) = jax.lax.scan(step, x, (path[:-1], path[1:]))
    return jnp.concatenate([levels, last[None]]), seen


def solve_heun(
    predict_noise: Predictor,
    x: Float[Array, "*s"],
    path: Float[Array, " n"],
    *,
    clip: float | None = None,
) -> Float[Array, "*s"]:
    """Returns the images at the end of a path, by the mean of the noise at both ends of a step.

    A step of DDIM is Euler's in the noise-to-signal ratio `σ = √((1 − ᾱ) / ᾱ)`; here it is tried,
    and done again with the mean. The step to ᾱ = 1, and one from ᾱ = 0, where σ is infinite, are
    Euler's. A first σ of many hundreds, as the cosine schedule has it, makes the mean a bad guess.

    Args:
        predict_noise: `(x_t, alpha_bar_t) -> noise`, or `Denoised`; called twice a step.
        x: images at the first ratio.
        path: signal ratios.
        clip: if given, every estimate of x0 is cut to [-clip, clip], and the noise follows.

    Raises:
        ValueError: if the path is empty.

    Source:
        Karras et al. (2022), algorithm 1.
    """
    _check_path(path)
    return _solve_heun(as_partial(predict_noise), x, path, clip=clip)


@partial(jax.jit, static_argnames="clip")
def _solve_heun(predict: Predictor, x: Array, path: Array, *, clip: float | None) -> Array:
    def step(x: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        ratio, ratio_next = now
        start = estimate(predict, x, ratio, clip=clip, recompute_noise=True)
        tried = move(start, ratio, ratio_next)
        end = estimate(predict, tried, ratio_next, clip=clip, recompute_noise=True)
        mean = (start.noise + end.noise) / 2
        better = move(Denoised(predict_x0(x, mean, ratio), mean), ratio, ratio_next)
        return jnp.where((ratio > 0) & (ratio_next < 1), better, tried), None

    return jax.lax.scan(step, x, (path[:-1], path[1:]))[0]


def solve_dpm(
    predict_noise: Predictor,
    x: Float[Array, "*s"],
    path: Float[Array, " n"],
    *,
    clip: float | None = None,
) -> Float[Array, "*s"]:
    """Returns the images at the end of a path, x0 extrapolated along the log-SNR.

    `D = x̂0 + h / (2 h_before) (x̂0 − x̂0_before)`, with h a step in half the log-SNR, takes the
    place of x̂0 in a step of DDIM. The first step, and one to ᾱ = 1, are DDIM's.

    Args:
        predict_noise: `(x_t, alpha_bar_t) -> noise`, or `Denoised`; called once a step.
        x: images at the first ratio.
        path: signal ratios.
        clip: if given, every estimate of x0 is cut to [-clip, clip].

    Raises:
        ValueError: if the path is empty.

    Source:
        Lu et al. (2022), algorithm 2.
    """
    _check_path(path)
    return _solve_dpm(as_partial(predict_noise), x, path, clip=clip)


@partial(jax.jit, static_argnames="clip")
def _solve_dpm(predict: Predictor, x: Array, path: Array, *, clip: float | None) -> Array:
    level = log_snr(path)
    length = level[1:] - level[:-1]
    before = jnp.concatenate([jnp.full_like(length[:1], jnp.inf), length[:-1]])
    # A step that follows an infinite one, or is one, has nothing to extrapolate from.
    usable = jnp.isfinite(length) & jnp.isfinite(before) & (before != 0)
    share = jnp.where(usable, length, 0) / jnp.where(usable, 2 * before, 1)

    def step(
        carry: tuple[Array, Array], now: tuple[Array, Array, Array]
    ) -> tuple[tuple[Array, Array], None]:
        (x, past), (ratio, ratio_next, share) = carry, now
        parts = estimate(predict, x, ratio, clip=clip, recompute_noise=True)
        x0 = parts.x0 + share * (parts.x0 - past)
        # Where nothing is extrapolated the predicted noise is exact, the derived one rounded.
        noise = jnp.where(share == 0, parts.noise, noise_from_x0(x, x0, ratio))
        return (move(Denoised(x0, noise), ratio, ratio_next), parts.x0), None

    return jax.lax.scan(step, (x, jnp.zeros_like(x)), (path[:-1], path[1:], share))[0][0]


def invert_diffusion(
    predict_noise: Predictor,
    x0: Float[Array, "*s"],
    alpha_bar: Float[Array, " t"],
    *,
    steps: int,
    iterations: int = 3,
) -> Float[Array, "*s"]:
    """Returns the noise from which DDIM makes these images in the same number of steps.

    Each step solves `ddim_step(x_t, ε(x_t), ᾱ, ᾱ') = x'` for x_t by repeated substitution.

    Args:
        predict_noise: `(x_t, alpha_bar_t) -> noise`, or `Denoised`.
        x0: images.
        alpha_bar: the schedule of the training, falling.
        steps: as of the sampler that shall lead back.
        iterations: substitutions per step, each calls the network; 1 is the usual inversion, which
            takes the noise of the less noisy image, more come closer to the inverse.

    Raises:
        ValueError: if steps is out of range, or there is no iteration.

    Source:
        Song et al. (2021a), sec. 5.4; substitution: Pan et al. (2023), sec. 3.2.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}.")
    path = sampling_schedule(alpha_bar, steps=steps)
    return _invert(as_partial(predict_noise), x0, path[::-1], iterations=iterations)


@partial(jax.jit, static_argnames="iterations")
def _invert(predict: Predictor, x: Array, path: Array, *, iterations: int) -> Array:
    def step(x: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        ratio, ratio_next = now
        signal, spread = roots(ratio, x)
        signal_next, spread_next = roots(ratio_next, x)

        def substitute(guess: Array, _: None) -> tuple[Array, None]:
            noise = estimate(predict, guess, ratio_next).noise
            return signal_next * (x - spread * noise) / signal + spread_next * noise, None

        return jax.lax.scan(substitute, x, length=iterations)[0], None

    return jax.lax.scan(step, x, (path[:-1], path[1:]))[0]


def sampling_schedule(alpha_bar: Float[Array, " t"], *, steps: int) -> Float[Array, " {steps}+1"]:
    """Returns the signal ratios that a sampler visits: evenly spaced steps from the last, then 1.

    Args:
        alpha_bar: the schedule of the training, falling.
        steps: of sampling, at most those of the schedule.

    Raises:
        ValueError: if steps is not between 1 and the length of the schedule.

    Source:
        Lin et al. (2024), sec. 3.3 ("trailing"): the first step is always the noisiest.
    """
    count = len(alpha_bar)
    if not 1 <= steps <= count:
        raise ValueError(f"steps must be between 1 and len(alpha_bar) = {count}, got {steps}.")
    chosen = np.rint(count * np.arange(steps, 0, -1) / steps).astype(np.int32) - 1
    return jnp.append(alpha_bar[chosen], jnp.ones((), alpha_bar.dtype))


def _check_path(path: Array) -> None:
    if not len(path):
        raise ValueError("path must hold at least one ratio, got none.")


def estimate(
    predict: Predictor,
    x: Array,
    alpha_bar: Array,
    *,
    clip: float | None = None,
    recompute_noise: bool = False,
) -> Denoised:
    """Asks the predictor, and completes its answer to image and noise."""
    found = predict(x, alpha_bar)
    parts = (
        found if isinstance(found, Denoised) else Denoised(predict_x0(x, found, alpha_bar), found)
    )
    return _cut(parts, x, alpha_bar, clip=clip, recompute_noise=recompute_noise)


def move(
    parts: Denoised,
    alpha_bar: Array,
    alpha_bar_next: Array,
    *,
    eta: float = 0.0,
    fresh_noise: Array | None = None,
) -> Array:
    """Puts an image and its noise together at another level."""
    signal, spread = roots(alpha_bar_next, parts.x0)
    if not eta or fresh_noise is None:
        return signal * parts.x0 + spread * parts.noise
    # The variance of fresh noise, as a share of all the noise that shall be there.
    ratio, ratio_next = jnp.asarray(alpha_bar), jnp.asarray(alpha_bar_next)
    removed = 1 - ratio / jnp.where(ratio_next > 0, ratio_next, 1)
    share = eta**2 * jnp.maximum(removed, 0) / jnp.where(ratio < 1, 1 - ratio, 1)
    fresh, kept = roots(share, parts.x0)
    return signal * parts.x0 + spread * (kept * parts.noise + fresh * fresh_noise)


def _cut(
    parts: Denoised, x: Array, alpha_bar: Array, *, clip: float | None, recompute_noise: bool
) -> Denoised:
    if clip is None:
        return parts
    x0 = jnp.clip(parts.x0, -clip, clip)
    return Denoised(x0, noise_from_x0(x, x0, alpha_bar) if recompute_noise else parts.noise)
