"""Right, wrong and missed detections at one IoU threshold, and PASCAL VOC's average precision."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Int32

from lectures_jax import ops
from lectures_jax.metrics._slots import require_slots
from lectures_jax.typing import check_count, check_range, checked


class Matches(NamedTuple):
    """Which detections are right and which objects are missed; False for padding.

    Attributes:
        object: index of the object that the detection is matched with, -1 if none.
        true_positive: detections that are the first of their object.
        false_positive: detections of no object, or of one with an earlier detection. A detection of
            a crowd is neither true nor false.
        missed: objects without a detection.
    """

    object: Int32[Array, "i d"]
    true_positive: Bool[Array, "i d"]
    false_positive: Bool[Array, "i d"]
    missed: Bool[Array, "i g"]


class PrecisionRecall(NamedTuple):
    """Curves of each class over all detections, of whatever class, by falling score.

    Attributes:
        scores: threshold on the score at which this point of the curves is reached.
        precision: share of the detections that are right; 1 before the first one.
        recall: share of the objects that are detected; 0 for a class without objects.
    """

    scores: Float[Array, " n"]
    precision: Float[Array, "c n"]
    recall: Float[Array, "c n"]


@checked
def match_detections(
    boxes: Float[Array | np.ndarray, "i d 4"],
    scores: Float[Array | np.ndarray, "i d"],
    labels: Int[Array | np.ndarray, "i d"],
    valid: Bool[Array | np.ndarray, "i d"],
    true_boxes: Float[Array | np.ndarray, "i g 4"],
    true_labels: Int[Array | np.ndarray, "i g"],
    true_valid: Bool[Array | np.ndarray, "i g"],
    *,
    iou_threshold: float = 0.5,
    crowd: Bool[Array | np.ndarray, "i g"] | None = None,
) -> Matches:
    """Returns which detections are right and which objects are missed, by the rule of PASCAL VOC.

    A detection is matched with the object of its class that has the highest IoU, whether or not
    other detections are, too. It is right if that IoU reaches the threshold and no detection of a
    higher score is matched with the same object.

    Args:
        boxes: corners of the detections, in pixels, padded to d per image.
        scores: confidence of each detection, in any range; one whose score is NaN is left out.
        labels: class of each detection.
        valid: which detections are real and not padding.
        true_boxes: corners of the objects, in pixels, padded to g per image.
        true_labels: class of each object.
        true_valid: which objects are real and not padding.
        iou_threshold: least IoU of a detection with its object.
        crowd: which objects do not count, VOC's difficult ones. By default none.

    Returns:
        Four arrays over the detections and objects, in the order of the arguments.

    Raises:
        ValueError: if there is no image, no slot for a detection or an object, or `iou_threshold`
            is out of [0, 1].

    Source:
        Everingham et al. (2010), sec. 4.2.
    """
    check_range(iou_threshold=iou_threshold, low=0, high=1)
    arrays = (boxes, scores, labels, valid, true_boxes, true_labels, true_valid, crowd)
    return _match(*arrays, iou_threshold)


@checked
def precision_recall(
    boxes: Float[Array | np.ndarray, "i d 4"],
    scores: Float[Array | np.ndarray, "i d"],
    labels: Int[Array | np.ndarray, "i d"],
    valid: Bool[Array | np.ndarray, "i d"],
    true_boxes: Float[Array | np.ndarray, "i g 4"],
    true_labels: Int[Array | np.ndarray, "i g"],
    true_valid: Bool[Array | np.ndarray, "i g"],
    *,
    num_classes: int,
    iou_threshold: float = 0.5,
    crowd: Bool[Array | np.ndarray, "i g"] | None = None,
) -> PrecisionRecall:
    """Returns precision and recall of each class as the threshold on the score falls.

    Args:
        boxes: corners of the detections, in pixels, padded to d per image.
        scores: confidence of each detection, in any range; two equal ones make two points, and
            one that is NaN none.
        labels: class of each detection.
        valid: which detections are real; padding repeats the curves' last point.
        true_boxes: corners of the objects, in pixels, padded to g per image.
        true_labels: class of each object.
        true_valid: which objects are real and not padding.
        num_classes: number of classes.
        iou_threshold: least IoU of a detection with its object.
        crowd: which objects do not count. By default none.

    Returns:
        One curve per class, with a point for each of the n = i·d detections.

    Raises:
        ValueError: if there is no image, no slot for a detection or an object, no class, or
            `iou_threshold` is out of [0, 1].

    Source:
        Everingham et al. (2010), sec. 4.2.
    """
    check_count(num_classes=num_classes)
    check_range(iou_threshold=iou_threshold, low=0, high=1)
    arrays = (boxes, scores, labels, valid, true_boxes, true_labels, true_valid, crowd)
    sorted_scores, true, false, num_objects = _count(
        *arrays, iou_threshold, num_classes=num_classes
    )
    detections = true + false
    precision = jnp.where(detections > 0, true / jnp.maximum(detections, 1), 1.0)
    recall = true / jnp.where(true > 0, num_objects[:, None], 1)
    return PrecisionRecall(sorted_scores, precision, recall)


@checked
def voc_ap(
    boxes: Float[Array | np.ndarray, "i d 4"],
    scores: Float[Array | np.ndarray, "i d"],
    labels: Int[Array | np.ndarray, "i d"],
    valid: Bool[Array | np.ndarray, "i d"],
    true_boxes: Float[Array | np.ndarray, "i g 4"],
    true_labels: Int[Array | np.ndarray, "i g"],
    true_valid: Bool[Array | np.ndarray, "i g"],
    *,
    num_classes: int,
    iou_threshold: float = 0.5,
    eleven_point: bool = False,
    crowd: Bool[Array | np.ndarray, "i g"] | None = None,
) -> Float[Array, " {num_classes}"]:
    """Returns the average precision of each class as PASCAL VOC defines it.

    `Σ_k (r_k − r_{k−1}) max_{j ≥ k} p_j`, or, until 2009, the mean over r of 0, 0.1, …, 1 of the
    highest precision at recall r or beyond.

    VOC's files count pixels from 1 and include the last one: a box of a file is
    (x1 − 1, y1 − 1, x2, y2) here.

    Args:
        boxes: corners of the detections, in pixels, padded to d per image.
        scores: confidence of each detection, in any range; one whose score is NaN is left out.
        labels: class of each detection.
        valid: which detections are real and not padding.
        true_boxes: corners of the objects, in pixels, padded to g per image.
        true_labels: class of each object.
        true_valid: which objects are real and not padding.
        num_classes: number of classes.
        iou_threshold: least IoU of a detection with its object.
        eleven_point: whether to take the form that was in use until 2009.
        crowd: which objects do not count, VOC's difficult ones. By default none.

    Returns:
        Values in [0, 1], and -1 for a class without objects.

    Raises:
        ValueError: if there is no image, no slot for a detection or an object, no class, or
            `iou_threshold` is out of [0, 1].

    Source:
        Everingham et al. (2010), sec. 4.2; Everingham & Winn (2012), sec. 3.4.1.
    """
    check_count(num_classes=num_classes)
    check_range(iou_threshold=iou_threshold, low=0, high=1)
    arrays = (boxes, scores, labels, valid, true_boxes, true_labels, true_valid, crowd)
    _, true, false, num_objects = _count(*arrays, iou_threshold, num_classes=num_classes)
    if eleven_point:
        return _eleven_point(true, false, num_objects)
    return _all_points(true, false, num_objects)


@jax.jit
def _match(
    boxes, scores, labels, valid, true_boxes, true_labels, true_valid, crowd, threshold
) -> Matches:
    require_slots(scores, true_labels)
    valid = valid & ~jnp.isnan(scores)
    crowd = jnp.zeros(true_valid.shape, bool) if crowd is None else crowd
    same = (labels[:, :, None] == true_labels[:, None]) & valid[:, :, None] & true_valid[:, None]
    iou = jnp.where(same, jax.vmap(ops.pairwise_iou)(boxes, true_boxes), -1.0)
    best = jnp.argmax(iou, axis=2).astype(jnp.int32)
    near = jnp.max(iou, axis=2) >= threshold
    target = jnp.where(near, best, -1)

    index = jnp.arange(scores.shape[1])
    tie = (scores[:, None] == scores[:, :, None]) & (index[None] < index[:, None])[None]
    earlier = (scores[:, None] > scores[:, :, None]) | tie
    first = ~jnp.any(earlier & (target[:, None] == target[:, :, None]), axis=2)
    ignored = near & jnp.take_along_axis(crowd, best, axis=1)
    right = near & first & ~ignored
    detected = jax.nn.one_hot(target, true_labels.shape[1], dtype=bool).any(axis=1)
    return Matches(target, right, valid & ~right & ~ignored, true_valid & ~crowd & ~detected)


@partial(jax.jit, static_argnames="num_classes")
def _count(
    boxes,
    scores,
    labels,
    valid,
    true_boxes,
    true_labels,
    true_valid,
    crowd,
    threshold,
    *,
    num_classes,
) -> tuple[Array, Array, Array, Array]:
    """Returns scores `[n]`, right and wrong detections so far `[c, n]`, and objects `[c]`."""
    arrays = (boxes, scores, labels, valid, true_boxes, true_labels, true_valid)
    matches = _match(*arrays, crowd, threshold)
    sortable = valid & ~jnp.isnan(scores)
    order = jnp.argsort(jnp.where(sortable, -scores, jnp.inf).ravel(), stable=True)

    classes = jnp.arange(num_classes)[:, None]
    of_class = labels.ravel()[order][None] == classes
    true = jnp.cumsum(of_class & matches.true_positive.ravel()[order][None], axis=1)
    false = jnp.cumsum(of_class & matches.false_positive.ravel()[order][None], axis=1)
    counted = true_valid if crowd is None else true_valid & ~crowd
    num_objects = jnp.sum((true_labels.ravel()[None] == classes) & counted.ravel()[None], axis=1)
    return scores.ravel()[order], true, false, num_objects


@jax.jit
def _all_points(true: Array, false: Array, num_objects: Array) -> Array:
    gained = jnp.diff(true, axis=1, prepend=0)
    highest = lax.cummax(true / jnp.maximum(true + false, 1), axis=1, reverse=True)
    average = jnp.sum(gained * highest, axis=1) / jnp.maximum(num_objects, 1)
    return jnp.where(num_objects > 0, average, -1.0)


@jax.jit
def _eleven_point(true: Array, false: Array, num_objects: Array) -> Array:
    precision = true / jnp.maximum(true + false, 1)
    # In integers, as the quotient 3 / 10 need not equal the number 0.3.
    required = jnp.arange(11)[:, None] * num_objects[None]
    reached = 10 * true[None] >= required[:, :, None]
    average = jnp.max(jnp.where(reached, precision[None], 0), axis=2, initial=0).mean(axis=0)
    return jnp.where(num_objects > 0, average, -1.0)
