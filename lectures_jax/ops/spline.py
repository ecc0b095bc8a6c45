"""Monotone rational-quadratic splines: flexible one-dimensional maps with an exact inverse."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class _Bin(NamedTuple):
    """The bin into which each value falls: its corner, its sizes, the slopes at its ends."""

    left: Array
    width: Array
    bottom: Array
    height: Array
    slope: Array
    next_slope: Array


def rq_spline(
    x: Float[Array, "*b"],
    widths: Float[Array, "*b k"],
    heights: Float[Array, "*b k"],
    slopes: Float[Array, "*b m"],
    *,
    bound: float = 4.0,
    min_size: float = 1e-3,
    min_slope: float = 1e-3,
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns an increasing function of each value, and the logarithm of its slope.

    Between −`bound` and `bound` a quotient of two parabolas in each of k bins; outside the
    identity. Zeros everywhere are the identity too: equal bins, slopes of 1.

    Args:
        x: values.
        widths: logits of the bins' widths; their softmax, of at least `min_size`, fills the range.
        heights: likewise, of the heights.
        slopes: at the m = k − 1 inner knots, before a softplus that is 1 at 0; 1 at the outer two.
        bound: B, where the tails begin.
        min_size: least share of a bin in the whole range.
        min_slope: least slope at a knot.

    Returns:
        The new values, and the log-derivative of each: the log-determinant is the sum over an
        example's entries.

    Raises:
        ValueError: if the numbers of bins and slopes do not fit, or `min_size` leaves no room.

    Source:
        Durkan et al. (2019), eq. 4 and 5, sec. 3.1.
    """
    knots = _knots(widths, heights, slopes, bound, min_size, min_slope)
    inside = (x >= -bound) & (x <= bound)
    part = _find(jnp.where(inside, x, 0), knots.x, knots)
    share = (jnp.where(inside, x, 0) - part.left) / part.width
    mean, curve = _mean_and_curve(part)
    middle = share * (1 - share)
    rise = part.height * (mean * share**2 + part.slope * middle) / (mean + curve * middle)
    y = jnp.where(inside, part.bottom + rise, x)
    return y, jnp.where(inside, _log_slope(part, share), 0)


