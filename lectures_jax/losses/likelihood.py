"""How well a latent-variable model explains data: reconstruction terms and bounds, in nats."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.losses.classification import binary_cross_entropy


def gaussian_reconstruction(
    x: Float[Array, "*b d"], mean: Float[Array, "*b d"], log_var: Float[Array, ""]
) -> Float[Array, "*b"]:
    """Returns `−log N(x; mean, σ²I)`: the squared error in the units of the divergence.

    `‖x − mean‖² / 2σ² + d/2 · log 2πσ²`. The variance decides how a VAE weighs the image against
    the divergence; its best value is the mean squared error of one pixel.

    Args:
        x: data.
        mean: reconstruction.
        log_var: log σ², one for all pixels.

    Source:
        Bishop (2006), eq. 1.54; the variance: Asperti & Trentin (2020), sec. 4.
    """
    return -ops.gaussian_log_prob(x, mean, jnp.broadcast_to(log_var, x.shape))


def bernoulli_reconstruction(
    x: Float[Array, "*b d"], logits: Float[Array, "*b d"]
) -> Float[Array, "*b"]:
    """Returns `−Σ_d log Bernoulli(x_d; σ(logits_d))`: the cross-entropy of all pixels.

    A likelihood only for pixels that are 0 or 1; between them it is the usual stand-in.

    Args:
        x: data in [0, 1].
        logits: log-odds of a white pixel.

    Source:
        Kingma & Welling (2014), appendix C.1.
    """
    return jnp.sum(binary_cross_entropy(logits, x), axis=-1)


def discretized_gaussian_reconstruction(
    x: Float[Array, "*b d"], mean: Float[Array, "*b d"], log_var: Float[Array, ""], *, levels: int
) -> Float[Array, "*b"]:
    """Returns minus the log-probability of the pixels' levels under `N(mean, σ²I)`.

    A level has the Gaussian's mass within half a level of it, the first and the last also all that
    lies beyond: the probabilities of all levels sum to one, so it is a likelihood of the file.

    Args:
        x: data on `levels` values, evenly spaced from 0 to 1.
        mean: reconstruction.
        log_var: log σ², one for all pixels.
        levels: that a pixel can take, at least 2.

    Raises:
        ValueError: if there are fewer than two levels.

    Source:
        Ho et al. (2020), eq. 13.
    """
    if levels < 2:
        raise ValueError(f"levels must be at least 2, got {levels}.")
    dtype = x.dtype
    x, mean, log_var = (_wide(v) for v in (x, mean, log_var))
    half = 0.5 / (levels - 1)
    scale = jnp.exp(-log_var / 2)
    upper, lower = (x - mean + half) * scale, (x - mean - half) * scale
    # 50 deviations beyond the mean and the edge stand for infinity, which has no derivative.
    upper = jnp.where(x > 1 - half, jnp.abs(upper) + 50, upper)
    lower = jnp.where(x < half, -jnp.abs(lower) - 50, lower)
    # In the upper tail both distribution functions are 1 up to rounding: mirror it.
    flip = lower > 0
    low, high = jnp.where(flip, -upper, lower), jnp.where(flip, -lower, upper)
    return -jnp.sum(_log_mass(low, high), axis=-1).astype(dtype)


def iwae_bound(log_weights: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    """Returns `log (1/k Σ_k w_k)`: what k samples say about log p(x).

    With `z_k` from the prior and `w = p(x|z)` it is the course's naive estimate of E_z p(x|z); with
    `z_k` from an encoder and `w = p(x|z) p(z) / q(z|x)` the importance-weighted bound. Its mean is
    below log p(x), rises with k and arrives in the limit; k = 1 is the evidence lower bound.

    Args:
        log_weights: logarithms of the k weights.

    Raises:
        ValueError: if there is no sample.

    Source:
        Burda et al. (2016), eq. 8 and theorem 1.
    """
    _check_weights(log_weights)
    return jax.nn.logsumexp(log_weights, axis=-1) - math.log(log_weights.shape[-1])


def effective_sample_size(log_weights: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    """Returns `(Σ w)² / Σ w²`: as many equally weighted samples would be worth the same.

    Args:
        log_weights: logarithms of the weights; from 1, one sample counts, to k, all do alike.

    Raises:
        ValueError: if there is no sample.

    Source:
        Kong (1992); Owen (2013), eq. 9.13.
    """
    _check_weights(log_weights)
    return 1 / jnp.sum(jax.nn.softmax(log_weights, axis=-1) ** 2, axis=-1)


def _check_weights(log_weights: Array) -> None:
    if not log_weights.shape[-1]:
        raise ValueError(f"log_weights must hold at least one, got shape {log_weights.shape}.")


def _wide(x: Array) -> Array:
    """In at least float32, which the distribution function needs."""
    return x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)


def _log_mass(low: Array, high: Array) -> Array:
    """`log (Φ(high) − Φ(low))` for low < high, exact far out in the lower tail."""
    log_high = jax.scipy.special.log_ndtr(high)
    difference = jax.scipy.special.log_ndtr(low) - log_high
    return log_high + jnp.log(-jnp.expm1(difference))
