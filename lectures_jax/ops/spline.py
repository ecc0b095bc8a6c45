"""Monotone rational-quadratic splines: flexible one-dimensional maps with an exact inverse.

The letters are those of Durkan et al. (2019), sec. 3.1. A bin k lies between the knots (x_k, y_k)
and (x_(k+1), y_(k+1)), at which the derivatives are δ_k and δ_(k+1). Within it

    ξ = (x − x_k) / (x_(k+1) − x_k)                the position, from 0 to 1
    s_k = (y_(k+1) − y_k) / (x_(k+1) − x_k)        the mean derivative

In code they are `xi`, `s_k`, `delta_k` and `delta_next`; `curvature` is δ_(k+1) + δ_k − 2 s_k, a
term of the equations (4) to (7).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._bins import bin_mask, clip_to_unit, partial_sums, pick, with_ends
from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import checked


class _Knots(NamedTuple):
    """The k + 1 knots of each value's spline, along the first axis."""

    x: Array
    y: Array
    delta: Array


class _Bin(NamedTuple):
    """The bin into which each value falls."""

    x_k: Array
    width: Array  # x_(k+1) − x_k
    y_k: Array
    height: Array  # y_(k+1) − y_k
    delta_k: Array
    delta_next: Array  # δ_(k+1)

    @property
    def s_k(self) -> Array:
        return self.height / self.width

    def curvature(self, s_k: Array) -> Array:
        return self.delta_k + self.delta_next - 2 * s_k


