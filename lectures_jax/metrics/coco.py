"""COCO's average precision and average recall of boxes.

The arrays from the boxes to the twelve numbers, with their axes:

    detections [i, d], objects [i, g]
        |
        |  matching.outcome: image after image
        v
    outcome [i, d, t·a]     1 right, -1 wrong, 0 does not count
        |
        |  _sort: by class, then by falling score
        v
    outcome [t·a, n]        n: |--- class 0 ---|-- class 1 --|---- class 2 ----| ...
        |
        |  _curve: running sums within each class, a curve for each lane and each m
        v
    precision [t·a, m, c, r], recall [t·a, m, c]
        |
        |  _accumulate: the axes in COCO's order
        v
    precision [t, r, c, a, m], recall [t, c, a, m]
        |
        |  _summarize: means
        v
    stats [12]

    i   images                            t   10 IoU thresholds
    d   detections of an image            a   4 ranges of areas
    g   objects of an image               m   3 limits of detections per image and class
    n   all detections, i·d               r   101 recalls
    c   classes                           t·a one axis of 40 "lanes"
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Float64, Int

from lectures_jax.metrics import _coco_matching as matching
from lectures_jax.metrics._coco_matching import IOU_THRESHOLDS, NUM_AREAS, SIZE_LIMITS
from lectures_jax.typing import check_count, check_range, checked

RECALLS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = np.array([1, 10, 100])
STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")

# Images matched at once: enough to fill the vector unit, few enough to stay in the cache.
IMAGES_AT_ONCE = 256


class CocoResult(NamedTuple):
    """Precision and recall by IoU, class, size of the objects and detections per image.

    The axes are 10 IoU thresholds from 0.5 to 0.95; 101 recalls from 0 to 1; the class; all, small
    (area up to 32²), medium (up to 96²) and large objects, unless other limits are given; the first
    1, 10 and 100 detections of each image and class. A class without objects of that size has -1.

    Attributes:
        precision: the highest precision at this recall or a higher one.
        recall: share of the objects that a detection matches.
        stats: COCO's twelve numbers, means over all values but -1, in the order of `named`.
    """

    precision: Float64[Array, "10 101 c 4 3"]
    recall: Float64[Array, "10 c 4 3"]
    stats: Float64[Array, "12"]

    def named(self) -> dict[str, float]:
        """Returns `stats` by name: AP, AP50, AP75; s, m, l for sizes; AR1 for one detection."""
        return dict(zip(STATS, np.asarray(self.stats).tolist(), strict=True))


@checked
def coco_map(
    boxes: Float[Array | np.ndarray, "i d 4"],
    scores: Float[Array | np.ndarray, "i d"],
    labels: Int[Array | np.ndarray, "i d"],
    valid: Bool[Array | np.ndarray, "i d"],
    true_boxes: Float[Array | np.ndarray, "i g 4"],
    true_labels: Int[Array | np.ndarray, "i g"],
    true_valid: Bool[Array | np.ndarray, "i g"],
    *,
    num_classes: int,
    crowd: Bool[Array | np.ndarray, "i g"] | None = None,
    area: Float[Array | np.ndarray, "i g"] | None = None,
    size_limits: tuple[float, float] = SIZE_LIMITS,
) -> CocoResult:
    """Returns COCO's average precision and average recall of the detections in all images.

    By falling score, each detection is matched with the object of its class that has the highest
    IoU among those not matched yet; of equal ones with the last, and with one that counts before
    one that does not. A detection matched with an object that does not count does not count either,
    nor does an unmatched detection of another size.

    `precision` and `recall` are bit for bit those of pycocotools on a CPU (`stats` up to the
    order of summation), and float64 even where `jax_enable_x64` is off. COCO has `(x, y, w, h)`;
    `w = x2 − x1` is exact for float32 boxes. For float64 boxes made by `x2 = x + w` it may differ
    from that w in the last bit, which matters only where an IoU hits a threshold exactly.

    Join batches by `jax.tree.map(lambda *x: np.concatenate(x), *batches)`. Under the caller's `jit`
    it works too; read the results with NumPy, as JAX itself would round them to float32.

    Args:
        boxes: corners of the detections, in pixels, padded to d per image; float64 ones as NumPy
            arrays.
        scores: confidence of each detection, in any range; one whose score is NaN is left out.
        labels: class of each detection; those outside of [0, num_classes) are left out.
        valid: which detections are real and not padding.
        true_boxes: corners of the objects, in pixels, padded to g per image.
        true_labels: class of each object.
        true_valid: which objects are real and not padding.
        num_classes: number of classes.
        crowd: which objects are crowds: they do not count, any number of detections may match them,
            and their IoU is the covered share of the detection. By default none is.
        area: area of each object in square pixels, such as that of its mask; by default its box's.
        size_limits: largest area of small and of medium objects, in square pixels; by default
            COCO's, 32² and 96².

    Returns:
        Precision and recall for every setting, and COCO's twelve numbers.

    Raises:
        ValueError: if there is no image, or no slot for a detection or an object, or no class, or
            the limits do not rise.

    Source:
        Lin et al. (2014), and `cocoeval.py` of the COCO API (2015).
    """
    check_count(num_classes=num_classes)
    small, medium = size_limits
    check_range(size_limits=small, low=0, high=medium)
    if 0 in (*scores.shape, *true_labels.shape):
        raise ValueError(
            "coco_map expected at least one image and one slot per image, if only an invalid one, "
            f"got scores of shape {scores.shape} and true_labels of shape {true_labels.shape}."
        )
    # Outside of this context JAX would round float64 arrays to float32.
    with jax.enable_x64(True):
        return _evaluate(
            *(boxes, scores, labels, valid, true_boxes, true_labels, true_valid, crowd, area),
            matching.areas(small, medium),
            num_classes=num_classes,
        )


class _Order(NamedTuple):
    """Detections sorted by class, then by falling score, as all curves need them."""

    kept: Array  # [m, n], within the number of detections per image and class
    labels: Array  # [n]
    starts: Array  # [c + 1], where each class begins and the last one ends


@partial(jax.jit, static_argnames="num_classes")
def _evaluate(
    boxes,
    scores,
    labels,
    valid,
    true_boxes,
    true_labels,
    true_valid,
    crowd,
    area,
    ranges,
    *,
    num_classes,
) -> CocoResult:
    scores = scores.astype(jnp.float64)
    valid = valid & ~jnp.isnan(scores)
    order = jnp.argsort(jnp.where(valid, -scores, jnp.inf), axis=1, stable=True)
    detections = matching.as_boxes(boxes, labels, valid)
    detections, scores = jax.tree.map(lambda x: _take(x, order), (detections, scores))
    objects = matching.as_boxes(true_boxes, true_labels, true_valid)
    crowd = jnp.zeros(true_valid.shape, bool) if crowd is None else crowd
    area = objects.area if area is None else area
    ignored = crowd[..., None] | matching.outside(area, ranges)

    outcome, rank = lax.map(
        lambda image: (matching.outcome(*image, ranges=ranges), matching.rank(image[0])),
        (detections, objects, ignored, crowd),
        batch_size=IMAGES_AT_ONCE,
    )
    num_objects = jnp.zeros((num_classes + 1, NUM_AREAS))
    num_objects = num_objects.at[_known(objects, num_classes)].add(~ignored)[:num_classes]
    labels = _known(detections, num_classes)
    precision, recall = _accumulate(*_sort(outcome, rank, labels, scores, num_objects), num_objects)
    return CocoResult(precision, recall, _summarize(precision, recall))


def _take(x: Array, order: Array) -> Array:
    return jnp.take_along_axis(x, order if x.ndim == 2 else order[..., None], axis=1)


def _known(boxes: matching.CocoBoxes, num_classes: int) -> Array:
    """Returns the labels, with `num_classes` for padding and for labels out of range."""
    known = boxes.valid & (boxes.labels >= 0) & (boxes.labels < num_classes)
    return jnp.where(known, boxes.labels, num_classes)


def _sort(
    outcome: Array, rank: Array, labels: Array, scores: Array, num_objects: Array
) -> tuple[Array, _Order]:
    """Returns the outcomes `[t * a, n]` of all images in the order of the curves."""
    # The sort is stable and the images follow each other, so ties stay in COCO's order.
    order = jnp.lexsort((-scores.ravel(), labels.ravel()))
    labels = labels.ravel()[order]
    kept = rank.ravel()[order][None] < MAX_DETECTIONS[:, None]
    starts = jnp.searchsorted(labels, jnp.arange(len(num_objects) + 1))
    return outcome.reshape(-1, outcome.shape[-1])[order].T, _Order(kept, labels, starts)


def _accumulate(outcome: Array, order: _Order, num_objects: Array) -> tuple[Array, Array]:
    """Returns precision `[t, r, c, a, m]` and recall `[t, c, a, m]`."""
    split = (len(IOU_THRESHOLDS), NUM_AREAS)
    lanes = (outcome, jnp.tile(num_objects.T, (split[0], 1)))

    # One curve at a time: on a CPU cumulative sums of rows take several times as long.
    def curves(lane: tuple[Array, Array]) -> tuple[Array, Array]:
        return lax.map(lambda kept: _curve(*lane, kept, order.labels, order.starts), order.kept)

    precision, recall = lax.map(curves, lanes)
    precision = precision.reshape(*split, *precision.shape[1:])
    recall = recall.reshape(*split, *recall.shape[1:])
    return jnp.transpose(precision, (0, 4, 3, 1, 2)), jnp.transpose(recall, (0, 3, 1, 2))


def _curve(
    outcome: Array, num_objects: Array, kept: Array, labels: Array, starts: Array
) -> tuple[Array, Array]:
    """Returns precision `[c, r]` and recall `[c]` for one IoU, size and number of detections."""
    start, stop = starts[:-1], starts[1:]
    true = jnp.cumsum(kept & (outcome > 0), dtype=jnp.int32)
    false = jnp.cumsum(kept & (outcome < 0), dtype=jnp.int32)
    true_before, false_before = _before(true, starts), _before(false, starts)
    true_here = (true - true_before[labels]).astype(jnp.float64)
    false_here = (false - false_before[labels]).astype(jnp.float64)
    precision = true_here / (false_here + true_here + np.spacing(1.0))

    count = true_before[:-1, None] + _true_positives_at(num_objects)
    position = jnp.clip(jnp.searchsorted(true, count), start[:, None], stop[:, None])
    reached = position < stop[:, None]
    precision = jnp.where(reached, _highest_from(position, precision), 0.0)
    recall = _share(true_before[1:] - true_before[:-1], num_objects)
    known = num_objects > 0
    return jnp.where(known[:, None], precision, -1.0), jnp.where(known, recall, -1.0)


def _before(cumulative: Array, starts: Array) -> Array:
    return jnp.where(starts > 0, cumulative[starts - 1], 0)


def _true_positives_at(num_objects: Array) -> Array:
    """Returns `[c, r]`, the fewest true positives that reach a recall, divided as COCO does."""
    total = num_objects[:, None]
    # recall · total may be rounded to the wrong side of an integer: look at the neighbors too.
    k = jnp.ceil(RECALLS[None] * total)[None] + jnp.arange(-1, 2)[:, None, None]
    reached = (k >= 0) & (_share(k, total[None]) >= RECALLS[None, None])
    return jnp.min(jnp.where(reached, k, jnp.inf), axis=0).astype(jnp.int32)


def _share(count: Array, total: Array) -> Array:
    # XLA turns x / broadcast(y) into x * broadcast(1 / y), which rounds twice; a select stops it.
    return count / jnp.where(count > 0, jnp.maximum(total, 1), 1.0)


def _highest_from(position: Array, precision: Array) -> Array:
    """Returns `[c, r]`, the highest precision of the class from a position on.

    Only the maxima between neighboring positions look at every detection. Positions rise, and one
    that is not reached is the next class's first, so no detection belongs to it.
    """
    marks = jnp.zeros(precision.size + 1, jnp.int32).at[position.ravel()].add(1)
    interval = jnp.cumsum(marks)[:-1] - 1
    highest = jax.ops.segment_max(
        precision, interval, num_segments=position.size, indices_are_sorted=True
    )
    return lax.cummax(highest.reshape(position.shape), axis=1, reverse=True)


def _summarize(precision: Array, recall: Array) -> Array:
    def mean(x: Array) -> Array:
        known = x > -1
        count = jnp.sum(known)
        return jnp.where(count > 0, jnp.sum(jnp.where(known, x, 0)) / jnp.maximum(count, 1), -1.0)

    everything = precision[..., 0, 2]
    return jnp.stack(
        [mean(everything), mean(everything[0]), mean(everything[5])]
        + [mean(precision[..., size, 2]) for size in (1, 2, 3)]
        + [mean(recall[..., 0, most]) for most in (0, 1, 2)]
        + [mean(recall[..., size, 2]) for size in (1, 2, 3)]
    )
