"""Diffusion: the signal ratio at each step, and the image and noise that a noisy image consists of.

`x_t = √ᾱ x0 + √(1 − ᾱ) ε`. The signal ratio ᾱ, which the course calls α_t, falls from nearly 1 to
nearly 0. A network may predict the noise ε, the image x0, or the velocity `v = √ᾱ ε − √(1 − ᾱ)
x0`; each gives the other two. Ratios have one value for all, or the leading axes of the images.
"""

from operator import index
from typing import NamedTuple, SupportsIndex

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from lectures_jax.ops._precision import in_float32, upcast
from lectures_jax.typing import check_count, checked


class Denoised(NamedTuple):
    """Image and noise, of which a noisy image is `√ᾱ x0 + √(1 − ᾱ) noise`.

    Attributes:
        x0: images without noise.
        noise: ε, standard normal if exact.
    """

    x0: Float[Array, "*s"]
    noise: Float[Array, "*s"]


def linear_schedule(
    steps: SupportsIndex, *, first: float = 1e-4, last: float = 0.02
) -> Float[Array, " t"]:
    """Returns the signal ratio after each step for noise that grows linearly with the steps.

    `ᾱ_t = Π_(s≤t) (1 − β_s)`, β from `first` to `last`. With these defaults, hardly any signal is
    left after about 1000 steps.

    Args:
        steps: number of steps.
        first: β of the first step, in (0, 1).
        last: β of the last step, in (0, 1).

    Returns:
        Falling ratios in (0, 1).

    Raises:
        ValueError: if there is no step, or a β is not in (0, 1).

    Source:
        Ho et al. (2020), sec. 4.
    """
    check_count(steps=steps)
    count = index(steps)
    if not (0 < first < 1 and 0 < last < 1):
        raise ValueError(f"first and last must be in (0, 1), got {first} and {last}.")
    return jnp.asarray(np.cumprod(1 - np.linspace(first, last, count)), _float())


def cosine_schedule(
    steps: SupportsIndex, *, offset: float = 0.008, max_beta: float = 0.999
) -> Float[Array, " t"]:
    """Returns the signal ratio after each step as a squared cosine of the time.

    `ᾱ_t = f(t) / f(0)`, `f(t) = cos²(π/2 · (t / T + s) / (1 + s))`, but no step loses more than
    `max_beta` of the signal.

    Args:
        steps: T, number of steps.
        offset: s, at least 0, which keeps the first steps from being too small.
        max_beta: largest share of the signal lost in one step, in (0, 1]; with 1 the last ratio is
            0.

    Returns:
        Falling ratios in [0, 1).

    Raises:
        ValueError: if there is no step, or a number is out of range.

    Source:
        Nichol & Dhariwal (2021), eq. 17.
    """
    check_count(steps=steps)
    count = index(steps)
    if not (offset >= 0 and 0 < max_beta <= 1):
        raise ValueError(
            f"offset must be at least 0 and max_beta in (0, 1], got {offset} and {max_beta}."
        )
    f = np.cos(np.pi / 2 * (np.arange(count + 1) / count + offset) / (1 + offset)) ** 2
    f[-1] = 0  # where rounding leaves 4e-33
    return jnp.asarray(np.cumprod(np.maximum(f[1:] / f[:-1], 1 - max_beta)), _float())


@checked
@in_float32
def zero_terminal_snr(alpha_bar: Float[Array, " t"]) -> Float[Array, " t"]:
    """Returns the schedule shifted and scaled in `√ᾱ` so that its last ratio is 0.

    Sampling starts from pure noise; with other schedules the network is not trained on it. At ᾱ = 0
    x0 cannot be computed from the noise, so the network has to predict x0 or v.

    Args:
        alpha_bar: falling signal ratios, at least two.

    Returns:
        Falling ratios, the first one unchanged, the last one 0. Of ratios whose last is not below
        the first, only the last one changes.

    Raises:
        ValueError: if there are fewer than two steps.

    Source:
        Lin et al. (2024), algorithm 1.
    """
    if len(alpha_bar) < 2:
        raise ValueError(f"alpha_bar must have at least 2 steps, got {len(alpha_bar)}.")
    root = jnp.sqrt(alpha_bar)
    fall = root[0] - root[-1]
    falls = fall > 0
    # A double `where`: of a schedule that does not fall, 0/0 would be NaN.
    scaled = (root[0] * (root - root[-1]) / jnp.where(falls, fall, 1)) ** 2
    last = jnp.arange(len(alpha_bar)) == len(alpha_bar) - 1
    return jnp.where(falls, scaled, jnp.where(last, 0, alpha_bar))


