"""Activation normalization: a scale and a shift of each channel, set by the first batch."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._exponential import bounded_exp
from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import checked


class ActNormParams(NamedTuple):
    """Parameters of `actnorm`: what is added to each channel, and the logarithm of its factor."""

    shift: Float[Array, " c"]
    log_scale: Float[Array, " c"]


@checked
@in_float32
def actnorm(
    x: Float[Array, "*b c"], shift: Float[Array, " c"], log_scale: Float[Array, " c"]
) -> tuple[Float[Array, "*b c"], Float[Array, "*b"]]:
    """Returns `x · exp(log_scale) + shift`, channel by channel, and the log-determinant.

    Args:
        x: vectors; in a map every cell is a vector of its own.
        shift: added to each channel.
        log_scale: logarithm of each channel's factor.

    Returns:
        The new values, and `Σ log_scale` for each vector; a map's is the sum over its cells.

    Source:
        Kingma & Dhariwal (2018), sec. 3.1.
    """
    y = x * _last(bounded_exp(log_scale), x) + _last(shift, x)
    return y, jnp.broadcast_to(jnp.sum(log_scale), x.shape[:-1])


@checked
@in_float32
def actnorm_inverse(
    y: Float[Array, "*b c"], shift: Float[Array, " c"], log_scale: Float[Array, " c"]
) -> tuple[Float[Array, "*b c"], Float[Array, "*b"]]:
    """Returns the `x` that `actnorm` maps to `y`, and the inverse's log-determinant.

    Args:
        y: vectors; in a map every cell is a vector of its own.
        shift: subtracted from each channel.
        log_scale: logarithm by which each channel is divided.

    Returns:
        The values, and `−Σ log_scale` for each vector.

    Source:
        Kingma & Dhariwal (2018), table 1.
    """
    x = (y - _last(shift, y)) * _last(bounded_exp(-log_scale), y)
    return x, jnp.broadcast_to(-jnp.sum(log_scale), y.shape[:-1])


@checked
@in_float32
def actnorm_statistics(x: Float[Array, "*b c"], *, epsilon: float = 1e-6) -> ActNormParams:
    """Returns the parameters with which `actnorm` gives each channel mean 0 and variance 1.

    Args:
        x: a batch, at least one value per channel.
        epsilon: a channel of smaller deviation, relative to 1 and its mean, is not scaled.

    Returns:
        Shift and log-scale of each channel.

    Raises:
        ValueError: if there is no value to average.

    Source:
        Kingma & Dhariwal (2018), sec. 3.1 ("data dependent initialization").
    """
    if not x.size:
        raise ValueError(f"x must hold at least one value per channel, got shape {x.shape}.")
    axes = tuple(range(x.ndim - 1))
    mean = jnp.mean(x, axis=axes)
    # The variance of centered values: exact where the mean is many times the deviation.
    var = jnp.mean((x - _last(mean, x)) ** 2, axis=axes)
    # Of a constant channel nothing is left but rounding, which must not be blown up to 1.
    moves = var > epsilon**2 * (1 + mean**2)
    deviation = jnp.where(moves, jnp.sqrt(jnp.where(moves, var, 1)), 1)
    return ActNormParams(-mean / deviation, -jnp.log(deviation))


def _last(values: Array, x: Array) -> Array:
    """Shapes one value per channel so that it broadcasts against x."""
    return values.reshape((1,) * (x.ndim - 1) + (-1,))
