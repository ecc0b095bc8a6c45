"""From a detector's raw heads to the objects in each image: decoding and suppression."""

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lectures_jax import ops
from lectures_jax.typing import check_count, check_positive

Suppression = Literal["hard", "soft", "diou"]
"""Which of `ops.nms`, `ops.soft_nms` and `ops.diou_nms` decides between boxes that overlap."""


class Detections(NamedTuple):
    """The objects in each image, by falling score; rows that are not `valid` are padding."""

    boxes: Float[Array, "b k 4"]
    scores: Float[Array, "b k"]
    labels: Int[Array, "b k"]
    valid: Bool[Array, "b k"]


def detect(
    heads: Sequence[Float[Array, "b _ _ _"]],
    anchors: Sequence[Sequence[Sequence[float | int]]],
    strides: Sequence[int],
    *,
    image_size: tuple[int, int],
    scale_xy: Sequence[float | int] | None = None,
    max_outputs: int = 100,
    score_threshold: int | float | Array = 0.01,
    iou_threshold: int | float | Array = 0.5,
    sigma: int | float | Array = 0.5,
    suppression: Suppression = "hard",
    class_agnostic: bool = False,
) -> Detections:
    """Returns the objects that YOLO's raw heads describe; compiled once for a shape.

    A box's score for a class is σ(objectness) · σ(class).

    Args:
        heads: outputs of the network, any number of them, as `ops.yolo_decode` reads each.
        anchors: width and height in pixels of each head's anchors.
        strides: pixels per cell of each head.
        image_size: height and width in pixels of the images, to which boxes are clipped.
        scale_xy: of each head, how far a center may leave its cell, see `ops.yolo_boxes`; by
            default not at all.
        max_outputs: largest number of boxes per image.
        score_threshold: boxes with a lower score are dropped.
        iou_threshold: see `suppress`.
        sigma: see `suppress`.
        suppression: see `suppress`.
        class_agnostic: see `suppress`.

    Raises:
        ValueError: if there are not as many heads as anchors, strides and scales, a head's channels
            do not divide among its anchors, or an option is none of those known.

    Source:
        Redmon & Farhadi (2018), sec. 2.1 to 2.3.
    """
    scale_xy = (1.0,) * len(heads) if scale_xy is None else scale_xy
    counts = {"anchors": len(anchors), "strides": len(strides), "scale_xy": len(scale_xy)}
    for name, count in counts.items():
        if count != len(heads) or not heads:
            raise ValueError(f"{name} must have an entry per head, got {count} for {len(heads)}.")
    _check(suppression, max_outputs=max_outputs, sigma=sigma)
    return _detect(
        tuple(heads),
        # Numbers known while tracing: they belong to the network as its shapes do.
        anchors=tuple(tuple((float(w), float(h)) for w, h in head) for head in anchors),
        strides=tuple(strides),
        scale_xy=tuple(scale_xy),
        image_size=tuple(image_size),
        max_outputs=max_outputs,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        sigma=sigma,
        suppression=suppression,
        class_agnostic=class_agnostic,
    )


def suppress(
    boxes: Float[Array, "b n 4"],
    scores: Float[Array, "b n c"],
    *,
    max_outputs: int = 100,
    score_threshold: int | float | Array = 0.01,
    iou_threshold: int | float | Array = 0.5,
    sigma: int | float | Array = 0.5,
    suppression: Suppression = "hard",
    class_agnostic: bool = False,
) -> Detections:
    """Returns the best boxes of each image, after suppression; compiled once for a shape.

    By default a box may carry several classes, and boxes of different classes never suppress each
    other, as COCO scores it; that leaves two labels on one object in a drawing.

    Only the `max(512, 4 · max_outputs)` pairs of box and class with the highest scores take part.

    Args:
        boxes: corners in pixels.
        scores: of each box for each class, in [0, 1].
        max_outputs: largest number of boxes per image.
        score_threshold: boxes with a lower score are dropped.
        iou_threshold: a box is suppressed if its IoU ("hard"), or its IoU less the distance of the
            centers ("diou"), with a box of higher score is larger.
        sigma: width of the Gaussian by which "soft" lowers the scores of boxes that overlap, in
            place of `iou_threshold`.
        suppression: "hard", "soft" or "diou"; see `ops.nms`, `ops.soft_nms` and `ops.diou_nms`.
        class_agnostic: a box carries its best class only, and suppresses boxes of any class.

    Raises:
        ValueError: if an option is none of those known, `max_outputs` is below 1, or sigma is not
            positive.
    """
    _check(suppression, max_outputs=max_outputs, sigma=sigma)
    return _suppress(
        boxes,
        scores,
        max_outputs=max_outputs,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        sigma=sigma,
        suppression=suppression,
        class_agnostic=class_agnostic,
    )


