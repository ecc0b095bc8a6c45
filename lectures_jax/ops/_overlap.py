"""What the overlap measures of boxes, and the losses made of them, have in common.

A box is `(x1, y1, x2, y2)`. Every fraction has the value and the gradient 0 where its denominator
is empty.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array


class Overlap(NamedTuple):
    """Two boxes, and the smallest box around both, the hull."""

    iou: Array
    union: Array
    hull_width: Array
    hull_height: Array


def overlap_of(a: Array, b: Array) -> Overlap:
    """Returns what every overlap measure needs."""
    (a_low, a_high), (b_low, b_high) = corners_of(a), corners_of(b)
    sides = jnp.maximum(jnp.minimum(a_high, b_high) - jnp.maximum(a_low, b_low), 0)
    hull = jnp.maximum(a_high, b_high) - jnp.minimum(a_low, b_low)
    intersection = sides[..., 0] * sides[..., 1]
    union = area_of(a) + area_of(b) - intersection
    return Overlap(ratio(intersection, union), union, hull[..., 0], hull[..., 1])


def center_distance(a: Array, b: Array, overlap: Overlap) -> Array:
    """Returns the squared distance of the centers over the squared diagonal of the hull."""
    (a_low, a_high), (b_low, b_high) = corners_of(a), corners_of(b)
    offset = (a_low + a_high - b_low - b_high) / 2
    distance = offset[..., 0] ** 2 + offset[..., 1] ** 2
    return ratio(distance, overlap.hull_width**2 + overlap.hull_height**2)


def aspect_difference(a: Array, b: Array) -> Array:
    """Returns `v = 4/π² (atan(w_A/h_A) − atan(w_B/h_B))²`. Source: Zheng et al. (2020), eq. 9."""
    return (2 / math.pi * (_aspect_angle(a) - _aspect_angle(b))) ** 2


def ratio(numerator: Array, denominator: Array) -> Array:
    """Divides, with value and gradient 0 where the denominator is not positive."""
    positive = denominator > 0
    # The inner `where` keeps 0/0 out of the gradient, which the outer one alone would not.
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1), 0)


def area_of(boxes: Array) -> Array:
    """Returns the signed area."""
    low, high = corners_of(boxes)
    return (high[..., 0] - low[..., 0]) * (high[..., 1] - low[..., 1])


def corners_of(boxes: Array) -> tuple[Array, Array]:
    """Returns the first and the second pair of numbers."""
    return boxes[..., :2], boxes[..., 2:]


def _aspect_angle(boxes: Array) -> Array:
    low, high = corners_of(boxes)
    width, height = high[..., 0] - low[..., 0], high[..., 1] - low[..., 1]
    # The gradient of arctan2 is 0/0 at the origin, and a `where` outside would pass the NaN on.
    point = (width == 0) & (height == 0)
    return jnp.arctan2(width, jnp.where(point, 1, height))
