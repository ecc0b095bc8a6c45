"""Detections matched with objects by COCO's rules, in one image and for every IoU threshold."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

# Exactly as COCO computes them: the ninth is 0.8999…, not 0.9.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
SIZE_LIMITS = (32.0**2, 96.0**2)
NUM_AREAS = 4


class CocoBoxes(NamedTuple):
    """Boxes of one image or of many, in COCO's form, in float64."""

    xywh: Array
    area: Array
    labels: Array
    valid: Array


def as_boxes(boxes: Array, labels: Array, valid: Array) -> CocoBoxes:
    """Returns boxes given by their corners in COCO's form."""
    boxes = boxes.astype(jnp.float64)
    low, size = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
    # A select between a product and a sum keeps the compiler from fusing them into one rounding.
    area = jnp.where(valid, size[..., 0] * size[..., 1], 0.0)
    return CocoBoxes(jnp.concatenate([low, size], axis=-1), area, labels, valid)


def areas(small: float, medium: float) -> np.ndarray:
    """Returns the ranges of all, small, medium and large areas, `[a, 2]`."""
    return np.array([[0, 1e5**2], [0, small], [small, medium], [medium, 1e5**2]])


def outside(area: Array, ranges: Array) -> Array:
    """Returns for each range of sizes whether an area is not in it; its two borders are."""
    return jnp.stack([(area < low) | (area > high) for low, high in ranges], axis=-1)


def rank(detections: CocoBoxes) -> Array:
    """Returns how many detections of its class come before each one."""
    earlier = jnp.tri(detections.labels.size, k=-1, dtype=bool)
    return jnp.sum(_same_class(detections, detections) & earlier, axis=1)


def outcome(
    detections: CocoBoxes, objects: CocoBoxes, ignored: Array, crowd: Array, *, ranges: Array
) -> Array:
    """Returns for each detection 1 if it is right, -1 if it is wrong, 0 if it does not count.

    Args:
        detections: detections of one image, by falling score.
        objects: objects of the same image.
        ignored: `[g, a]`, which objects do not count: crowds, and those of another size.
        crowd: `[g]`, which objects are crowds.
        ranges: `[a, 2]`, of sizes.

    Returns:
        `[d, t * a]`: the last axis runs over all thresholds and sizes, the "lanes", which fills the
        vector unit.
    """
    iou = _iou(detections, objects, crowd)
    num_thresholds, num_areas = len(IOU_THRESHOLDS), NUM_AREAS
    threshold = jnp.repeat(IOU_THRESHOLDS, num_areas)
    matched, on_ignored = _match(iou, jnp.tile(ignored, (1, num_thresholds)), crowd, threshold)
    wrong_size = jnp.tile(outside(detections.area, ranges), (1, num_thresholds))
    counts = detections.valid[:, None] & ~jnp.where(matched, on_ignored, wrong_size)
    return jnp.where(counts, jnp.where(matched, 1, -1), 0).astype(jnp.int8)


def _same_class(a: CocoBoxes, b: CocoBoxes) -> Array:
    return (a.labels[:, None] == b.labels[None]) & a.valid[:, None] & b.valid[None]


def _iou(detections: CocoBoxes, objects: CocoBoxes, crowd: Array) -> Array:
    """Returns `[d, g]` in COCO's order of operations, for the same bits; -1 across classes."""
    a, b = detections.xywh[:, None], objects.xywh[None]
    far = jnp.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    sides = far - jnp.maximum(a[..., :2], b[..., :2])
    overlap = jnp.all(sides > 0, axis=-1)
    # Selects as in `as_boxes`, and for the same reason never two on one condition.
    intersection = jnp.where(overlap, sides[..., 0] * sides[..., 1], 0.0)
    area = detections.area[:, None]
    union = jnp.where(crowd[None], area, area + objects.area[None] - intersection)
    iou = intersection / jnp.where(union > 0, union, 1.0)
    return jnp.where(_same_class(detections, objects), iou, -1.0)


def _match(iou: Array, ignored: Array, crowd: Array, threshold: Array) -> tuple[Array, Array]:
    """Returns, by detection and lane, whether it matches an object, and whether that is ignored.

    Args:
        iou: `[d, g]`, -1 where detection and object cannot match.
        ignored: `[g, lane]`.
        crowd: `[g]`, objects that any number of detections may match.
        threshold: `[lane]`.
    """
    index = jnp.arange(crowd.size, dtype=jnp.int32)[:, None]

    def step(free: Array, iou: Array) -> tuple[Array, tuple[Array, Array]]:
        iou = iou[:, None]
        candidate = (iou >= threshold[None]) & (free | crowd[:, None])
        # An object that counts is preferred. IoU - 1 is exact from 1/2 to 2, so it keeps the order.
        value = jnp.where(candidate, jnp.where(ignored, iou - 1, iou), -1.0)
        best = jnp.max(value, axis=0)
        # Of equal objects the last.
        taken = jnp.max(jnp.where(candidate & (value == best[None]), index, -1), axis=0)
        return free & (index != taken[None]), (taken >= 0, best < IOU_THRESHOLDS[0])

    return lax.scan(step, jnp.ones(ignored.shape, bool), iou)[1]
