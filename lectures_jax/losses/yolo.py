"""YOLO's losses: version 1's, which the course prints, and version 3's."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lectures_jax.losses.classification import binary_cross_entropy
from lectures_jax.ops._exponential import MOST_LOG_SIZE, bounded_exp
from lectures_jax.ops._precision import in_float32
from lectures_jax.ops.boxes import ciou, pairwise_iou, xyxy_to_cxcywh
from lectures_jax.ops.yolo import YoloTarget, split_head, yolo_boxes
from lectures_jax.typing import check_range, checked


class YoloTerms(NamedTuple):
    """The terms of YOLO's loss, one value per image each.

    Attributes:
        box: position and size of the boxes, over the responsible slots.
        objectness: whether a slot has an object, over all slots that are not ignored.
        classes: class of the objects, over the responsible slots.
    """

    box: Float[Array, "*b"]
    objectness: Float[Array, "*b"]
    classes: Float[Array, "*b"]


def _sum_slots(x: Float[Array, "*b h w a"]) -> Float[Array, "*b"]:
    return jnp.sum(x, axis=(-3, -2, -1))


def _check_target(
    target: YoloTarget, *, slots: tuple[int, ...], classes: int | None = None
) -> None:
    """Refuses a target of integers, or of other slots or classes than the head's."""
    expected = {
        "boxes": (*slots, 4),
        "classes": (*slots, target.classes.shape[-1] if classes is None else classes),
        "true_boxes": (*slots[:-3], target.true_boxes.shape[-2], 4),
    }
    for name, shape in expected.items():
        got = getattr(target, name)
        if got.shape != shape or not jnp.issubdtype(got.dtype, jnp.floating):
            raise ValueError(
                f"target.{name} must be floats of shape {shape}, as the head has it, got "
                f"{got.dtype} of shape {got.shape}."
            )


def _split(
    raw: Float[Array, "*b h w f"], target: YoloTarget, anchors: Float[Array, "a 2"]
) -> tuple[Float[Array, "*b h w a e"], Float[Array, "*b h w a e"]]:
    """Returns the numbers of all slots, and the same with 0 where a slot has no object.

    Whatever the network predicts there, such as a size of exp(90), it cannot reach a gradient.
    """
    slots = split_head(raw, num_anchors=anchors.shape[0])
    _check_target(target, slots=slots.shape[:-1], classes=slots.shape[-1] - 5)
    return slots, jnp.where(target.responsible[..., None], slots, 0)


def _slot_geometry(
    target: YoloTarget, anchors: Float[Array, "a 2"], *, stride: int
) -> tuple[Float[Array, "*b h w a 2"], Float[Array, "*b h w a 2"], Float[Array, "*b h w a 2"]]:
    """Returns each slot's true position in its cell, its size, and the anchor's size, in pixels.

    The position is in cells, [0, 1]. A slot without object has its anchor's size, so that
    logarithms and square roots stay finite under the mask.
    """
    responsible = target.responsible[..., None]
    geometry = xyxy_to_cxcywh(jnp.where(responsible, target.boxes, 0))
    center = geometry[..., :2] / stride
    height, width = target.boxes.shape[-4:-2]
    last = jnp.array([width - 1, height - 1], center.dtype)
    # Not `center % 1`: a center on the far edge of the image lies at 1 in the last cell.
    cell = jnp.minimum(jnp.floor(center), last.reshape((1,) * (center.ndim - 1) + (2,)))
    anchor = anchors.astype(center.dtype).reshape((1,) * (center.ndim - 2) + anchors.shape)
    anchor = jnp.broadcast_to(anchor, center.shape)
    return center - cell, jnp.where(responsible, geometry[..., 2:], anchor), anchor


