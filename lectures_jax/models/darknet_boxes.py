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
from lectures_jax.ops.yolo import split_head
from lectures_jax.typing import check_count, check_positive

Suppression = Literal["hard", "soft", "diou", "darknet"]
"""Those of `nn.detection`, and "darknet": what the configuration says (`nms_kind`, `beta_nms`)."""


def find_objects(
    raw: Sequence[Float[Array, "b _ _ _"]],
    heads: Sequence[Head],
    strides: Sequence[int],
    *,
    image_size: tuple[int, int],
    max_outputs: int = 100,
    score_threshold: float | Array = 0.01,
    iou_threshold: float | Array = 0.5,
    sigma: float | Array = 0.5,
    suppression: Suppression = "hard",
    class_agnostic: bool = False,
) -> Detections:
    """Returns the objects that raw heads describe; compiled once for a shape.

    Args:
        raw: the network's outputs.
        heads: how each of them is read.
        strides: pixels per cell of each.
        image_size: height and width of the images in pixels, to which boxes are clipped.
        max_outputs: see `nn.detection.suppress`.
        score_threshold: see `nn.detection.suppress`.
        iou_threshold: see `nn.detection.suppress`.
        sigma: see `nn.detection.suppress`.
        suppression: those of `nn.detection.suppress`, or "darknet" as the configuration says.
        class_agnostic: see `nn.detection.suppress`.

    Raises:
        ValueError: if an option is none of those known, or a number is out of its range.
    """
    check_count(max_outputs=max_outputs)
    check_positive(sigma=sigma)  # here, where it is no tracer
    return _find(
        tuple(raw),
        heads=tuple(heads),
        strides=tuple(strides),
        image_size=tuple(image_size),
        max_outputs=max_outputs,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        sigma=sigma,
        suppression=suppression,
        class_agnostic=class_agnostic,
    )


@partial(
    jax.jit,
    static_argnames=(
        *("heads", "strides", "image_size", "max_outputs", "suppression", "class_agnostic"),
    ),
)
def _find(
    raw: tuple[Array, ...],
    *,
    heads: tuple[Head, ...],
    strides: tuple[int, ...],
    image_size: tuple[int, int],
    sigma: float | Array,
    suppression: Suppression,
    **options: Any,
) -> Detections:
    decoded = [_decode(*each) for each in zip(raw, heads, strides, strict=True)]
    boxes, scores = (jnp.concatenate(x, axis=1) for x in zip(*decoded, strict=True))
    clip = partial(ops.clip_boxes, height=image_size[0], width=image_size[1])
    power = heads[-1].distance_power  # the last one counts, as in Darknet's `test_detector`
    if suppression != "darknet" or power is None:
        suppression = "hard" if suppression == "darknet" else suppression
        return detection.suppress(
            clip(boxes), scores, suppression=suppression, sigma=sigma, **options
        )
    detections = Detections(*jax.vmap(partial(_select, power=power, **options))(boxes, scores))
    return detections._replace(boxes=clip(detections.boxes))


def _decode(raw: Array, head: Head, stride: int) -> tuple[Array, Array]:
    """The boxes of a head, and their scores by class."""
    anchors = jnp.asarray(head.anchors, raw.dtype)
    if head.new_coords:
        return _decode_new_coords(raw, anchors, stride=stride, scale_xy=head.scale_x_y)
    decoded = ops.yolo_decode(raw, anchors, stride=stride, scale_xy=head.scale_x_y)
    normalize = jax.nn.softmax if head.softmax else jax.nn.sigmoid
    scores = jax.nn.sigmoid(decoded.objectness)[..., None] * normalize(decoded.classes)
    return decoded.boxes, scores


def _decode_new_coords(
    raw: Array, anchors: Array, *, stride: int, scale_xy: float
) -> tuple[Array, Array]:
    """The same of numbers that are in [0, 1] already: `size = (2 t)² · anchor`."""
    slots = split_head(raw, num_anchors=len(anchors))
    batch, rows, columns = slots.shape[:3]
    corner = jnp.stack(jnp.meshgrid(jnp.arange(columns), jnp.arange(rows)), axis=-1)
    inside = scale_xy * slots[..., :2] - (scale_xy - 1) / 2
    center = (corner[None, :, :, None].astype(raw.dtype) + inside) * stride
    half = 2 * slots[..., 2:4] ** 2 * anchors[None, None, None]
    boxes = jnp.concatenate([center - half, center + half], axis=-1)
    scores = slots[..., 4:5] * slots[..., 5:]
    return boxes.reshape(batch, -1, 4), scores.reshape(batch, -1, scores.shape[-1])


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

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        alive, _, count = state
        return jnp.any(alive) & (count < max_outputs)

    def keep_best(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        alive, kept, count = state
        best = jnp.argmax(alive)  # they are sorted
        near = _distance_iou(boxes[best], boxes, power) > iou_threshold
        near &= class_agnostic | (labels == labels[best])
        return (alive & ~near).at[best].set(False), kept.at[count].set(best), count + 1

    start = scores > score_threshold, jnp.zeros(max_outputs, jnp.int32), jnp.zeros((), jnp.int32)
    _, kept, count = jax.lax.while_loop(unfinished, keep_best, start)
    valid = jnp.arange(max_outputs) < count
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


def _distance_iou(
    box: Float[Array, "4"], boxes: Float[Array, "m 4"], power: float
) -> Float[Array, " m"]:
    """The IoU of a box with others, less the power of its centers' distance to theirs."""
    box = box[None]
    low, high = jnp.minimum(box[:, :2], boxes[:, :2]), jnp.maximum(box[:, 2:], boxes[:, 2:])
    shift = (box[:, :2] + box[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2
    distance, diagonal = jnp.sum(shift**2, axis=-1), jnp.sum((high - low) ** 2, axis=-1)
    share = jnp.where(diagonal > 0, distance / jnp.where(diagonal > 0, diagonal, 1), 0)
    return ops.iou(box, boxes) - share**power
