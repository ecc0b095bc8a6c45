"""How much boxes overlap, for the search of suppression: the IoU and the DIoU of all pairs."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Candidates(NamedTuple):
    """Boxes in the order in which they are taken.

    Attributes:
        corners: x1, y1, x2, y2.
        area: not clamped, so negative for swapped corners.
        rank: place by falling score.
        label: class, if classes count.
    """

    corners: Float[Array, "4 n"]
    area: Float[Array, " n"]
    rank: Int[Array, " n"]
    label: Int[Array, " n"] | None


Measure = Callable[[Candidates, Candidates], Array]
"""The overlap of n boxes with m boxes, `[n, m]`; NaN where a corner is NaN."""


def intersection_over_union(a: Candidates, b: Candidates) -> Array:
    """Returns the IoU `[n, m]` in torchvision's order of operations, for the same bits."""
    x1, y1, x2, y2 = (x[:, None] for x in a.corners)
    u1, v1, u2, v2 = (x[None, :] for x in b.corners)
    width = _maximum(jnp.zeros_like(x1), _minimum(x2, u2) - _maximum(x1, u1))
    height = _maximum(jnp.zeros_like(x1), _minimum(y2, v2) - _maximum(y1, v1))
    intersection = width * height
    # Without a guard: 0/0 is NaN, which is above no threshold.
    return intersection / (a.area[:, None] + b.area[None, :] - intersection)


def distance_iou(a: Candidates, b: Candidates) -> Array:
    """Returns the DIoU `[n, m]`: less than the IoU where the centers are apart."""
    x1, y1, x2, y2 = (x[:, None] for x in a.corners)
    u1, v1, u2, v2 = (x[None, :] for x in b.corners)
    x, y = (x1 + x2 - u1 - u2) / 2, (y1 + y2 - v1 - v2) / 2
    width = _maximum(x2, u2) - _minimum(x1, u1)
    height = _maximum(y2, v2) - _minimum(y1, v1)
    distance, diagonal = x * x + y * y, width * width + height * height
    apart = distance > 0  # two points in one place have no diagonal
    return intersection_over_union(a, b) - jnp.where(apart, distance / diagonal, 0)


def _maximum(a: Array, b: Array) -> Array:
    # C++'s max. `jnp.maximum` passes NaN on from both sides and takes several times as long.
    return jnp.where(a < b, b, a)


def _minimum(a: Array, b: Array) -> Array:
    return jnp.where(b < a, b, a)