@checked
@in_float32
def ignored_slots(
    boxes: Float[Array, "*b h w a 4"], target: YoloTarget, *, ignore_threshold: float
) -> Bool[Array, "*b h w a"]:
    """Returns the slots without object whose predicted box overlaps some object well.

    They do not count in the loss of the objectness.

    Args:
        boxes: predicted boxes, corners in pixels.
        target: target of the head, from `ops.yolo_encode`.
        ignore_threshold: IoU with any object of the image above which a slot is ignored.

    Returns:
        True for ignored slots; never for responsible ones.

    Raises:
        ValueError: if the boxes are not those of the target's head, or `ignore_threshold` is out of
            [0, 1].

    Source:
        Redmon & Farhadi (2018), sec. 2.1.
    """
    check_range(ignore_threshold=ignore_threshold, low=0, high=1)
    _check_target(target, slots=boxes.shape[:-1])
    batch = boxes.shape[:-4]
    flat = boxes.reshape(*batch, -1, 4)
    overlap = jnp.vectorize(pairwise_iou, signature="(n,4),(m,4)->(n,m)")(flat, target.true_boxes)
    overlap = jnp.where(target.true_valid[..., None, :], overlap, 0)
    best = jnp.max(overlap, axis=-1, initial=0.0).reshape(target.responsible.shape)
    return (best > ignore_threshold) & ~target.responsible


@checked
@in_float32
def yolo_v3_terms(
    raw: Float[Array, "*b h w f"],
    target: YoloTarget,
    anchors: Float[Array, "a 2"],
    *,
    stride: int,
    ignore_threshold: float = 0.7,
) -> YoloTerms:
    """Returns the terms of YOLOv3's loss on one head: box, objectness, classes.

    Responsible slots: `(2 − w h) [bce(t_x, x) + bce(t_y, y) + ½ (t_w − ŵ)² + ½ (t_h − ĥ)²]` with
    `x, y` the position in the cell, `ŵ = log(width / anchor)` and `w h` the box's share of the
    image; a logistic loss per class. Objectness is logistic on all slots but the ignored ones.

    Args:
        raw: output of the head.
        target: target of the head, from `ops.yolo_encode`.
        anchors: widths and heights of this head's anchors, in pixels.
        stride: pixels per cell.
        ignore_threshold: IoU with an object above which the objectness of a slot without object is
            not penalized.

    Returns:
        Sums over the slots, one value per image, in nats (that of the sizes in squared log units).

    Raises:
        ValueError: if the target has other slots or classes than the head, or `ignore_threshold` is
            out of [0, 1].

    Source:
        Redmon & Farhadi (2018), sec. 2.1 and 2.2; the weight 2 − w h and the ½ are Darknet's.
    """
    slots, assigned = _split(raw, target, anchors)
    offsets, logits = assigned[..., :4], assigned[..., 5:]
    responsible = target.responsible.astype(raw.dtype)
    position, size, anchor = _slot_geometry(target, anchors, stride=stride)

    height, width = raw.shape[-3:-1]
    weight = responsible * (2 - size[..., 0] * size[..., 1] / (width * height * stride**2))
    xy = jnp.sum(binary_cross_entropy(offsets[..., :2], position), axis=-1)
    wh = 0.5 * jnp.sum((offsets[..., 2:] - jnp.log(size / anchor)) ** 2, axis=-1)

    boxes = jax.lax.stop_gradient(yolo_boxes(slots[..., :4], anchors, stride=stride))
    ignored = ignored_slots(boxes, target, ignore_threshold=ignore_threshold)
    objectness = binary_cross_entropy(jnp.where(ignored, 0, slots[..., 4]), responsible)
    objectness_loss = jnp.where(ignored, 0, objectness)
    classes = jnp.where(target.responsible[..., None], target.classes, 0)
    class_loss = responsible * jnp.sum(binary_cross_entropy(logits, classes), axis=-1)
    return YoloTerms(
        _sum_slots(weight * (xy + wh)), _sum_slots(objectness_loss), _sum_slots(class_loss)
    )


@checked
@in_float32
def yolo_v3(
    raw: Float[Array, "*b h w f"],
    target: YoloTarget,
    anchors: Float[Array, "a 2"],
    *,
    stride: int,
    ignore_threshold: float = 0.7,
) -> Float[Array, "*b"]:
    """Returns YOLOv3's loss on one head: the sum of its box, objectness and class terms.

    Args:
        raw: output of the head.
        target: target of the head, from `ops.yolo_encode`.
        anchors: widths and heights of this head's anchors, in pixels.
        stride: pixels per cell.
        ignore_threshold: IoU with an object above which the objectness of a slot without object is
            not penalized.

    Returns:
        One value per image, in nats.

    Raises:
        ValueError: if the target has other slots or classes than the head, or `ignore_threshold` is
            out of [0, 1].

    Source:
        Redmon & Farhadi (2018), sec. 2.1 and 2.2; see `yolo_v3_terms`.
    """
    terms = yolo_v3_terms(raw, target, anchors, stride=stride, ignore_threshold=ignore_threshold)
    return terms.box + terms.objectness + terms.classes


