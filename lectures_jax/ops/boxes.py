"""Axis-aligned boxes: conversions between their forms, areas, and overlap measures.

A box is `(x1, y1, x2, y2)` in pixels, x to the right and y down, unless a name has another form.
Any other unit does, too, where the squares of areas are numbers of float32: coordinates up to 10⁹
and sides from 10⁻⁹ on.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, ScalarLike

from lectures_jax.ops._overlap import (
    area_of,
    aspect_difference,
    center_distance,
    corners_of,
    overlap_of,
    ratio,
)
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
    low, high = corners_of(boxes)
    return jnp.concatenate([(low + high) / 2, high - low], axis=-1)


@checked
def cxcywh_to_xyxy(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """Converts center and size to corners, `(c_x, c_y, w, h) → (x1, y1, x2, y2)`.

    Args:
        boxes: center, then width and height.

    Returns:
        The upper left and the lower right corner, in the same unit.
    """
    center, size = corners_of(boxes)
    return jnp.concatenate([center - size / 2, center + size / 2], axis=-1)


@checked
def xyxy_to_xywh(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """Converts corners to upper left corner and size, the form of COCO's files.

    Args:
        boxes: two opposite corners, the upper left one first.

    Returns:
        The upper left corner, then width and height, in the same unit.
    """
    low, high = corners_of(boxes)
    return jnp.concatenate([low, high - low], axis=-1)


@checked
def xywh_to_xyxy(boxes: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """Converts upper left corner and size, the form of COCO's files, to corners.

    Args:
        boxes: upper left corner, then width and height.

    Returns:
        The upper left and the lower right corner, in the same unit.
    """
    low, size = corners_of(boxes)
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
    return area_of(boxes)


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
    return overlap_of(a, b).iou


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
    overlap = overlap_of(a, b)
    hull = overlap.hull_width * overlap.hull_height
    return overlap.iou - ratio(hull - overlap.union, hull)


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
    overlap = overlap_of(a, b)
    return overlap.iou - center_distance(a, b, overlap)


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
    overlap = overlap_of(a, b)
    v = aspect_difference(a, b)
    penalty = center_distance(a, b, overlap) + ratio(v * v, 1 - overlap.iou + v)
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


@checked
def remove_small_boxes(boxes: Float[Array, "*b 4"], *, min_size: ScalarLike) -> Bool[Array, "*b"]:
    """Returns which boxes have both sides at least `min_size` long.

    torchvision returns the indices of these boxes instead; a mask keeps its shape under `jit`.

    Args:
        boxes: corners, in pixels.
        min_size: least width and height, in pixels.

    Returns:
        True for boxes to keep; a box with a coordinate that is NaN is not.

    Source:
        torchvision, `remove_small_boxes`.
    """
    low, high = corners_of(boxes)
    return jnp.all(high - low >= min_size, axis=-1)


@checked
def masks_to_boxes(masks: Bool[Array, "*b h w"] | Int[Array, "*b h w"]) -> Float[Array, "*b 4"]:
    """Returns the first and last column and row that each mask touches, `(x1, y1, x2, y2)`.

    As in torchvision, the last column and row are those of the last pixel, so that the box of a
    single pixel has no area. The box around the pixels' edges, which the readers of `data` give,
    has one more in `x2` and `y2`.

    Args:
        masks: True, or not 0, where the object is.

    Returns:
        float32 in pixels; zeros where a mask is empty.

    Source:
        torchvision, `masks_to_boxes`.
    """
    masks = masks.astype(bool)
    spans = [_span(jnp.any(masks, axis=axis)) for axis in (-2, -1)]  # of columns, then of rows
    (x1, x2), (y1, y2) = spans
    return jnp.stack([x1, y1, x2, y2], axis=-1)


def _span(touched: Bool[Array, "*b n"]) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Returns the first and the last place that is True, 0 and 0 where none is."""
    place = jnp.arange(touched.shape[-1], dtype=jnp.float32).reshape(
        (1,) * (touched.ndim - 1) + (-1,)
    )
    last = jnp.max(jnp.where(touched, place, 0), axis=-1, initial=0)
    first = jnp.min(jnp.where(touched, place, last[..., None]), axis=-1, initial=jnp.inf)
    return jnp.where(jnp.any(touched, axis=-1), first, 0), last
