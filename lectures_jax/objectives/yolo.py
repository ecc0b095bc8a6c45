"""Where YOLO's network meets its loss."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax import losses, ops
from lectures_jax.ops._precision import upcast
from lectures_jax.ops.yolo import YoloTarget
from lectures_jax.typing import Batch, Key, Metrics, check_range


def yolo(
    model,
    batch: Batch,
    key: Key,
    *,
    anchor_iou: float | None = None,
    ignore_threshold: float = 0.7,
    box_weight: float = 1.0,
    overlap_weight: float = 0.0,
) -> tuple[Float[Array, ""], Metrics]:
    """Returns YOLOv3's loss, averaged over the images, and its parts.

    Args:
        model: a `Yolo`: its raw heads, `anchors`, `strides` and `num_classes` are used.
        batch: `image` in [0, 1], `boxes` in xyxy pixels, `labels`, `valid`; objects marked `crowd`
            (groups, or difficult ones) are left out.
        key: for layers that draw random numbers.
        anchor_iou: None assigns an object to its best anchor, as the course defines it; with a
            number also to every anchor whose shape IoU is higher.
        ignore_threshold: IoU with an object above which the objectness of an empty slot costs
            nothing.
        box_weight: weight of YOLOv3's box term; its two others have the weight 1.
        overlap_weight: weight of `losses.yolo_overlap`, which YOLOv3 does not have.

    Returns:
        The loss, and `loss`, its terms `box`, `overlap`, `objectness`, `classes` before their
        weights, and `collided`, the objects per image whose slot went to an earlier one.

    Raises:
        ValueError: if a threshold is out of [0, 1], or a weight negative.

    Source:
        Redmon & Farhadi (2018), sec. 2.
    """
    check_range(anchor_iou=anchor_iou, ignore_threshold=ignore_threshold, low=0, high=1)
    check_range(box_weight=box_weight, overlap_weight=overlap_weight, low=0)
    targets = _encode(model, batch, anchor_iou)
    heads = map(upcast, model(batch["image"], key=key))
    scales = [
        (raw, target, jnp.asarray(anchors, raw.dtype), stride)
        for raw, target, anchors, stride in zip(
            heads, targets, model.anchors, model.strides, strict=True
        )
    ]
    parts = [
        losses.yolo_v3_terms(raw, target, anchors, stride=stride, ignore_threshold=ignore_threshold)
        for raw, target, anchors, stride in scales
    ]
    box, objectness, classes = (jnp.mean(sum(term)) for term in zip(*parts, strict=True))
    overlap = jnp.mean(
        sum(
            losses.yolo_overlap(raw, target, anchors, stride=stride)
            for raw, target, anchors, stride in scales
        )
    )
    loss = objectness + classes
    for weight, term in ((box_weight, box), (overlap_weight, overlap)):
        if weight:  # 0 · inf is NaN: a term that does not count must not reach the gradient
            loss = loss + weight * term
    collided = sum(jnp.mean(target.collided, dtype=jnp.float32) for target in targets)
    metrics = {
        "loss": loss,
        "box": box,
        "overlap": overlap,
        "objectness": objectness,
        "classes": classes,
        "collided": collided,
    }
    return loss, metrics


def _encode(model, batch: Batch, anchor_iou: float | None) -> tuple[YoloTarget, ...]:
    """Writes every image's objects into the slots of all heads."""
    valid = batch["valid"] & ~batch["crowd"] if "crowd" in batch else batch["valid"]
    encode = partial(
        ops.yolo_encode,
        anchors=jnp.asarray(model.anchors, jnp.float32),
        image_size=batch["image"].shape[1:3],
        strides=model.strides,
        num_classes=model.num_classes,
        anchor_iou=anchor_iou,
    )
    return jax.vmap(encode)(batch["boxes"], batch["labels"], valid)