@checked
@in_float32
def yolo_overlap(
    raw: Float[Array, "*b h w f"],
    target: YoloTarget,
    anchors: Float[Array, "a 2"],
    *,
    stride: int,
) -> Float[Array, "*b"]:
    """Returns `Σ (1 − CIoU)` between the predicted and the true box of the responsible slots.

    It is not part of YOLOv3. It optimizes the overlap itself, which mean average precision
    measures, and corrects boxes that the logistic loss leaves a pixel off. A box whose side is more
    than e¹⁰ anchors counts as one of that size, so that value and gradient are finite.

    Args:
        raw: output of the head.
        target: target of the head, from `ops.yolo_encode`.
        anchors: widths and heights of this head's anchors, in pixels.
        stride: pixels per cell.

    Returns:
        One value per image, at least 0.

    Raises:
        ValueError: if the target has other slots or classes than the head.

    Source:
        Zheng et al. (2020), eq. 10; on YOLO heads: Bochkovskiy et al. (2020), sec. 3.4.
    """
    _, assigned = _split(raw, target, anchors)
    boxes = yolo_boxes(assigned[..., :4], anchors, stride=stride)
    # An empty slot compares its box with itself: finite under the mask.
    truth = jnp.where(target.responsible[..., None], target.boxes, jax.lax.stop_gradient(boxes))
    return _sum_slots(jnp.where(target.responsible, 1 - ciou(boxes, truth), 0))


@checked
@in_float32
def yolo_v1_style(
    raw: Float[Array, "*b h w f"],
    target: YoloTarget,
    anchors: Float[Array, "a 2"],
    *,
    stride: int,
    coord: float = 5.0,
    no_object: float = 0.5,
) -> Float[Array, "*b"]:
    """Returns the loss that the course prints, YOLO version 1's, on a head of version 3.

    `λ_coord Σ_obj [(x − x̂)² + (y − ŷ)² + (√w − √ŵ)² + (√h − √ĥ)²]`
    `+ Σ_obj (C − 1)² + λ_noobj Σ_noobj C² + Σ_obj Σ_c (p_c − p̂_c)²`

    with `x, y` in cells, `w, h` as shares of the image, at most e¹⁰ anchors, `C` and `p` after the
    sigmoid.

    Args:
        raw: output of the head.
        target: target of the head, from `ops.yolo_encode`.
        anchors: widths and heights of this head's anchors, in pixels.
        stride: pixels per cell.
        coord: λ_coord, weight of the positions and sizes.
        no_object: λ_noobj, weight of the objectness of slots without object.

    Returns:
        One value per image, at least 0.

    Raises:
        ValueError: if the target has other slots or classes than the head, or a weight is negative.

    Source:
        Redmon et al. (2016), eq. 3.
    """
    check_range(coord=coord, no_object=no_object, low=0)
    slots, assigned = _split(raw, target, anchors)
    responsible = target.responsible.astype(raw.dtype)
    position, size, anchor = _slot_geometry(target, anchors, stride=stride)
    height, width = raw.shape[-3:-1]
    image = jnp.array([width * stride, height * stride], raw.dtype)
    image = image.reshape((1,) * (size.ndim - 1) + (2,))
    # √(anchor · exp(t)) = √anchor · exp(t / 2), whose derivative is finite everywhere.
    root = jnp.sqrt(anchor / image) * bounded_exp(assigned[..., 2:4] / 2, most=MOST_LOG_SIZE / 2)
    xy = jnp.sum((jax.nn.sigmoid(assigned[..., :2]) - position) ** 2, axis=-1)
    wh = jnp.sum((root - jnp.sqrt(size / image)) ** 2, axis=-1)
    confidence = (jax.nn.sigmoid(slots[..., 4]) - responsible) ** 2
    true_classes = jnp.where(target.responsible[..., None], target.classes, 0)
    classes = jnp.sum((jax.nn.sigmoid(assigned[..., 5:]) - true_classes) ** 2, axis=-1)
    with_object = coord * (xy + wh) + confidence + classes
    return _sum_slots(responsible * with_object + no_object * (1 - responsible) * confidence)
