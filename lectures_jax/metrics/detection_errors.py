"""A detector's confusion of classes and background, and the kinds of its errors."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Int32

from lectures_jax import ops
from lectures_jax.metrics._slots import require_slots
from lectures_jax.metrics.detection import match_detections
from lectures_jax.typing import check_count, check_range, checked

ERROR_KINDS = ("class", "location", "class and location", "duplicate", "background", "missed")
"""Names of the kinds of errors, in the order of `DetectionErrors`; the last is of objects."""


class DetectionErrors(NamedTuple):
    """The kind of each wrong detection, and the objects that are missed; False for padding.

    Attributes:
        kind: index into `ERROR_KINDS` of each wrong detection, -1 for all others.
        object: index of the object that a wrong detection overlaps most, -1 for the background.
        missed: objects without a right detection that no wrong class or location explains.
    """

    kind: Int32[Array, "i d"]
    object: Int32[Array, "i d"]
    missed: Bool[Array, "i g"]


@checked
def detection_confusion(
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
    score_threshold: float = 0.0,
    crowd: Bool[Array | np.ndarray, "i g"] | None = None,
) -> Int[Array, "_ _"]:
    """Returns how many objects of each class (row) are detected as each class (column).

    Detections and objects are matched one to one whatever their classes: of all pairs whose IoU
    reaches the threshold the one of the highest IoU first, then the highest of what is left; of
    equal ones the detection of the higher score, then the earlier object. The last column is the
    background's: objects that are missed; so is the last row: detections of nothing, or of an
    object that has another detection. The matrix of several batches is the sum of theirs.

    Args:
        boxes: corners of the detections, in pixels, padded to d per image.
        scores: confidence of each detection; one whose score is NaN is left out.
        labels: class of each detection; those outside of [0, num_classes) are left out.
        valid: which detections are real and not padding.
        true_boxes: corners of the objects, in pixels, padded to g per image.
        true_labels: class of each object; those outside of [0, num_classes) are left out.
        true_valid: which objects are real and not padding.
        num_classes: number of classes.
        iou_threshold: least IoU of a detection with its object.
        score_threshold: only detections of at least this score count.
        crowd: which objects do not count; nor does an unmatched detection that overlaps one of them
            as far as `iou_threshold`. By default none.

    Returns:
        Counts, `[num_classes + 1, num_classes + 1]`; the last one is 0.

    Raises:
        ValueError: if there is no image, no slot for a detection or an object, no class, or
            `iou_threshold` is out of [0, 1].

    Source:
        Kohavi & Provost (1998), "Glossary of terms".
    """
    check_count(num_classes=num_classes)
    check_range(iou_threshold=iou_threshold, low=0, high=1)
    return _confusion(
        *(boxes, scores, labels, valid, true_boxes, true_labels, true_valid, crowd),
        *(iou_threshold, score_threshold),
        num_classes=num_classes,
    )


@checked
def detection_errors(
    boxes: Float[Array | np.ndarray, "i d 4"],
    scores: Float[Array | np.ndarray, "i d"],
    labels: Int[Array | np.ndarray, "i d"],
    valid: Bool[Array | np.ndarray, "i d"],
    true_boxes: Float[Array | np.ndarray, "i g 4"],
    true_labels: Int[Array | np.ndarray, "i g"],
    true_valid: Bool[Array | np.ndarray, "i g"],
    *,
    iou_threshold: float = 0.5,
    background_iou: float = 0.1,
    score_threshold: float = 0.0,
    crowd: Bool[Array | np.ndarray, "i g"] | None = None,
) -> DetectionErrors:
    """Returns why each wrong detection is wrong, by the object that it overlaps most.

    Which detections are wrong is decided by `match_detections`. With u the highest IoU of a wrong
    one with an object of any class, t = `iou_threshold` and b = `background_iou`, it is

    - "class": u ≥ t, and the object is of another class;
    - "location": b ≤ u < t, and the object is of its class;
    - "class and location": b ≤ u < t, and the object is of another class;
    - "duplicate": u ≥ t, the object is of its class, and has a detection of a higher score;
    - "background": u < b.

    "Missed" are the objects without a right detection, but for those which a detection of the
    wrong class or location overlaps most: to correct it would find them. Of objects that overlap
    equally one of the detection's class counts.

    Args:
        boxes: corners of the detections, in pixels, padded to d per image.
        scores: confidence of each detection; one whose score is NaN is left out.
        labels: class of each detection.
        valid: which detections are real and not padding.
        true_boxes: corners of the objects, in pixels, padded to g per image.
        true_labels: class of each object.
        true_valid: which objects are real and not padding.
        iou_threshold: t, least IoU of a detection with its object.
        background_iou: b, least IoU with an object that the detection may have meant.
        score_threshold: only detections of at least this score count.
        crowd: which objects do not count. By default none.

    Returns:
        The kind of each wrong detection and its object, and which objects are missed.

    Raises:
        ValueError: if there is no image, no slot for a detection or an object, or not
            0 ≤ `background_iou` ≤ `iou_threshold` ≤ 1.

    Source:
        Bolya et al. (2020), sec. 2.2. Their program looks for an object of the detection's own
        class first, even if another one overlaps it more.
    """
    check_range(iou_threshold=iou_threshold, low=0, high=1)
    check_range(background_iou=background_iou, low=0, high=iou_threshold)
    require_slots(scores, true_labels)
    arrays = (boxes, scores, labels, valid & (scores >= score_threshold))
    truth = (true_boxes, true_labels, true_valid)
    matches = match_detections(*arrays, *truth, iou_threshold=iou_threshold, crowd=crowd)
    counted = true_valid if crowd is None else true_valid & ~crowd
    wrong = matches.false_positive, matches.missed
    return _errors(*(boxes, labels), *truth[:2], counted, *wrong, iou_threshold, background_iou)


@partial(jax.jit, static_argnames="num_classes")
def _confusion(
    boxes,
    scores,
    labels,
    valid,
    true_boxes,
    true_labels,
    true_valid,
    crowd,
    iou_threshold,
    score_threshold,
    *,
    num_classes,
) -> Array:
    require_slots(scores, true_labels)
    crowd = jnp.zeros(true_valid.shape, bool) if crowd is None else crowd
    valid = valid & (scores >= score_threshold) & (labels >= 0) & (labels < num_classes)
    true_valid = true_valid & (true_labels >= 0) & (true_labels < num_classes)
    order = jnp.argsort(jnp.where(valid, -scores, jnp.inf), axis=1, stable=True)
    boxes = jnp.take_along_axis(boxes, order[..., None], axis=1)
    labels, valid = (jnp.take_along_axis(x, order, axis=1) for x in (labels, valid))
    iou = jax.vmap(ops.pairwise_iou)(boxes, true_boxes)
    near = valid[:, :, None] & true_valid[:, None] & (iou >= iou_threshold)
    matched = jax.vmap(_match_one_to_one)(jnp.where(near & ~crowd[:, None], iou, -1.0))

    on_crowd = jnp.any(near & crowd[:, None], axis=2)
    alone = valid & (matched < 0) & ~on_crowd
    row = jnp.where(alone, num_classes, jnp.take_along_axis(true_labels, matched, axis=1))
    counts = jnp.zeros((num_classes + 1, num_classes + 1), jnp.int32)
    counts = counts.at[row, labels].add(alone | (matched >= 0), mode="drop")
    slots = jnp.arange(true_labels.shape[1])[None, None]
    detected = jnp.any(matched[:, :, None] == slots, axis=1)
    return counts.at[true_labels, num_classes].add(true_valid & ~crowd & ~detected, mode="drop")


def _match_one_to_one(iou: Float[Array, "d g"]) -> Int[Array, " d"]:
    """Returns the object of each detection, -1 for none: the best pair first, then what is left."""
    detections, objects = iou.shape

    def take(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        iou, matched = state
        detection, object_ = jnp.divmod(jnp.argmax(iou), objects)
        free = iou[detection, object_] >= 0
        matched = matched.at[jnp.where(free, detection, detections)].set(object_, mode="drop")
        return iou.at[detection].set(-1.0).at[:, object_].set(-1.0), matched

    start = iou, jnp.full(detections, -1)
    return lax.fori_loop(0, min(detections, objects), take, start)[1]


@jax.jit
def _errors(
    boxes: Array,
    labels: Array,
    true_boxes: Array,
    true_labels: Array,
    counted: Array,
    wrong: Array,
    missed: Array,
    iou_threshold: Array,
    background_iou: Array,
) -> DetectionErrors:
    iou = jnp.where(counted[:, None], jax.vmap(ops.pairwise_iou)(boxes, true_boxes), -1.0)
    same = labels[:, :, None] == true_labels[:, None]
    most = jnp.max(iou, axis=2)
    of_class = jnp.max(jnp.where(same, iou, -1.0), axis=2) == most
    nearest = jnp.argmax((iou == most[..., None]) & (same | ~of_class[..., None]), axis=2)
    kind = jnp.where(most >= iou_threshold, jnp.where(of_class, 3, 0), jnp.where(of_class, 1, 2))
    kind = jnp.where(wrong, jnp.where(most >= background_iou, kind, 4), -1).astype(jnp.int32)
    target = jnp.where((kind >= 0) & (kind < 4), nearest, -1).astype(jnp.int32)
    explains = (kind == 0) | (kind == 1)
    slots = jnp.arange(true_labels.shape[1])[None, None]
    explained = jnp.any((target[:, :, None] == slots) & explains[:, :, None], axis=1)
    return DetectionErrors(kind, target, missed & ~explained)
