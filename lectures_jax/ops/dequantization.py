"""From pixels of a few levels to densities over real numbers, and back."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._draws import draw
from lectures_jax.ops._precision import upcast
from lectures_jax.ops.gaussian import standard_normal_log_prob
from lectures_jax.typing import Key


def dequantize(key: Key, x: Float[Array, "*b"], *, levels: int) -> Float[Array, "*b"]:
    """Returns values drawn uniformly within the level of each value.

    `(level + u) / levels` with `u` uniform in [0, 1). A density of these values gives a bound on
    the probability of the levels: `∫ p(level + u) du ≥ exp E log p(level + u)`.

    Args:
        key: for `u`.
        x: values among `levels` evenly spaced ones from 0 to 1.
        levels: number of levels, at least 2.

    Returns:
        Values in [0, 1), in the dtype of `x`.

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
        x: values; those outside [0, 1) belong to the first or the last level.
        levels: number of levels, at least 2.

    Returns:
        Values among `levels` evenly spaced ones from 0 to 1.

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
        The new values, and the log-derivative of each, whose sum is the log-determinant.

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
        y: any values.
        alpha: α in [0, ½).

    Returns:
        Values in [−α / (1 − 2α), 1 + α / (1 − 2α)], and the log-derivative of each.

    Raises:
        ValueError: if `alpha` is not in [0, ½).

    Source:
        Dinh et al. (2017), sec. 4.1.
    """
    _check_alpha(alpha)
    log_derivative = jax.nn.log_sigmoid(y) + jax.nn.log_sigmoid(-y)
    x = (jax.nn.sigmoid(y) - alpha) / (1 - 2 * alpha)
    return x, log_derivative - jnp.log(jnp.full_like(y, 1 - 2 * alpha))


def probit(x: Float[Array, "*b"]) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns `Φ⁻¹(x)`, the standard normal's quantile, and the log-derivative of each value.

    The uniform density on [0, 1] becomes the standard normal one.

    Args:
        x: values in [0, 1]; one within a rounding step of an end counts as one step inside.

    Returns:
        The quantiles, all finite, and the log-derivative of each.

    Source:
        Chen & Gopinath (2000), sec. 4 ("Gaussianization").
    """
    step = float(jnp.finfo(x.dtype).eps)
    inside = jnp.where(x < step, step, jnp.where(x > 1 - step, 1 - step, x))
    y = jax.scipy.special.ndtri(upcast(inside))
    return y.astype(x.dtype), -standard_normal_log_prob(y[..., None]).astype(x.dtype)


def probit_inverse(y: Float[Array, "*b"]) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns `Φ(y)` and the log-density of the standard normal: undoes `probit`.

    Args:
        y: any values.

    Returns:
        Values in [0, 1], and the log-derivative of each.

    Source:
        Chen & Gopinath (2000), sec. 4 ("Gaussianization").
    """
    y32 = upcast(y)
    log_derivative = standard_normal_log_prob(y32[..., None])
    return jax.scipy.special.ndtr(y32).astype(y.dtype), log_derivative.astype(y.dtype)


def _check(levels: int) -> None:
    if levels < 2:
        raise ValueError(f"levels must be at least 2, got {levels}.")


def _check_alpha(alpha: float) -> None:
    if not 0 <= alpha < 0.5:
        raise ValueError(f"alpha must be in [0, ½), got {alpha}.")
