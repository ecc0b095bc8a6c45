"""Right, wrong and missed detections at one IoU threshold, and what PASCAL VOC makes of them."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Int32

from lectures_jax import ops


class Matches(NamedTuple):
    """What became of each detection and of each object; padding is False everywhere.

    Attributes:
        object: index of the object that the detection points at, -1 if none.
        true_positive: the first detection of its object.
        false_positive: points at no object, or at one that has been detected already. What points
            at a crowd is neither true nor false.
        missed: objects that no detection found.
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
        recall: share of the objects that are found; 0 for a class without objects.
    """

    scores: Float[Array, " n"]
    precision: Float[Array, "c n"]
    recall: Float[Array, "c n"]


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

    A detection points at the object of its class with the highest IoU, found already or not. It is
    right if that IoU reaches the threshold and no detection with a higher score points there.

    Args:
        boxes: detections, corners in pixels, padded to d per image.
        scores: confidence, in any range.
        labels: class of each detection.
        valid: False for padding.
        true_boxes: objects, corners in pixels, padded to g per image.
        true_labels: class of each object.
        true_valid: False for padding.
        iou_threshold: least IoU of a detection with its object.
        crowd: objects that need not be found, VOC's difficult ones. By default none.

    Raises:
        ValueError: if there is no image, or no slot for a detection or an object.

    Source:
        Everingham et al. (2010), sec. 4.2.
    """
    arrays = (boxes, scores, labels, valid, true_boxes, true_labels, true_valid, crowd)
    return _match(*arrays, iou_threshold)


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
        boxes: these arrays are those of `match_detections`.
        scores: confidence, in any range; two equal ones make two points.
        labels: class of each detection.
        valid: False for padding, which repeats the curves' last point.
        true_boxes: objects.
        true_labels: class of each object.
        true_valid: False for padding.
        num_classes: number of classes.
        iou_threshold: least IoU of a detection with its object.
        crowd: objects that need not be found. By default none.

    Source:
        Everingham et al. (2010), sec. 4.2.
    """
    arrays = (boxes, scores, labels, valid, true_boxes, true_labels, true_valid, crowd)
    sorted_scores, true, false, num_objects = _count(
        *arrays, iou_threshold, num_classes=num_classes
    )
    detections = true + false
    precision = jnp.where(detections > 0, true / jnp.maximum(detections, 1), 1.0)
    recall = true / jnp.where(true > 0, num_objects[:, None], 1)
    return PrecisionRecall(sorted_scores, precision, recall)


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

    VOC's files count pixels from 1 and include the last: such a box is (x1 − 1, y1 − 1, x2, y2).

    Args:
        boxes: these arrays are those of `match_detections`.
        scores: confidence, in any range.
        labels: class of each detection.
        valid: False for padding.
        true_boxes: objects.
        true_labels: class of each object.
        true_valid: False for padding.
        num_classes: number of classes.
        iou_threshold: least IoU of a detection with its object.
        eleven_point: the form until 2009.
        crowd: objects that need not be found, VOC's difficult ones. By default none.

    Returns:
        Values in [0, 1], and -1 for a class without objects.

    Source:
        Everingham et al. (2010), sec. 4.2; Everingham & Winn (2012), sec. 3.4.1.
    """
    arrays = (boxes, scores, labels, valid, true_boxes, true_labels, true_valid, crowd)
    _, true, false, num_objects = _count(*arrays, iou_threshold, num_classes=num_classes)
    if eleven_point:
        return _eleven_point(true, false, num_objects)
    return _all_points(true, false, num_objects)


@jax.jit
def _match(
    boxes, scores, labels, valid, true_boxes, true_labels, true_valid, crowd, threshold
) -> Matches:
    if 0 in (*scores.shape, *true_labels.shape):
        raise ValueError(
            "expected at least one image and one slot per image, if only an invalid one, got "
            f"scores of shape {scores.shape} and true_labels of shape {true_labels.shape}."
        )
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
    found = jax.nn.one_hot(target, true_labels.shape[1], dtype=bool).any(axis=1)
    return Matches(target, right, valid & ~right & ~ignored, true_valid & ~crowd & ~found)


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
    order = jnp.argsort(jnp.where(valid, -scores, jnp.inf).ravel(), stable=True)

    classes = jnp.arange(num_classes)[:, None]
    of_class = labels.ravel()[order][None] == classes
    true = jnp.cumsum(of_class & matches.true_positive.ravel()[order][None], axis=1)
    false = jnp.cumsum(of_class & matches.false_positive.ravel()[order][None], axis=1)
    counted = true_valid if crowd is None else true_valid & ~crowd
    num_objects = jnp.sum((true_labels.ravel()[None] == classes) & counted.ravel()[None], axis=1)
    return scores.ravel()[order], true, false, num_objects


@jax.jit
def _all_points(true: Array, false: Array, num_objects: Array) -> Array:
    found = jnp.diff(true, axis=1, prepend=0)
    highest = lax.cummax(true / jnp.maximum(true + false, 1), axis=1, reverse=True)
    average = jnp.sum(found * highest, axis=1) / jnp.maximum(num_objects, 1)
    return jnp.where(num_objects > 0, average, -1.0)


@jax.jit
def _eleven_point(true: Array, false: Array, num_objects: Array) -> Array:
    precision = true / jnp.maximum(true + false, 1)
    # In integers, as the quotient 3 / 10 need not equal the number 0.3.
    wanted = jnp.arange(11)[:, None] * num_objects[None]
    reached = 10 * true[None] >= wanted[:, :, None]
    average = jnp.max(jnp.where(reached, precision[None], 0), axis=2, initial=0).mean(axis=0)
    return jnp.where(num_objects > 0, average, -1.0)
