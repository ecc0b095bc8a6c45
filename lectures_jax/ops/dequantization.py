"""From pixels of a few levels to densities over real numbers, and back."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._draws import draw
from lectures_jax.ops._precision import in_float32, upcast
from lectures_jax.ops.gaussian import standard_normal_log_prob
from lectures_jax.typing import Key, check_count, checked


@checked
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
    check_count(levels=levels, low=2)
    wide = upcast(x)
    noise = draw(jax.random.uniform, key, wide.shape, wide.dtype)
    y = ((jnp.round(wide * (levels - 1)) + noise) / levels).astype(x.dtype)
    # Rounding up may have made it 1, which is in no level.
    return jnp.where(y < 1, y, 1 - float(jnp.finfo(x.dtype).epsneg))


@checked
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
    check_count(levels=levels, low=2)
    return jnp.clip(jnp.floor(x * levels), 0, levels - 1) / (levels - 1)


@checked
@in_float32
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


@checked
@in_float32
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


@checked
@in_float32
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
    y = jax.scipy.special.ndtri(inside)
    return y, -standard_normal_log_prob(y[..., None])


@checked
@in_float32
def probit_inverse(y: Float[Array, "*b"]) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns `Φ(y)` and the log-density of the standard normal: undoes `probit`.

    Args:
        y: any values.

    Returns:
        Values in [0, 1], and the log-derivative of each.

    Source:
        Chen & Gopinath (2000), sec. 4 ("Gaussianization").
    """
    return jax.scipy.special.ndtr(y), standard_normal_log_prob(y[..., None])


def _check_alpha(alpha: float) -> None:
    if not 0 <= alpha < 0.5:
        raise ValueError(f"alpha must be in [0, ½), got {alpha}.")