def _check(suppression: str, *, max_outputs: int, sigma: int | float | Array) -> None:
    if suppression not in (known := get_args(Suppression)):
        raise ValueError(f"suppression must be one of {', '.join(known)}, got {suppression!r}.")
    check_count(max_outputs=max_outputs)
    check_positive(sigma=sigma)


@partial(
    jax.jit,
    static_argnames=(
        *("anchors", "strides", "scale_xy", "image_size"),
        *("max_outputs", "suppression", "class_agnostic"),
    ),
)
def _detect(
    heads: tuple[Array, ...],
    *,
    anchors: tuple[tuple[tuple[float, float], ...], ...],
    strides: tuple[int, ...],
    scale_xy: tuple[float, ...],
    image_size: tuple[int, int],
    **options,
) -> Detections:
    decoded = [
        ops.yolo_decode(raw, jnp.asarray(shapes, raw.dtype), stride=stride, scale_xy=scale)
        for raw, shapes, stride, scale in zip(heads, anchors, strides, scale_xy, strict=True)
    ]
    boxes, objectness, classes = (jnp.concatenate(x, axis=1) for x in zip(*decoded, strict=True))
    height, width = image_size
    boxes = ops.clip_boxes(boxes, height=height, width=width)
    scores = jax.nn.sigmoid(objectness)[..., None] * jax.nn.sigmoid(classes)
    return _suppress(boxes, scores, **options)


@partial(jax.jit, static_argnames=("max_outputs", "suppression", "class_agnostic"))
def _suppress(boxes: Array, scores: Array, **options) -> Detections:
    return Detections(*jax.vmap(partial(_select, **options))(boxes, scores))


def _select(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, "n c"],
    *,
    max_outputs: int,
    score_threshold: Float[Array, ""],
    iou_threshold: Float[Array, ""],
    sigma: Float[Array, ""],
    suppression: Suppression,
    class_agnostic: bool,
) -> tuple[Array, Array, Array, Array]:
    """Suppresses the boxes of one image."""
    if not scores.size:
        count = (max_outputs,)
        nothing = jnp.zeros((*count, 4), boxes.dtype), jnp.zeros(count, scores.dtype)
        return *nothing, jnp.full(count, -1, jnp.int32), jnp.zeros(count, bool)
    if class_agnostic:
        labels = jnp.argmax(scores, axis=1).astype(jnp.int32)
        scores = jnp.max(scores, axis=1)
        owner = jnp.arange(len(boxes))
    else:
        owner, labels = jnp.divmod(jnp.arange(scores.size, dtype=jnp.int32), scores.shape[1])
        scores = scores.ravel()
    # A cut before suppression: the 100 outputs lie among 512 candidates, but for images that are
    # more crowded than COCO's.
    scores, best = jax.lax.top_k(scores, min(len(scores), max(512, 4 * max_outputs)))
    boxes, labels = boxes[owner[best]], labels[best]
    search = {
        "hard": partial(ops.nms, iou_threshold=iou_threshold),
        "soft": partial(ops.soft_nms, sigma=sigma),
        "diou": partial(ops.diou_nms, diou_threshold=iou_threshold),
    }[suppression]
    kept = search(
        boxes,
        scores,
        None if class_agnostic else labels,
        max_outputs=max_outputs,
        score_threshold=score_threshold,
    )
    valid = kept.valid
    return (
        jnp.where(valid[:, None], boxes[kept.indices], 0),
        jnp.where(valid, kept.scores, 0),
        jnp.where(valid, labels[kept.indices], -1),
        valid,
    )