def rq_spline_inverse(
    y: Float[Array, "*b"],
    widths: Float[Array, "*b k"],
    heights: Float[Array, "*b k"],
    slopes: Float[Array, "*b m"],
    *,
    bound: float = 4.0,
    min_size: float = 1e-3,
    min_slope: float = 1e-3,
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns the values that `rq_spline` maps to `y`, and the logarithm of the inverse's slope.

    The root of a quadratic equation, in the form that loses no digits. Its discriminant is positive
    but for rounding; a negative one counts as zero, so the result is finite.

    Args:
        y: values.
        widths: logits of the bins' widths.
        heights: logits of their heights.
        slopes: at the inner knots, before the softplus.
        bound: B, where the tails begin.
        min_size: least share of a bin in the whole range.
        min_slope: least slope at a knot.

    Returns:
        The values, and minus the log-derivative of `rq_spline` there.

    Raises:
        ValueError: if the numbers of bins and slopes do not fit, or `min_size` leaves no room.

    Source:
        Durkan et al. (2019), eq. 6 to 8 and appendix A.2.
    """
    knots = _knots(widths, heights, slopes, bound, min_size, min_slope)
    inside = (y >= -bound) & (y <= bound)
    part = _find(jnp.where(inside, y, 0), knots.y, knots)
    rise = jnp.where(inside, y, 0) - part.bottom
    mean, curve = _mean_and_curve(part)
    a = part.height * (mean - part.slope) + rise * curve
    b = part.height * part.slope - rise * curve
    c = -mean * rise
    share = _unit(_root(a, b, c))
    x = jnp.where(inside, part.left + share * part.width, y)
    return x, jnp.where(inside, -_log_slope(part, share), 0)


def piecewise_linear(
    x: Float[Array, "*b"], logits: Float[Array, "*b k"]
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns the distribution function of a histogram at each value, and its log-density there.

    k bins of equal width fill [0, 1], of shares `softmax(logits)`; outside it is the identity. Of a
    pixel of k levels, moved evenly within them, it can give the exact distribution.

    Args:
        x: values.
        logits: of the shares.

    Returns:
        The new values, of even density where the histogram is right; and the log-derivatives.

    Raises:
        ValueError: if there is no bin.

    Source:
        Müller et al. (2019), "Neural importance sampling", sec. 4.2.
    """
    log_share, edges, bins = _histogram(logits)
    inside = (x >= 0) & (x < 1)
    place = jnp.where(inside, x, 0) * bins
    chosen = _levels(log_share) == jnp.floor(place)[None]
    log_share = _pick(chosen, log_share)
    y = _pick(chosen, edges[:-1]) + (place - jnp.floor(place)) * jnp.exp(log_share)
    return jnp.where(inside, y, x), jnp.where(inside, log_share + math.log(bins), 0)


def piecewise_linear_inverse(
    y: Float[Array, "*b"], logits: Float[Array, "*b k"]
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns the values that `piecewise_linear` maps to `y`, and minus its log-derivatives there.

    Args:
        y: values.
        logits: of the shares.

    Raises:
        ValueError: if there is no bin.

    Source:
        Müller et al. (2019), "Neural importance sampling", sec. 4.2.
    """
    log_share, edges, bins = _histogram(logits)
    inside = (y >= 0) & (y < 1)
    chosen = _between(jnp.where(inside, y, 0), edges)
    left = _pick(chosen, jnp.broadcast_to(_levels(log_share), log_share.shape))
    log_share = _pick(chosen, log_share)
    # A bin that rounding left empty divides 0 by 0; what is not inside is not used.
    part = (jnp.where(inside, y, 0) - _pick(chosen, edges[:-1])) * jnp.exp(-log_share)
    x = (left + _unit(part)) / bins
    return jnp.where(inside, x, y), jnp.where(inside, -log_share - math.log(bins), 0)


def _histogram(logits: Array) -> tuple[Array, Array, int]:
    """Logarithms of the shares, the distribution function at the edges, and the number of bins."""
    bins = logits.shape[-1]
    if not bins:
        raise ValueError(f"logits must hold at least one bin, got shape {logits.shape}.")
    log_share = jnp.moveaxis(jax.nn.log_softmax(logits, axis=-1), -1, 0)
    return log_share, _with_ends(_running_sum(jnp.exp(log_share)), 0.0, 1.0), bins


def _levels(log_share: Array) -> Array:
    """0, 1, … along the first axis."""
    count = jnp.arange(len(log_share), dtype=log_share.dtype)
    return count.reshape((-1,) + (1,) * (log_share.ndim - 1))


class _Knots(NamedTuple):
    x: Array
    y: Array
    slope: Array


def _knots(
    widths: Array, heights: Array, slopes: Array, bound: float, min_size: float, min_slope: float
) -> _Knots:
    """Positions, heights and slopes at the k + 1 knots."""
    bins = widths.shape[-1]
    if not bins or heights.shape[-1] != bins or slopes.shape[-1] != bins - 1:
        raise ValueError(
            f"widths, heights and slopes must be of k, k and k − 1 numbers, got {bins}, "
            f"{heights.shape[-1]} and {slopes.shape[-1]}."
        )
    if not 0 <= min_size * bins < 1:
        raise ValueError(f"min_size must be less than 1 / {bins} of the range, got {min_size}.")
    at_zero = math.log(math.expm1(1 - min_slope))  # softplus of it is 1 − min_slope
    # Bins first: the long axis of the values is then the fast one: a little faster on CPU.
    widths, heights, slopes = (jnp.moveaxis(a, -1, 0) for a in (widths, heights, slopes))
    inner = min_slope + jax.nn.softplus(slopes + at_zero)
    slope = jnp.pad(inner, [(1, 1)] + [(0, 0)] * (slopes.ndim - 1), constant_values=1)
    return _Knots(_edges(widths, bound, min_size), _edges(heights, bound, min_size), slope)


def _edges(logits: Array, bound: float, min_size: float) -> Array:
    bins = len(logits)
    sizes = min_size + (1 - min_size * bins) * jax.nn.softmax(logits, axis=0)
    return _with_ends(2 * bound * _running_sum(sizes) - bound, -bound, bound)


def _with_ends(inner: Array, first: float, last: float) -> Array:
    ends = [jnp.full((1, *inner.shape[1:]), end, inner.dtype) for end in (first, last)]
    return jnp.concatenate([ends[0], inner, ends[1]])


def _running_sum(sizes: Array) -> Array:
    """Returns the sums of the first 1, 2, …, k − 1 sizes."""
    return jnp.cumsum(sizes, axis=0)[:-1]


def _find(value: Array, edges: Array, knots: _Knots) -> _Bin:
    """Takes the bin of each value out of the knots.

    A sum over a mask: its gradient is a product, where that of a look-up would be a scatter.
    """
    inside = _between(value, edges)
    left, right, bottom, top, slope, next_slope = (
        _pick(inside, part) for x in knots for part in (x[:-1], x[1:])
    )
    return _Bin(left, right - left, bottom, top - bottom, slope, next_slope)


def _between(value: Array, edges: Array) -> Bool[Array, "k *b"]:
    """Returns which bin holds each value; the outer bins reach to infinity."""
    above = value[None] >= edges[1:-1]
    yes = jnp.ones((1, *value.shape), bool)
    return jnp.concatenate([yes, above]) & jnp.concatenate([~above, yes])


def _pick(mask: Bool[Array, "k *b"], values: Float[Array, "k *b"]) -> Float[Array, "*b"]:
    return jnp.sum(jnp.where(mask, values, 0), axis=0)


def _mean_and_curve(part: _Bin) -> tuple[Array, Array]:
    """The bin's mean slope, and how much its ends' slopes exceed it."""
    mean = part.height / part.width
    return mean, part.slope + part.next_slope - 2 * mean


def _log_slope(part: _Bin, share: Array) -> Array:
    mean, curve = _mean_and_curve(part)
    middle = share * (1 - share)
    top = part.next_slope * share**2 + 2 * mean * middle + part.slope * (1 - share) ** 2
    return 2 * jnp.log(mean) + jnp.log(top) - 2 * jnp.log(mean + curve * middle)


def _root(a: Array, b: Array, c: Array) -> Array:
    """The root of `a ξ² + b ξ + c` in [0, 1], where `b > 0` at ξ = 0."""
    discriminant = b**2 - 4 * a * c
    positive = discriminant > 0
    # A double `where`: the slope of the root at zero would make the gradient NaN.
    root = jnp.where(positive, jnp.sqrt(jnp.where(positive, discriminant, 1)), 0)
    bottom = b + root
    good = bottom > 0
    return jnp.where(good, -2 * c / jnp.where(good, bottom, 1), 0)


def _unit(share: Array) -> Array:
    """Clips to [0, 1], but with the slope of the identity at both ends."""
    return jnp.where(share < 0, 0, jnp.where(share > 1, 1, share))
