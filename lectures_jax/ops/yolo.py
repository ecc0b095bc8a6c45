"""YOLO's heads: their outputs decoded into boxes, and boxes encoded as their targets."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lectures_jax.ops._exponential import MOST_LOG_SIZE, bounded_exp
from lectures_jax.ops._precision import in_float32
from lectures_jax.ops.boxes import cxcywh_to_xyxy, iou, xyxy_to_cxcywh
from lectures_jax.typing import check_count, check_range, checked


class Predictions(NamedTuple):
    """Predictions of one head, by slot: rows of cells, then columns, then anchors.

    Attributes:
        boxes: corners in pixels.
        objectness: logit that an object is assigned to the slot.
        classes: one logit per class.
    """

    boxes: Float[Array, "*b n 4"]
    objectness: Float[Array, "*b n"]
    classes: Float[Array, "*b n c"]


class YoloTarget(NamedTuple):
    """What one head should predict for one image.

    Attributes:
        boxes: the true box of each slot, xyxy pixels; zeros where no object is assigned.
        responsible: the slots to which an object is assigned.
        classes: one-hot class of each responsible slot, zeros elsewhere.
        collided: number of objects whose best slot on this head is assigned to an earlier object.
        true_boxes: all objects of the image, whichever head they belong to.
        true_valid: which of them are objects and not padding.
    """

    boxes: Float[Array, "*b h w a 4"]
    responsible: Bool[Array, "*b h w a"]
    classes: Float[Array, "*b h w a c"]
    collided: Int[Array, "*b"]
    true_boxes: Float[Array, "*b m 4"]
    true_valid: Bool[Array, "*b m"]


@checked
def split_head(raw: Float[Array, "*b h w f"], *, num_anchors: int) -> Float[Array, "*b h w a e"]:
    """Returns the head's channels by anchor: `t_x, t_y, t_w, t_h`, objectness, one logit per class.

    Args:
        raw: output of the head, `num_anchors * (5 + classes)` channels.
        num_anchors: number of anchors of a cell.

    Returns:
        One vector of 5 + classes numbers per cell and anchor.

    Raises:
        ValueError: if the channels do not divide among the anchors, or leave no class.

    Source:
        Redmon & Farhadi (2018), sec. 2.3.
    """
    channels = raw.shape[-1]
    if not num_anchors or channels % num_anchors or channels // num_anchors < 6:
        raise ValueError(
            f"raw must have num_anchors * (5 + classes) channels with at least one class, "
            f"got {channels} channels for {num_anchors} anchors."
        )
    return raw.reshape(*raw.shape[:-1], num_anchors, channels // num_anchors)


def _cell_corners(height: int, width: int, dtype: jnp.dtype) -> Float[Array, "h w 1 2"]:
    """Returns `(c_x, c_y)` of each cell: the column first, the row second."""
    column, row = jnp.meshgrid(jnp.arange(width, dtype=dtype), jnp.arange(height, dtype=dtype))
    return jnp.stack([column, row], axis=-1)[:, :, None]


@checked
@in_float32
def yolo_boxes(
    offsets: Float[Array, "*b h w a 4"],
    anchors: Float[Array, "a 2"],
    *,
    stride: int,
    scale_xy: int | float = 1.0,
) -> Float[Array, "*b h w a 4"]:
    """Returns the boxes that `t_x, t_y, t_w, t_h` encode.

    `b_xy = (σ(t_xy) + c_xy) · stride`, `b_wh = anchor · exp(min(t_wh, 10))`: as implementations do,
    and not the paper, the exponent is bounded, or a box could be infinite and its overlap NaN.

    Args:
        offsets: `t_x, t_y, t_w, t_h` of each slot.
        anchors: width and height of this head's anchors, in pixels.
        stride: pixels per cell.
        scale_xy: s of `s σ(t_xy) − (s − 1)/2 + c_xy`; above 1 a center may leave its cell.

    Returns:
        Corners in pixels, not clipped to the image.

    Raises:
        ValueError: if `scale_xy` is below 1.

    Source:
        Redmon & Farhadi (2018), sec. 2.1; for `scale_xy` Bochkovskiy et al. (2020), sec. 3.4.
    """
    check_range(scale_xy=scale_xy, low=1)
    height, width = offsets.shape[-4:-2]
    corners = _cell_corners(height, width, offsets.dtype)
    corners = corners.reshape((1,) * (offsets.ndim - 4) + corners.shape)
    anchors = anchors.astype(offsets.dtype).reshape((1,) * (offsets.ndim - 2) + anchors.shape)
    place = jax.nn.sigmoid(offsets[..., :2])
    place = place if scale_xy == 1 else scale_xy * place - (scale_xy - 1) / 2
    center = (place + corners) * stride
    size = anchors * bounded_exp(offsets[..., 2:], most=MOST_LOG_SIZE)
    return cxcywh_to_xyxy(jnp.concatenate([center, size], axis=-1))


@checked
def yolo_decode(
    raw: Float[Array, "*b h w f"],
    anchors: Float[Array, "a 2"],
    *,
    stride: int,
    scale_xy: int | float = 1.0,
) -> Predictions:
    """Returns the boxes, objectness and class logits of every slot of one head.

    `b_xy = (σ(t_xy) + c_xy) · stride`, `b_wh = anchor · exp(min(t_wh, 10))`

    Args:
        raw: output of the head; per anchor `t_x, t_y, t_w, t_h`, objectness, one logit per class.
        anchors: width and height of this head's anchors, in pixels.
        stride: pixels per cell.
        scale_xy: how far a center may leave its cell, see `yolo_boxes`; 1 is not at all.

    Returns:
        Boxes in xyxy pixels, not clipped to the image; objectness and classes as logits.

    Raises:
        ValueError: if the channels do not divide among the anchors, or `scale_xy` is below 1.

    Source:
        Redmon & Farhadi (2018), sec. 2.1 to 2.3.
    """
    slots = split_head(raw, num_anchors=anchors.shape[0])
    *batch, height, width, count, entries = slots.shape
    flat = (*batch, height * width * count)
    return Predictions(
        yolo_boxes(slots[..., :4], anchors, stride=stride, scale_xy=scale_xy).reshape(*flat, 4),
        slots[..., 4].reshape(flat),
        slots[..., 5:].reshape(*flat, entries - 5),
    )


@checked
def shape_iou(a: Float[Array, "n 2"], b: Float[Array, "m 2"]) -> Float[Array, "n m"]:
    """Returns the IoU of every pair of sizes, as boxes with a common center.

    Args:
        a: widths and heights of n boxes, in pixels.
        b: widths and heights of m boxes, in pixels.

    Returns:
        Values in [0, 1].

    Source:
        Redmon & Farhadi (2017), sec. 2 ("Dimension clusters").
    """
    corners = lambda size: jnp.concatenate([-size / 2, size / 2], axis=-1)  # noqa: E731
    return iou(corners(a)[:, None], corners(b)[None])


def _candidate_anchors(
    boxes: Float[Array, "m 4"],
    valid: Bool[Array, " m"],
    anchors: Float[Array, "s a 2"],
    anchor_iou: float | None,
) -> tuple[Bool[Array, "m s a"], Bool[Array, "m s a"]]:
    """Returns the best anchor of each object, and all anchors whose overlap suffices."""
    scales, count, _ = anchors.shape
    overlap = shape_iou(xyxy_to_cxcywh(boxes)[:, 2:], anchors.reshape(-1, 2))
    # argmax and not `overlap == max`: equal anchors must not both be the best.
    best = jax.nn.one_hot(jnp.argmax(overlap, axis=1), scales * count, dtype=bool) & valid[:, None]
    good = best
    if anchor_iou is not None:
        good = best | ((overlap > anchor_iou) & valid[:, None])
    return best.reshape(-1, scales, count), good.reshape(-1, scales, count)


def _assign(
    boxes: Float[Array, "m 4"],
    classes: Float[Array, "m c"],
    valid: Bool[Array, " m"],
    best: Bool[Array, "m a"],
    good: Bool[Array, "m a"],
    grid: tuple[int, int],
    stride: int,
) -> YoloTarget:
    """Assigns each object to its slots on one head."""
    height, width = grid
    count, anchors = best.shape
    limit = jnp.array([width - 1, height - 1], jnp.int32)[None]
    center = xyxy_to_cxcywh(boxes)[:, :2]
    # A center on the right or lower edge of the image belongs to the last cell.
    column, row = jnp.minimum((center / stride).astype(jnp.int32), limit).T

    # A slot goes to the object of least rank: to the first one, but to an object's best anchor
    # before another object's second choice.
    order = jnp.arange(count, dtype=jnp.int32)[:, None]
    unassigned = 2 * count
    rank = jnp.where(best, order, jnp.where(good, order + count, unassigned))
    least = jnp.full((height, width, anchors), unassigned, jnp.int32).at[row, column].min(rank)
    responsible = least < unassigned
    assigned = least % count
    box_target = jnp.where(responsible[..., None], boxes[assigned], 0)
    class_target = jnp.where(responsible[..., None], classes[assigned], 0)
    collided = jnp.sum(best & (least[row, column] != order), dtype=jnp.int32)
    return YoloTarget(box_target, responsible, class_target, collided, boxes, valid)


@checked
def yolo_encode(
    boxes: Float[Array, "m 4"],
    labels: Int[Array, " m"],
    valid: Bool[Array, " m"],
    anchors: Float[Array, "s a 2"] | Float[Array, "n 2"],
    *,
    image_size: tuple[int, int],
    strides: Sequence[int],
    num_classes: int,
    anchor_iou: float | None = None,
) -> tuple[YoloTarget, ...]:
    """Returns what each head should predict for the objects of one image.

    An object is assigned to the cell that contains its center, and there to the anchor, among those
    of all heads, whose shape overlaps it most. Where two objects have the same slot it is assigned
    to the earlier one; the later one collided with it, is counted in `collided`, and has no target.

    Args:
        boxes: corners of the objects, in pixels; invalid rows are padding.
        labels: class of each object, in [0, `num_classes`); readers of data check it. A label
            outside is no class, and its vector all zeros.
        valid: which rows are objects; what other rows hold has no effect. Boxes without area, and
            boxes whose center is outside the image, are left out too.
        anchors: widths and heights in pixels, `[s, a, 2]` or flat `[s * a, 2]`, those of each head
            in the order of `strides`.
        image_size: height and width of the image in pixels, multiples of every stride.
        strides: pixels per cell of each head.
        num_classes: number of classes, the length of the one-hot vectors.
        anchor_iou: None assigns the best anchor alone, as the course defines it; a number assigns
            also every anchor whose shape IoU with the object exceeds it, which trains far faster.

    Returns:
        One target per head, in the order of `strides`.

    Raises:
        ValueError: if a stride does not divide the image, or the heads the anchors, or there is no
            class.

    Source:
        Redmon & Farhadi (2018), sec. 2.1 and 2.3.
    """
    check_count(num_classes=num_classes)
    height, width = image_size
    if any(height % stride or width % stride for stride in strides):
        raise ValueError(
            f"image_size must be a multiple of every stride {tuple(strides)}, got {image_size}."
        )
    if not anchors.size or anchors.size % (2 * len(strides)):
        raise ValueError(
            f"anchors must be [{len(strides)}, a, 2], a row per stride, got {anchors.shape}."
        )
    anchors = anchors.astype(boxes.dtype).reshape(len(strides), -1, 2)
    if not len(boxes):  # one row of padding, so that there is something to index
        boxes, labels, valid = (
            jnp.pad(x, [(0, 1)] + [(0, 0)] * (x.ndim - 1)) for x in (boxes, labels, valid)
        )
    x, y, box_width, box_height = xyxy_to_cxcywh(boxes).T
    inside = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    valid = valid & inside & (box_width > 0) & (box_height > 0)
    boxes = jnp.where(valid[:, None], boxes, 0)  # or a NaN in the padding would reach a loss
    classes = jax.nn.one_hot(labels, num_classes, dtype=boxes.dtype)
    best, good = _candidate_anchors(boxes, valid, anchors, anchor_iou)
    return tuple(
        _assign(
            boxes,
            classes,
            valid,
            best[:, i],
            good[:, i],
            (height // stride, width // stride),
            stride,
        )
        for i, stride in enumerate(strides)
    )
