"""Piecewise linear maps: the distribution function of a histogram, and its inverse."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._bins import bin_mask, clip_to_unit, partial_sums, pick, with_ends
from lectures_jax.ops._exponential import bounded_exp
from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import checked


@checked
@in_float32
def piecewise_linear(
    x: Float[Array, "*b"], logits: Float[Array, "*b k"]
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns the distribution function of a histogram at each value, and its log-density there.

    k bins of equal width fill [0, 1], with the shares `softmax(logits)`; outside it is the
    identity. For dequantized pixels of k levels it can be the exact distribution.

    Args:
        x: values.
        logits: logits of the bins' shares.

    Returns:
        The new values, of uniform density where the histogram is that of `x`; and the
        log-derivatives.

    Raises:
        ValueError: if there is no bin.

    Source:
        Müller et al. (2019), "Neural importance sampling", sec. 4.2.
    """
    log_share, edges, bins = _histogram(logits)
    inside = (x >= 0) & (x < 1)
    position = jnp.where(inside, x, 0) * bins
    in_bin = _bin_numbers(log_share) == jnp.floor(position)[None]
    log_share = pick(in_bin, log_share)
    y = pick(in_bin, edges[:-1]) + (position - jnp.floor(position)) * jnp.exp(log_share)
    return jnp.where(inside, y, x), jnp.where(inside, log_share + math.log(bins), 0)


@checked
@in_float32
def piecewise_linear_inverse(
    y: Float[Array, "*b"], logits: Float[Array, "*b k"]
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns the values that `piecewise_linear` maps to `y`, and minus its log-derivatives there.

    Args:
        y: values.
        logits: logits of the bins' shares.

    Returns:
        The values, and the log-derivative of the inverse at each.

    Raises:
        ValueError: if there is no bin.

    Source:
        Müller et al. (2019), "Neural importance sampling", sec. 4.2.
    """
    log_share, edges, bins = _histogram(logits)
    inside = (y >= 0) & (y < 1)
    in_bin = bin_mask(jnp.where(inside, y, 0), edges)
    number = pick(in_bin, jnp.broadcast_to(_bin_numbers(log_share), log_share.shape))
    log_share = pick(in_bin, log_share)
    # A bin that rounding left empty divides 0 by 0; what is not inside is not used.
    position = (jnp.where(inside, y, 0) - pick(in_bin, edges[:-1])) * bounded_exp(-log_share)
    x = (number + clip_to_unit(position)) / bins
    return jnp.where(inside, x, y), jnp.where(inside, -log_share - math.log(bins), 0)


def _histogram(logits: Array) -> tuple[Array, Array, int]:
    """Logarithms of the shares, the distribution function at the edges, and the number of bins."""
    bins = logits.shape[-1]
    if not bins:
        raise ValueError(f"logits must hold at least one bin, got shape {logits.shape}.")
    log_share = jnp.moveaxis(jax.nn.log_softmax(logits, axis=-1), -1, 0)
    return log_share, with_ends(partial_sums(jnp.exp(log_share)), 0.0, 1.0), bins


def _bin_numbers(log_share: Array) -> Array:
    """0, 1, … along the first axis."""
    count = jnp.arange(len(log_share), dtype=log_share.dtype)
    return count.reshape((-1,) + (1,) * (log_share.ndim - 1))