@checked
@in_float32
def rq_spline(
    x: Float[Array, "*b"],
    widths: Float[Array, "*b k"],
    heights: Float[Array, "*b k"],
    derivatives: Float[Array, "*b m"],
    *,
    bound: float = 4.0,
    min_size: float = 1e-3,
    min_derivative: float = 1e-3,
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns an increasing function of each value, and the logarithm of its derivative.

    `y = y_k + (y_(k+1) − y_k) [s_k ξ² + δ_k ξ(1 − ξ)] / (s_k + [δ_(k+1) + δ_k − 2 s_k] ξ(1 − ξ))`
    in each of k bins between −`bound` and `bound`; the identity outside. With zeros for widths,
    heights and derivatives it is the identity inside, too.

    Args:
        x: values.
        widths: logits of the bins' widths; their softmax, of at least `min_size`, fills the range.
        heights: logits of the bins' heights, which fill the range in the same way.
        derivatives: at the m = k − 1 inner knots, before a softplus that is 1 at 0; the derivative
            at the two outer knots is 1.
        bound: B, where the identity begins.
        min_size: least share of a bin in the whole range.
        min_derivative: least derivative at a knot.

    Returns:
        The new values, and the log-derivative of each: the log-determinant is the sum over an
        example's entries.

    Raises:
        ValueError: if the numbers of bins and derivatives do not fit, or `min_size` leaves no room.

    Source:
        Durkan et al. (2019), eq. 4 and 5, sec. 3.1.
    """
    knots = _knots(widths, heights, derivatives, bound, min_size, min_derivative)
    inside = (x >= -bound) & (x <= bound)
    x_inside = jnp.where(inside, x, 0)
    part = _bin(x_inside, knots.x, knots)
    xi = (x_inside - part.x_k) / part.width
    s_k = part.s_k
    curvature = part.curvature(s_k)
    both = xi * (1 - xi)
    # Equation (4).
    numerator = part.height * (s_k * xi**2 + part.delta_k * both)
    y = part.y_k + numerator / (s_k + curvature * both)
    return jnp.where(inside, y, x), jnp.where(inside, _log_derivative(part, xi), 0)


@checked
@in_float32
def rq_spline_inverse(
    y: Float[Array, "*b"],
    widths: Float[Array, "*b k"],
    heights: Float[Array, "*b k"],
    derivatives: Float[Array, "*b m"],
    *,
    bound: float = 4.0,
    min_size: float = 1e-3,
    min_derivative: float = 1e-3,
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns the values that `rq_spline` maps to `y`, and the log-derivative of this inverse.

    ξ is a root of a quadratic equation, computed in the form that loses no digits. Its discriminant
    is positive but for rounding; a negative one counts as zero, so the result is finite.

    Args:
        y: values.
        widths: logits of the bins' widths.
        heights: logits of the bins' heights.
        derivatives: at the inner knots, before the softplus.
        bound: B, where the identity begins.
        min_size: least share of a bin in the whole range.
        min_derivative: least derivative at a knot.

    Returns:
        The values, and minus the log-derivative of `rq_spline` there.

    Raises:
        ValueError: if the numbers of bins and derivatives do not fit, or `min_size` leaves no room.

    Source:
        Durkan et al. (2019), eq. 6 to 8 and appendix A.2.
    """
    knots = _knots(widths, heights, derivatives, bound, min_size, min_derivative)
    inside = (y >= -bound) & (y <= bound)
    y_inside = jnp.where(inside, y, 0)
    part = _bin(y_inside, knots.y, knots)
    rise = y_inside - part.y_k
    s_k = part.s_k
    curvature = part.curvature(s_k)
    # Equations (6) to (8).
    a = part.height * (s_k - part.delta_k) + rise * curvature
    b = part.height * part.delta_k - rise * curvature
    c = -s_k * rise
    xi = clip_to_unit(_root(a, b, c))
    x = jnp.where(inside, part.x_k + xi * part.width, y)
    return x, jnp.where(inside, -_log_derivative(part, xi), 0)


def _log_derivative(part: _Bin, xi: Array) -> Array:
    """The logarithm of equation (5)."""
    s_k = part.s_k
    curvature = part.curvature(s_k)
    both = xi * (1 - xi)
    numerator = part.delta_next * xi**2 + 2 * s_k * both + part.delta_k * (1 - xi) ** 2
    return 2 * jnp.log(s_k) + jnp.log(numerator) - 2 * jnp.log(s_k + curvature * both)


def _root(a: Array, b: Array, c: Array) -> Array:
    """The root of `a ξ² + b ξ + c` in [0, 1], where `b > 0` at ξ = 0."""
    discriminant = b**2 - 4 * a * c
    positive = discriminant > 0
    # A double `where`: the derivative of the root at zero would make the gradient NaN.
    root = jnp.where(positive, jnp.sqrt(jnp.where(positive, discriminant, 1)), 0)
    denominator = b + root
    positive = denominator > 0
    return jnp.where(positive, -2 * c / jnp.where(positive, denominator, 1), 0)


def _knots(
    widths: Array,
    heights: Array,
    derivatives: Array,
    bound: float,
    min_size: float,
    min_derivative: float,
) -> _Knots:
    """Positions, heights and derivatives at the k + 1 knots."""
    bins = widths.shape[-1]
    if not bins or heights.shape[-1] != bins or derivatives.shape[-1] != bins - 1:
        raise ValueError(
            f"widths, heights and derivatives must be of k, k and k − 1 numbers, got {bins}, "
            f"{heights.shape[-1]} and {derivatives.shape[-1]}."
        )
    if not 0 <= min_size * bins < 1:
        raise ValueError(f"min_size must be less than 1 / {bins} of the range, got {min_size}.")
    at_zero = math.log(math.expm1(1 - min_derivative))  # softplus of it is 1 − min_derivative
    # Bins first: the values' axis, which is long, is then the fast one: a little faster on CPU.
    widths, heights, derivatives = (jnp.moveaxis(a, -1, 0) for a in (widths, heights, derivatives))
    inner = min_derivative + jax.nn.softplus(derivatives + at_zero)
    delta = jnp.pad(inner, [(1, 1)] + [(0, 0)] * (derivatives.ndim - 1), constant_values=1)
    return _Knots(_edges(widths, bound, min_size), _edges(heights, bound, min_size), delta)


def _edges(logits: Array, bound: float, min_size: float) -> Array:
    bins = len(logits)
    sizes = min_size + (1 - min_size * bins) * jax.nn.softmax(logits, axis=0)
    return with_ends(2 * bound * partial_sums(sizes) - bound, -bound, bound)


def _bin(value: Array, edges: Array, knots: _Knots) -> _Bin:
    """Returns the bin of each value."""
    in_bin = bin_mask(value, edges)
    x_k, x_next, y_k, y_next, delta_k, delta_next = (
        pick(in_bin, part) for a in knots for part in (a[:-1], a[1:])
    )
    return _Bin(x_k, x_next - x_k, y_k, y_next - y_k, delta_k, delta_next)
