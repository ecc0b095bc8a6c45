"""Boxes converted between all of torchvision's formats by name, rotated ones among them."""

from typing import Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._precision import in_float32
from lectures_jax.ops.boxes import (
    cxcywh_to_xyxy,
    xywh_to_xyxy,
    xyxy_to_cxcywh,
    xyxy_to_xywh,
)
from lectures_jax.typing import checked

BoxFormat = Literal["xyxy", "xywh", "cxcywh", "xywhr", "cxcywhr", "xyxyxyxy"]
"""Corners, corner and size, center and size; the same of rotated boxes, and their four corners."""

SIZES = {"xyxy": 4, "xywh": 4, "cxcywh": 4, "xywhr": 5, "cxcywhr": 5, "xyxyxyxy": 8}
"""Numbers of a box."""
UPRIGHT = {
    "xyxy": (lambda boxes: boxes, lambda boxes: boxes),
    "xywh": (xywh_to_xyxy, xyxy_to_xywh),
    "cxcywh": (cxcywh_to_xyxy, xyxy_to_cxcywh),
}
"""To the corners and back."""


@checked
@in_float32
def box_convert(
    boxes: Float[Array, "*b n"], *, source: BoxFormat, target: BoxFormat
) -> Float[Array, "*b m"]:
    """Converts boxes from one format to another.

    Axis-aligned boxes are `xyxy` (two corners), `xywh` (upper left corner, width and height) and
    `cxcywh` (center, width and height). A rotated box is turned about its center by r degrees,
    counterclockwise as the image is seen: `xywhr` (the corner that is the upper left one before the
    turn, width, height, r), `cxcywhr` (center, width, height, r), `xyxyxyxy` (the corners that are
    the upper left, upper right, lower right and lower left one before the turn).

    Args:
        boxes: four numbers each; five in `xywhr` and `cxcywhr`, eight in `xyxyxyxy`.
        source: format of `boxes`.
        target: format of the result.

    Returns:
        The same boxes, in the same unit. From `xyxyxyxy` the angle is in (-180, 180]; of corners
        that are no rectangle, width and height are the lengths of the upper and the right side.

    Raises:
        ValueError: if a format is unknown, boxes have not the numbers of their format, or one
            format is of rotated boxes and the other is not.

    Source:
        torchvision, `box_convert`.
    """
    for name, value in (("source", source), ("target", target)):
        if value not in SIZES:
            raise ValueError(
                f"{name} must be one of {', '.join(get_args(BoxFormat))}, got {value!r}."
            )
    if boxes.shape[-1] != SIZES[source]:
        raise ValueError(f"boxes must have {SIZES[source]} numbers in {source}, got {boxes.shape}.")
    if source == target:
        return boxes
    if (source in UPRIGHT) != (target in UPRIGHT):
        raise ValueError(
            f"source and target must both be of rotated boxes, or none, got {source} and {target}."
        )
    if source in UPRIGHT:
        return UPRIGHT[target][1](UPRIGHT[source][0](boxes))
    corner, sides, angle = ROTATED[source](boxes)
    return _rotated(corner, sides, angle, target)


def _from_corner(boxes: Array) -> tuple[Array, Array, Array]:
    return boxes[..., :2], boxes[..., 2:4], boxes[..., 4:]


def _from_center(boxes: Array) -> tuple[Array, Array, Array]:
    center, sides, angle = _from_corner(boxes)
    right, down = _axes(angle)
    return center - (sides[..., :1] * right + sides[..., 1:] * down) / 2, sides, angle


def _from_corners(boxes: Array) -> tuple[Array, Array, Array]:
    first, second, third = boxes[..., :2], boxes[..., 2:4], boxes[..., 4:6]
    upper, right = second - first, third - second
    empty = jnp.all(upper == 0, axis=-1, keepdims=True)
    # The gradient of arctan2 is 0/0 where the two corners are one.
    angle = jnp.arctan2(-upper[..., 1:], jnp.where(empty, 1, upper[..., :1]))
    sides = jnp.concatenate([_length(upper), _length(right)], axis=-1)
    return first, sides, jnp.rad2deg(angle)


ROTATED = {"xywhr": _from_corner, "cxcywhr": _from_center, "xyxyxyxy": _from_corners}
"""To the upper left corner, the sides and the angle."""


def _rotated(corner: Array, sides: Array, angle: Array, target: BoxFormat) -> Array:
    right, down = _axes(angle)
    upper, left = sides[..., :1] * right, sides[..., 1:] * down
    if target == "xywhr":
        return jnp.concatenate([corner, sides, angle], axis=-1)
    if target == "cxcywhr":
        return jnp.concatenate([corner + (upper + left) / 2, sides, angle], axis=-1)
    corners = [corner, corner + upper, corner + upper + left, corner + left]
    return jnp.concatenate(corners, axis=-1)


def _axes(angle: Array) -> tuple[Array, Array]:
    """Returns the directions, in the image, of the upper side to the right and of the left down."""
    turn = jnp.deg2rad(angle)
    cos, sin = jnp.cos(turn), jnp.sin(turn)
    return jnp.concatenate([cos, -sin], axis=-1), jnp.concatenate([sin, cos], axis=-1)


def _length(vector: Array) -> Array:
    """Returns the length, with the gradient 0 where it is 0."""
    square = jnp.sum(vector**2, axis=-1, keepdims=True)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
