"""Losses of latent-variable models: reconstruction terms and bounds of the likelihood, in nats."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.losses.classification import binary_cross_entropy
from lectures_jax.ops._exponential import bounded_exp
from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import check_count, checked

NARROW = 0.1  # of a level's width in deviations, beyond which Φ at its two sides is subtracted
FARTHEST = 1e19  # deviations from the mean, whose square float32 can hold


@checked
@in_float32
def gaussian_reconstruction(
    x: Float[Array, "*b d"], mean: Float[Array, "*b d"], log_var: Float[Array, ""]
) -> Float[Array, "*b"]:
    """Returns `−log N(x; mean, σ²I)` in nats: the squared error in the units of the divergence.

    `‖x − mean‖² / 2σ² + d/2 · log 2πσ²`. The variance decides how a VAE weighs the image against
    the divergence; its optimal value is the mean squared error of one pixel.

    Args:
        x: data.
        mean: reconstruction of the data.
        log_var: log σ², one number for all pixels.

    Returns:
        One value per example, the sum over its pixels.

    Source:
        Bishop (2006), eq. 1.54; the variance: Asperti & Trentin (2020), sec. 4.
    """
    # Not exp(−log_var), which overflows long before it is multiplied by the square of 0.
    squares = jnp.sum(((x - mean) * bounded_exp(-log_var / 2)) ** 2, axis=-1)
    return 0.5 * (squares + x.shape[-1] * (math.log(2 * math.pi) + log_var))


@checked
@in_float32
def bernoulli_reconstruction(
    x: Float[Array, "*b d"], logits: Float[Array, "*b d"]
) -> Float[Array, "*b"]:
    """Returns `−Σ_d log Bernoulli(x_d; σ(logits_d))` in nats: the cross-entropy of all pixels.

    It is a likelihood only for pixels that are 0 or 1; for values between them it is in common use
    all the same.

    Args:
        x: data in [0, 1].
        logits: log-odds that a pixel is 1.

    Returns:
        One value per example, the sum over its pixels.

    Source:
        Kingma & Welling (2014), appendix C.1.
    """
    return jnp.sum(binary_cross_entropy(logits, x), axis=-1)


@checked
@in_float32
def discretized_gaussian_reconstruction(
    x: Float[Array, "*b d"], mean: Float[Array, "*b d"], log_var: Float[Array, ""], *, levels: int
) -> Float[Array, "*b"]:
    """Returns minus the log-probability of the pixels' levels under `N(mean, σ²I)`, in nats.

    The probability of a level is the Gaussian's mass within half a level of it; the first and the
    last level have the tails besides. The probabilities of all levels sum to one, so it is a
    likelihood of the image file. More than 10¹⁹ deviations from the mean count as that many.

    Args:
        x: data whose values are among `levels` evenly spaced ones from 0 to 1.
        mean: reconstruction of the data.
        log_var: log σ², one number for all pixels.
        levels: number of values that a pixel can take, at least 2.

    Returns:
        One value per example, the sum over its pixels.

    Raises:
        ValueError: if there are fewer than two levels.

    Source:
        Ho et al. (2020), eq. 13.
    """
    check_count(levels=levels, low=2)
    half = 0.5 / (levels - 1)
    scale = bounded_exp(-log_var / 2)
    middle = (x - mean) * scale
    upper, lower = (x - mean + half) * scale, (x - mean - half) * scale
    inner = (x >= half) & (x <= 1 - half)
    narrow = inner & (2 * half * scale * (1 + jnp.abs(middle)) < NARROW)
    # 50 deviations beyond the mean and the edge stand for infinity, which has no derivative.
    upper = jnp.where(x > 1 - half, jnp.abs(upper) + 50, upper)
    lower = jnp.where(x < half, -jnp.abs(lower) - 50, lower)
    # In the upper tail both distribution functions are 1 up to rounding: mirror it.
    flip = lower > 0
    low, high = jnp.where(flip, -upper, lower), jnp.where(flip, -lower, upper)
    # Each branch gets arguments of its own where the other one counts, for finite gradients.
    wide_mass = _log_mass(jnp.where(narrow, -1, low), jnp.where(narrow, 0, high))
    middle = jnp.where(narrow, middle, 0)
    narrow_mass = _log_mass_of_narrow(middle, math.log(2 * half) - log_var / 2)
    return -jnp.sum(jnp.where(narrow, narrow_mass, wide_mass), axis=-1)


@checked
@in_float32
def iwae_bound(log_weights: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    """Returns `log (1/k Σ_k w_k)` in nats, an estimate of log p(x) from k samples.

    With `z_k` from the prior and `w = p(x|z)` it is the course's naive estimate of E_z p(x|z); with
    `z_k` from an encoder and `w = p(x|z) p(z) / q(z|x)` it is the importance-weighted bound. Its
    mean is below log p(x), rises with k and converges to it; k = 1 is the evidence lower bound.

    Args:
        log_weights: logarithms of the k weights.

    Returns:
        One value per row of weights: a bound to maximize, not a loss.

    Raises:
        ValueError: if there is no sample.

    Source:
        Burda et al. (2016), eq. 8 and theorem 1.
    """
    if not log_weights.shape[-1]:
        raise ValueError(f"log_weights must hold at least one, got shape {log_weights.shape}.")
    return jax.nn.logsumexp(log_weights, axis=-1) - math.log(log_weights.shape[-1])


def _log_mass(low: Array, high: Array) -> Array:
    """`log (Φ(high) − Φ(low))` for low < high, exact far out in the lower tail."""
    log_high = _log_ndtr(high)
    # Far out the clipping has to grow, or it would round to `high` itself.
    difference = _log_ndtr(jnp.maximum(low, 1.001 * jnp.minimum(high, 0) - 100)) - log_high
    # A level that is not narrow has more than this of the tail, whatever rounding leaves.
    return log_high + jnp.log(-jnp.expm1(jnp.minimum(difference, -NARROW / 10)))


def _log_mass_of_narrow(middle: Array, log_width: Array) -> Array:
    """The same around a point, to the third power of the width, where Φ hardly differs."""
    curvature = (middle**2 - 1) * jnp.exp(2 * jnp.minimum(log_width, 0)) / 24
    return log_width - 0.5 * (middle**2 + math.log(2 * math.pi)) + jnp.log1p(curvature)


def _log_ndtr(x: Array) -> Array:
    """`log Φ(x)`, whose derivative JAX takes as a quotient of densities, which underflow."""
    far = x < -20
    tail = jnp.where(far, jnp.maximum(x, -FARTHEST), -20)
    r = (1 / tail) ** 2
    series = jnp.log1p(-r + 3 * r**2 - 15 * r**3)
    log_tail = -0.5 * (tail**2 + math.log(2 * math.pi)) - jnp.log(-tail) + series
    return jnp.where(far, log_tail, jax.scipy.special.log_ndtr(jnp.where(far, -20, x)))
