"""The diagonal Gaussian: its density, and samples that carry a gradient."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._exponential import bounded_exp
from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import Key, checked


@checked
@in_float32
def gaussian_log_prob(
    x: Float[Array, "*b d"], mean: Float[Array, "*b d"], log_var: Float[Array, "*b d"]
) -> Float[Array, "*b"]:
    """Returns `log N(x; mean, diag(exp(log_var)))` in nats.

    `−½ Σ_d (log 2π + log_var + (x − mean)² / exp(log_var))`

    Args:
        x: points.
        mean: of the Gaussian.
        log_var: log σ² of each coordinate.

    Returns:
        One value per point.

    Source:
        Bishop (2006), eq. 2.43.
    """
    squares = ((x - mean) * bounded_exp(-log_var / 2)) ** 2  # exp(−log σ²) alone is infinite sooner
    return -0.5 * jnp.sum(math.log(2 * math.pi) + log_var + squares, axis=-1)


@checked
@in_float32
def standard_normal_log_prob(x: Float[Array, "*b d"]) -> Float[Array, "*b"]:
    """Returns `log N(x; 0, I)` in nats.

    `−½ Σ_d (x² + log 2π)`

    Args:
        x: points.

    Returns:
        One value per point, at most `−d/2 · log 2π`.

    Source:
        Bishop (2006), eq. 2.43.
    """
    return -0.5 * jnp.sum(x**2 + math.log(2 * math.pi), axis=-1)


@checked
@in_float32
def reparameterize(
    key: Key, mean: Float[Array, "*b d"], log_var: Float[Array, "*b d"]
) -> Float[Array, "*b d"]:
    """Returns a sample `mean + exp(log_var / 2) · ε` with ε from N(0, I).

    The randomness does not depend on the parameters, so the sample has a gradient in both.

    Args:
        key: for ε.
        mean: of the Gaussian.
        log_var: log σ² of each coordinate.

    Returns:
        One sample for each mean, of its shape and dtype.

    Source:
        Kingma & Welling (2014), sec. 2.4.
    """
    return mean + bounded_exp(log_var / 2) * jax.random.normal(key, mean.shape, mean.dtype)
