"""Right and wrong detections by threshold on the score, and F1, which weighs both."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from lectures_jax.metrics.detection import match_detections
from lectures_jax.typing import check_count, checked


class DetectionCounts(NamedTuple):
    """Detections and objects by class; those of several batches are the sums of theirs.

    Attributes:
        true_positive: right detections whose score reaches each threshold.
        false_positive: wrong detections whose score does.
        objects: number of objects.
    """

    true_positive: Int[Array, "c t"]
    false_positive: Int[Array, "c t"]
    objects: Int[Array, " c"]


class F1Curve(NamedTuple):
    """Precision, recall and F1 by threshold on the score; NaN for a class without objects.

    Attributes:
        precision: share of the detections that are right; 1 where there is none.
        recall: share of the objects that are detected.
        f1: harmonic mean of the two, `2 TP / (2 TP + FP + FN)`.
        mean_f1: mean over the classes that have objects.
        best: index of the threshold with the highest `mean_f1`, the lowest of equal ones.
    """

    precision: Float[Array, "c t"]
    recall: Float[Array, "c t"]
    f1: Float[Array, "c t"]
    mean_f1: Float[Array, " t"]
    best: Int[Array, ""]


@checked
def detection_counts(
    boxes: Float[Array | np.ndarray, "i d 4"],
    scores: Float[Array | np.ndarray, "i d"],
    labels: Int[Array | np.ndarray, "i d"],
    valid: Bool[Array | np.ndarray, "i d"],
    true_boxes: Float[Array | np.ndarray, "i g 4"],
    true_labels: Int[Array | np.ndarray, "i g"],
    true_valid: Bool[Array | np.ndarray, "i g"],
    thresholds: Float[Array | np.ndarray, " t"],
    *,
    num_classes: int,
    iou_threshold: float = 0.5,
    crowd: Bool[Array | np.ndarray, "i g"] | None = None,
) -> DetectionCounts:
    """Returns how many detections are right and wrong if only those from a score on count.

    Which detections are right is decided by `match_detections`, and does not depend on the
    threshold: only a detection of a higher score can make another one wrong.

    Args:
        boxes: corners of the detections, in pixels, padded to d per image.
        scores: confidence of each detection; one whose score is NaN is left out.
        labels: class of each detection; those outside of [0, num_classes) are left out.
        valid: which detections are real and not padding.
        true_boxes: corners of the objects, in pixels, padded to g per image.
        true_labels: class of each object.
        true_valid: which objects are real and not padding.
        thresholds: rising; a detection counts if its score is at least the threshold.
        num_classes: number of classes.
        iou_threshold: least IoU of a detection with its object.
        crowd: which objects do not count. By default none.

    Returns:
        Counts by class and threshold.

    Raises:
        ValueError: if there is no image, no slot for a detection or an object, no class, the
            thresholds do not rise, or `iou_threshold` is out of [0, 1].

    Source:
        Everingham et al. (2010), sec. 4.2.
    """
    check_count(num_classes=num_classes)
    if not isinstance(thresholds, Tracer) and not np.all(np.diff(thresholds) > 0):
        raise ValueError(f"thresholds must rise, got {thresholds}.")
    matches = match_detections(
        *(boxes, scores, labels, valid, true_boxes, true_labels, true_valid),
        iou_threshold=iou_threshold,
        crowd=crowd,
    )
    counted = jnp.asarray(true_valid)
    counted = counted if crowd is None else counted & ~jnp.asarray(crowd)
    reached = jnp.searchsorted(jnp.asarray(thresholds), jnp.asarray(scores), side="right")
    true, false = (
        _at_least(jnp.asarray(labels), reached, which, thresholds.size, num_classes=num_classes)
        for which in (matches.true_positive, matches.false_positive)
    )
    of_class = _class_or_none(jnp.asarray(true_labels), counted, num_classes)
    objects = jnp.bincount(of_class.ravel(), length=num_classes + 1)[:-1]
    return DetectionCounts(true, false, objects)


@checked
def f1_curve(
    true_positive: Int[Array, "c t"], false_positive: Int[Array, "c t"], objects: Int[Array, " c"]
) -> F1Curve:
    """Returns precision, recall and F1 by threshold on the score, and where F1 is best.

    Args:
        true_positive: number of right detections from each threshold on (see `detection_counts`).
        false_positive: number of wrong ones.
        objects: number of objects of each class.

    Returns:
        Curves by class, their mean, and the index of the best threshold.

    Source:
        van Rijsbergen (1979), "Information retrieval", ch. 7.
    """
    known, total = (objects > 0)[:, None], objects[:, None]
    detections = true_positive + false_positive

    def share(part: Array, whole: Array) -> Array:
        return jnp.where(known, part / jnp.maximum(whole, 1), jnp.nan)

    precision = jnp.where(known & (detections == 0), 1.0, share(true_positive, detections))
    f1 = share(2 * true_positive, detections + total)
    mean = jnp.sum(jnp.where(known, f1, 0), axis=0) / jnp.maximum(jnp.sum(objects > 0), 1)
    return F1Curve(precision, share(true_positive, total), f1, mean, jnp.argmax(mean))


@partial(jax.jit, static_argnames=("num_thresholds", "num_classes"), static_argnums=3)
def _at_least(
    labels: Array, reached: Array, which: Array, num_thresholds: int, *, num_classes: int
) -> Int[Array, "c t"]:
    """Counts the detections by class and by each threshold that they reach, of `reached` many."""
    width = num_thresholds + 1
    cell = _class_or_none(labels, which, num_classes) * width + reached
    counts = jnp.bincount(cell.ravel(), length=(num_classes + 1) * width)
    counts = counts.reshape(num_classes + 1, width)[:-1]
    return jnp.cumsum(counts[:, ::-1], axis=1)[:, ::-1][:, 1:]


def _class_or_none(labels: Array, which: Array, num_classes: int) -> Array:
    """Returns the labels, with `num_classes` for what does not count."""
    return jnp.where(which & (labels >= 0) & (labels < num_classes), labels, num_classes)
