"""From a Darknet network's raw heads to the objects in each image; Darknet's own suppression."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lectures_jax import ops
from lectures_jax.models.darknet_layers import Head
from lectures_jax.nn import detection
from lectures_jax.nn.detection import Detections
from lectures_jax.typing import check_count

Suppression = Literal["hard", "soft", "diou", "darknet"]
"""Those of `nn.detection`, and "darknet": what the configuration says (`nms_kind`, `beta_nms`)."""


def find_objects(
    raw: Sequence[Float[Array, "b _ _ _"]],
    heads: Sequence[Head],
    strides: Sequence[int],
    *,
    image_size: tuple[int, int],
    suppression: Suppression = "hard",
    **options: Any,
) -> Detections:
    """Returns the objects that raw heads describe.

    Args:
        raw: the network's outputs.
        heads: how each of them is read.
        strides: pixels per cell of each.
        image_size: height and width of the images in pixels, to which boxes are clipped.
        suppression: which boxes that overlap are left out.
        options: `max_outputs`, `score_threshold`, `iou_threshold`, `class_agnostic` and `sigma` of
            `nn.detection.suppress`.
    """
    decoded = [_decode(*each) for each in zip(raw, heads, strides, strict=True)]
    boxes, scores = (jnp.concatenate(x, axis=1) for x in zip(*decoded, strict=True))
    clip = partial(ops.clip_boxes, height=image_size[0], width=image_size[1])
    power = heads[0].distance_power
    if suppression != "darknet" or power is None:
        hard = "hard" if suppression == "darknet" else suppression
        return detection.suppress(clip(boxes), scores, suppression=hard, **options)
    check_count(max_outputs=options["max_outputs"])
    del options["sigma"]
    detections = Detections(*jax.vmap(partial(_select, power=power, **options))(boxes, scores))
    return detections._replace(boxes=clip(detections.boxes))


def _decode(raw: Array, head: Head, stride: int) -> tuple[Array, Array]:
    """The boxes of a head, and their scores by class."""
    anchors = jnp.asarray(head.anchors, raw.dtype)
    decoded = ops.yolo_decode(raw, anchors, stride=stride, scale_xy=head.scale_x_y)
    normalize = jax.nn.softmax if head.softmax else jax.nn.sigmoid
    scores = jax.nn.sigmoid(decoded.objectness)[..., None] * normalize(decoded.classes)
    return decoded.boxes, scores


def _select(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, "n c"],
    *,
    max_outputs: int,
    score_threshold: float | Float[Array, ""],
    iou_threshold: float | Float[Array, ""],
    class_agnostic: bool,
    power: float,
) -> tuple[Array, Array, Array, Array]:
    """Darknet's suppression of the boxes of one image, which takes them as they are, not clipped.

    `IoU − (|center(a) − center(b)|² / d²)^power > t` suppresses, d the diagonal of both.
    Source: AlexeyAB's fork, `box.c`.
    """
    scores, owner, labels = _candidates(scores, max_outputs, class_agnostic)
    boxes = boxes[owner]
    number = jnp.arange(len(boxes))
    later = number[:, None] < number[None]
    same = class_agnostic | (labels[:, None] == labels[None])
    overlaps = (_distance_iou(boxes, power) > iou_threshold) & later & same
    alive = jax.lax.fori_loop(
        0,
        len(boxes),
        lambda i, alive: alive & ~(overlaps[i] & alive[i]),
        scores > score_threshold,
    )
    count = min(max_outputs, len(boxes))
    kept = jnp.nonzero(alive, size=count, fill_value=len(boxes))[0]
    kept = jnp.pad(kept, (0, max_outputs - count), constant_values=len(boxes))
    valid = kept < len(boxes)
    kept = jnp.where(valid, kept, 0)
    return (
        jnp.where(valid[:, None], boxes[kept], 0),
        jnp.where(valid, scores[kept], 0),
        jnp.where(valid, labels[kept], -1),
        valid,
    )


def _candidates(
    scores: Float[Array, "n c"], max_outputs: int, class_agnostic: bool
) -> tuple[Float[Array, " m"], Int[Array, " m"], Int[Array, " m"]]:
    """The best pairs of box and class by falling score: scores, boxes' numbers, labels."""
    classes = scores.shape[1]
    labels = jnp.argmax(scores, axis=1).astype(jnp.int32)
    flat = jnp.max(scores, axis=1) if class_agnostic else scores.ravel()
    best, at = jax.lax.top_k(flat, min(len(flat), max(512, 4 * max_outputs)))
    if class_agnostic:
        return best, at, labels[at]
    return best, at // classes, (at % classes).astype(jnp.int32)


def _distance_iou(boxes: Float[Array, "m 4"], power: float) -> Float[Array, "m m"]:
    low = jnp.minimum(boxes[:, None, :2], boxes[None, :, :2])
    high = jnp.maximum(boxes[:, None, 2:], boxes[None, :, 2:])
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    distance = jnp.sum((center[:, None] - center[None]) ** 2, axis=-1)
    diagonal = jnp.sum((high - low) ** 2, axis=-1)
    share = jnp.where(diagonal > 0, distance / jnp.where(diagonal > 0, diagonal, 1), 0)
    return ops.pairwise_iou(boxes, boxes) - share**power
