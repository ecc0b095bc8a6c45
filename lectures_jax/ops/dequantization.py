"""From pixels of a few levels to densities over real numbers, and back."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._draws import draw
from lectures_jax.typing import Key


def dequantize(key: Key, x: Float[Array, "*b"], *, levels: int) -> Float[Array, "*b"]:
    """Returns each value moved evenly at random within its level, in [0, 1).

    `(level + u) / levels` with `u` uniform in [0, 1). A density of these values gives a bound on
    the probability of the levels: `∫ p(level + u) du ≥ exp E log p(level + u)`.

    Args:
        key: for `u`.
        x: values in [0, 1], `levels` of them, evenly spaced.
        levels: how many.

    Raises:
        ValueError: if there are fewer than two levels.

    Source:
        Uria et al. (2013), sec. 5.1; the bound: Theis et al. (2016), sec. 3.1.
    """
    _check(levels)
    noise = draw(jax.random.uniform, key, x.shape, x.dtype)
    return (jnp.round(x * (levels - 1)) + noise) / levels


def quantize(x: Float[Array, "*b"], *, levels: int) -> Float[Array, "*b"]:
    """Returns the level in which each value lies, as a value in [0, 1]: undoes `dequantize`.

    Args:
        x: values; those outside [0, 1) count to the first or the last level.
        levels: how many.

    Raises:
        ValueError: if there are fewer than two levels.

    Source:
        Theis et al. (2016), sec. 3.1.
    """
    _check(levels)
    return jnp.clip(jnp.floor(x * levels), 0, levels - 1) / (levels - 1)


def logit_transform(
    x: Float[Array, "*b"], *, alpha: float = 0.05
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns `log(p / (1 − p))` with `p = α + (1 − 2α) x`, and the log-derivative of each value.

    Args:
        x: values in [0, 1].
        alpha: α in [0, ½): keeps the logarithms finite at 0 and 1.

    Returns:
        The new values; and the logarithms of the slopes, whose sum is the log-determinant.

    Raises:
        ValueError: if `alpha` is not in [0, ½).

    Source:
        Dinh et al. (2017), sec. 4.1.
    """
    _check_alpha(alpha)
    p = alpha + (1 - 2 * alpha) * x
    up, down = jnp.log(p), jnp.log1p(-p)
    return up - down, jnp.log(jnp.full_like(x, 1 - 2 * alpha)) - up - down


def logit_transform_inverse(
    y: Float[Array, "*b"], *, alpha: float = 0.05
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns the values that `logit_transform` maps to `y`, and the inverse's log-derivatives.

    Args:
        y: any values; the result is in [−α / (1 − 2α), 1 + α / (1 − 2α)].
        alpha: α in [0, ½).

    Raises:
        ValueError: if `alpha` is not in [0, ½).

    Source:
        Dinh et al. (2017), sec. 4.1.
    """
    _check_alpha(alpha)
    log_slope = jax.nn.log_sigmoid(y) + jax.nn.log_sigmoid(-y)
    x = (jax.nn.sigmoid(y) - alpha) / (1 - 2 * alpha)
    return x, log_slope - jnp.log(jnp.full_like(y, 1 - 2 * alpha))


def probit(x: Float[Array, "*b"]) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns `Φ⁻¹(x)`, the standard normal's quantile, and the log-derivative of each value.

    An even density on [0, 1] becomes a normal one.

    Args:
        x: values in [0, 1]; within rounding of an end they count as one rounding step inside.

    Source:
        Chen & Gopinath (2000), sec. 4 ("Gaussianization").
    """
    step = float(jnp.finfo(x.dtype).eps)
    wide = _wide(jnp.where(x < step, step, jnp.where(x > 1 - step, 1 - step, x)))
    y = jax.scipy.special.ndtri(wide)
    return y.astype(x.dtype), -_log_normal(y).astype(x.dtype)


def probit_inverse(y: Float[Array, "*b"]) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns `Φ(y)` and the log-density of the standard normal: undoes `probit`.

    Args:
        y: any values.

    Source:
        Chen & Gopinath (2000), sec. 4 ("Gaussianization").
    """
    wide = _wide(y)
    return jax.scipy.special.ndtr(wide).astype(y.dtype), _log_normal(wide).astype(y.dtype)


def _wide(x: Array) -> Array:
    """The special functions know no 16-bit floats."""
    return x.astype(jnp.float32) if x.dtype in (jnp.float16, jnp.bfloat16) else x


def _log_normal(y: Array) -> Array:
    return -0.5 * (y**2 + math.log(2 * math.pi))


def _check(levels: int) -> None:
    if levels < 2:
        raise ValueError(f"levels must be at least 2, got {levels}.")


def _check_alpha(alpha: float) -> None:
    if not 0 <= alpha < 0.5:
        raise ValueError(f"alpha must be in [0, ½), got {alpha}.")