@checked
@in_float32
def log_snr(alpha_bar: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Returns `log(ᾱ / (1 − ᾱ))`, the logarithm of signal over noise in nats.

    Args:
        alpha_bar: ᾱ, signal ratio, in [0, 1].

    Returns:
        Values that rise with ᾱ; at 0 and 1 they are infinite, with gradient 0.

    Source:
        Kingma et al. (2021), eq. 3.
    """
    inside = (alpha_bar > 0) & (alpha_bar < 1)
    safe = jnp.where(inside, alpha_bar, 0.5)
    ends = jnp.where(alpha_bar > 0.5, jnp.inf, -jnp.inf).astype(alpha_bar.dtype)
    return jnp.where(inside, jnp.log(safe) - jnp.log1p(-safe), ends)


@checked
@in_float32
def add_noise(
    x0: Float[Array, "*s"], noise: Float[Array, "*s"], alpha_bar: Float[Array, "..."]
) -> Float[Array, "*s"]:
    """Returns `√ᾱ x0 + √(1 − ᾱ) ε`, the noisy image after any number of steps.

    Args:
        x0: images, of mean about 0 and variance at most about 1.
        noise: ε, standard normal.
        alpha_bar: ᾱ, signal ratio, one for all or one per image.

    Returns:
        Noisy images x_t, in the dtype that the arguments have in common.

    Source:
        Ho et al. (2020), eq. 4.
    """
    signal, spread = roots(alpha_bar, x0)
    return signal * x0 + spread * noise


@checked
@in_float32
def predict_x0(
    x_t: Float[Array, "*s"], noise: Float[Array, "*s"], alpha_bar: Float[Array, "..."]
) -> Float[Array, "*s"]:
    """Returns `(x_t − √(1 − ᾱ) ε) / √ᾱ`, the image that belongs to a noise.

    Args:
        x_t: noisy images.
        noise: ε, predicted noise.
        alpha_bar: ᾱ, signal ratio, one for all or one per image.

    Returns:
        x0, of the shape of x_t; 0 where ᾱ is 0 and nothing is known of the image.

    Source:
        Ho et al. (2020), eq. 15.
    """
    signal, spread = roots(alpha_bar, x_t)
    return _over(x_t - spread * noise, signal)


@checked
@in_float32
def noise_from_x0(
    x_t: Float[Array, "*s"], x0: Float[Array, "*s"], alpha_bar: Float[Array, "..."]
) -> Float[Array, "*s"]:
    """Returns `(x_t − √ᾱ x0) / √(1 − ᾱ)`, the noise that belongs to an image.

    Args:
        x_t: noisy images.
        x0: predicted images.
        alpha_bar: ᾱ, signal ratio, one for all or one per image.

    Returns:
        ε, of the shape of x_t; 0 where ᾱ is 1 and there is no noise.

    Source:
        Song et al. (2021a), eq. 9 solved for ε.
    """
    signal, spread = roots(alpha_bar, x_t)
    return _over(x_t - signal * x0, spread)


@checked
@in_float32
def velocity(
    x0: Float[Array, "*s"], noise: Float[Array, "*s"], alpha_bar: Float[Array, "..."]
) -> Float[Array, "*s"]:
    """Returns `v = √ᾱ ε − √(1 − ᾱ) x0`, the derivative of x_t with respect to `arccos √ᾱ`.

    Args:
        x0: images without noise.
        noise: ε, standard normal.
        alpha_bar: ᾱ, signal ratio, one for all or one per image.

    Returns:
        The velocity, of the shape of x0.

    Source:
        Salimans & Ho (2022), sec. 4 and appendix D.
    """
    signal, spread = roots(alpha_bar, x0)
    return signal * noise - spread * x0


@checked
@in_float32
def denoised_from_velocity(
    x_t: Float[Array, "*s"], v: Float[Array, "*s"], alpha_bar: Float[Array, "..."]
) -> Denoised:
    """Returns `x0 = √ᾱ x_t − √(1 − ᾱ) v` and `ε = √(1 − ᾱ) x_t + √ᾱ v`, without a division.

    Args:
        x_t: noisy images.
        v: predicted velocity.
        alpha_bar: ᾱ, signal ratio in [0, 1], ends included, one for all or one per image.

    Returns:
        Image and noise, each of the shape of x_t.

    Source:
        Salimans & Ho (2022), appendix D.
    """
    signal, spread = roots(alpha_bar, x_t)
    return Denoised(signal * x_t - spread * v, spread * x_t + signal * v)


def roots(alpha_bar: Array, x: Array) -> tuple[Array, Array]:
    """Returns `√ᾱ` and `√(1 − ᾱ)`, shaped so that they broadcast against images x."""
    ratio = upcast(jnp.asarray(alpha_bar))
    leading = zip(ratio.shape, x.shape, strict=False)
    if ratio.ndim > x.ndim or any(n not in (1, m) for n, m in leading):
        raise ValueError(
            f"alpha_bar must be one number or have the leading axes of images {x.shape}, got shape "
            f"{ratio.shape}."
        )
    ratio = ratio.reshape(ratio.shape + (1,) * (x.ndim - ratio.ndim))
    return _root(ratio).astype(x.dtype), _root(1 - ratio).astype(x.dtype)


def check_falling(alpha_bar: Array) -> None:
    """Raises a ValueError if the values are known, as outside of `jit`, and do not fall."""
    if isinstance(alpha_bar, Tracer):
        return
    values = np.asarray(alpha_bar, np.float64)
    rises = np.flatnonzero(~(values[1:] <= values[:-1]))
    if len(rises):
        n = rises[0]
        raise ValueError(f"alpha_bar must fall, got {values[n]:.6g} before {values[n + 1]:.6g}.")


def _root(x: Array) -> Array:
    """A square root whose gradient at 0 is 0 instead of infinite."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def _over(a: Array, b: Array) -> Array:
    """`a / b`, and 0 where b is 0."""
    safe = jnp.where(b > 0, b, 1)
    return jnp.where(b > 0, a / safe, 0)


def _float() -> np.dtype:
    """float32, or float64 where it is on; the products above are in float64 either way."""
    return jnp.result_type(float)
