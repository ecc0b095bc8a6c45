"""Axis-aligned boxes: conversions between their forms, areas, and overlap measures.

A box is `(x1, y1, x2, y2)` in pixels, x to the right and y down, unless a name has another form.
Any other unit does, too, where the squares of areas are numbers of float32: coordinates up to 10⁹
and sides from 10⁻⁹ on.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import checked


@checked
def xyxy_to_cxcywh(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """Converts corners to center and size, `(x1, y1, x2, y2) → (c_x, c_y, w, h)`.

    Args:
        boxes: two opposite corners, the upper left one first.

    Returns:
        Centers and sizes in the same unit.
    """
    low, high = _corners(boxes)
    return jnp.concatenate([(low + high) / 2, high - low], axis=-1)


@checked
def cxcywh_to_xyxy(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """Converts center and size to corners, `(c_x, c_y, w, h) → (x1, y1, x2, y2)`.

    Args:
        boxes: center, then width and height.

    Returns:
        The upper left and the lower right corner, in the same unit.
    """
    center, size = _corners(boxes)
    return jnp.concatenate([center - size / 2, center + size / 2], axis=-1)


@checked
def xyxy_to_xywh(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """Converts corners to upper left corner and size, the form of COCO's files.

    Args:
        boxes: two opposite corners, the upper left one first.

    Returns:
        The upper left corner, then width and height, in the same unit.
    """
    low, high = _corners(boxes)
    return jnp.concatenate([low, high - low], axis=-1)


@checked
def xywh_to_xyxy(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """Converts upper left corner and size, the form of COCO's files, to corners.

    Args:
        boxes: upper left corner, then width and height.

    Returns:
        The upper left and the lower right corner, in the same unit.
    """
    low, size = _corners(boxes)
    return jnp.concatenate([low, low + size], axis=-1)


@checked
def clip_boxes(
    boxes: Float[Array, "*b 4"], *, height: ScalarLike, width: ScalarLike
) -> Float[Array, "*b 4"]:
    """Moves the corners that lie outside of the image to its border.

    Args:
        boxes: corners, in pixels.
        height: height of the image, in pixels.
        width: width of the image, in pixels.

    Returns:
        Boxes inside of `[0, width] × [0, height]`; one that lay wholly outside has no area left.
    """
    x = jnp.clip(boxes[..., 0::2], 0, width)
    y = jnp.clip(boxes[..., 1::2], 0, height)
    return jnp.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], axis=-1)


@checked
@in_float32
def box_area(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b"]:
    """Returns `(x2 − x1)(y2 − y1)`, negative where exactly one pair of sides is swapped.

    Args:
        boxes: corners.

    Returns:
        Square pixels, or the square of whatever unit the corners have.
    """
    return _area(boxes)


@checked
@in_float32
def iou(a: Float[Array, "*#b 4"], b: Float[Array, "*#b 4"]) -> Float[Array, "*#b"]:
    """Returns the intersection over union `|A ∩ B| / |A ∪ B|` of two boxes.

    Args:
        a: corners of one box each.
        b: corners of the other box; the leading axes of `a` and `b` broadcast.

    Returns:
        Values in [0, 1]; 0 where the union is empty, and where a box has its corners swapped.
    """
    return _overlap(a, b).iou


@checked
@in_float32
def giou(a: Float[Array, "*#b 4"], b: Float[Array, "*#b 4"]) -> Float[Array, "*#b"]:
    r"""Returns the generalized IoU, which still has a gradient when the boxes are disjoint.

    `IoU − |C \ (A ∪ B)| / |C|`, where C is the smallest box around both.

    Args:
        a: corners of one box each.
        b: corners of the other box; the leading axes of `a` and `b` broadcast.

    Returns:
        Values in (-1, 1]; a fraction with an empty denominator counts as 0. A box with its corners
        swapped, of negative area, makes the value meaningless; it can then exceed 1.

    Source:
        Rezatofighi et al. (2019), algorithm 1.
    """
    overlap = _overlap(a, b)
    hull = overlap.hull_width * overlap.hull_height
    return overlap.iou - _ratio(hull - overlap.union, hull)


@checked
@in_float32
def diou(a: Float[Array, "*#b 4"], b: Float[Array, "*#b 4"]) -> Float[Array, "*#b"]:
    """Returns the distance IoU, which also pulls the centers together.

    `IoU − |center(A) − center(B)|² / d²`, where d is the diagonal of the smallest box around both.

    Args:
        a: corners of one box each.
        b: corners of the other box; the leading axes of `a` and `b` broadcast.

    Returns:
        Values in (-1, 1]; a fraction with an empty denominator counts as 0.

    Source:
        Zheng et al. (2020), eq. 7.
    """
    overlap = _overlap(a, b)
    return overlap.iou - _center_distance(a, b, overlap)


@checked
@in_float32
def ciou(a: Float[Array, "*#b 4"], b: Float[Array, "*#b 4"]) -> Float[Array, "*#b"]:
    """Returns the complete IoU, which also compares the aspect ratios.

    `DIoU − α v`, with `v = 4/π² (atan(w_A/h_A) − atan(w_B/h_B))²` and `α = v / (1 − IoU + v)`.

    The gradient is that of the formula; training code often takes α for a constant instead.

    Args:
        a: corners of one box each.
        b: corners of the other box; the leading axes of `a` and `b` broadcast.

    Returns:
        Values at most 1; a fraction with an empty denominator counts as 0.

    Source:
        Zheng et al. (2020), eq. 8 to 11.
    """
    overlap = _overlap(a, b)
    v = (2 / math.pi * (_aspect_angle(a) - _aspect_angle(b))) ** 2
    penalty = _center_distance(a, b, overlap) + _ratio(v * v, 1 - overlap.iou + v)
    return overlap.iou - penalty


@checked
def pairwise_iou(a: Float[Array, "n 4"], b: Float[Array, "m 4"]) -> Float[Array, "n m"]:
    """Returns the IoU of every box of `a` with every box of `b`.

    Args:
        a: corners of n boxes.
        b: corners of m boxes.

    Returns:
        Values in [0, 1], those of `iou`.
    """
    return iou(a[:, None], b[None, :])


class _Overlap(NamedTuple):
    iou: Array
    union: Array
    hull_width: Array
    hull_height: Array


def _overlap(a: Array, b: Array) -> _Overlap:
    """Returns what every overlap measure needs; the hull is the smallest box around both."""
    (a_low, a_high), (b_low, b_high) = _corners(a), _corners(b)
    sides = jnp.maximum(jnp.minimum(a_high, b_high) - jnp.maximum(a_low, b_low), 0)
    hull = jnp.maximum(a_high, b_high) - jnp.minimum(a_low, b_low)
    intersection = sides[..., 0] * sides[..., 1]
    union = _area(a) + _area(b) - intersection
    return _Overlap(_ratio(intersection, union), union, hull[..., 0], hull[..., 1])


def _center_distance(a: Array, b: Array, overlap: _Overlap) -> Array:
    """Returns the squared distance of the centers over the squared diagonal of the hull."""
    (a_low, a_high), (b_low, b_high) = _corners(a), _corners(b)
    offset = (a_low + a_high - b_low - b_high) / 2
    distance = offset[..., 0] ** 2 + offset[..., 1] ** 2
    return _ratio(distance, overlap.hull_width**2 + overlap.hull_height**2)


def _aspect_angle(boxes: Array) -> Array:
    low, high = _corners(boxes)
    width, height = high[..., 0] - low[..., 0], high[..., 1] - low[..., 1]
    # The gradient of arctan2 is 0/0 at the origin, and a `where` outside would pass the NaN on.
    point = (width == 0) & (height == 0)
    return jnp.arctan2(width, jnp.where(point, 1, height))


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Divides, with value and gradient 0 where the denominator is not positive."""
    positive = denominator > 0
    # The inner `where` keeps 0/0 out of the gradient, which the outer one alone would not.
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1), 0)


def _area(boxes: Array) -> Array:
    low, high = _corners(boxes)
    return (high[..., 0] - low[..., 0]) * (high[..., 1] - low[..., 1])


def _corners(boxes: Array) -> tuple[Array, Array]:
    return boxes[..., :2], boxes[..., 2:]
