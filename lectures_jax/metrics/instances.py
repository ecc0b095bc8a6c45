"""Scores of objects that have a mask each: which are detected, at several overlaps."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from lectures_jax.typing import check_range, checked

THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""The challenge's ten overlaps, 0.5 to 0.95."""


class InstanceCounts(NamedTuple):
    """Objects by threshold; those of several images add up.

    Attributes:
        matched: pairs of a true and a predicted object that overlap by more than the threshold.
        unmatched: predicted objects without such a partner.
        missed: true objects without one.
    """

    matched: Int[np.ndarray, " t"]
    unmatched: Int[np.ndarray, " t"]
    missed: Int[np.ndarray, " t"]


@checked
def instance_counts(
    predicted: Int[Array | np.ndarray, "h w"],
    true: Int[Array | np.ndarray, "h w"],
    *,
    thresholds: tuple[float, ...] = THRESHOLDS,
) -> InstanceCounts:
    """Returns how many objects of one image are matched, at each threshold.

    Above an overlap of one half an object has one partner at most, so that nothing is chosen. It
    runs on the host, as the number of objects differs from image to image.

    Args:
        predicted: id of the object at each pixel, 0 for none; any numbers of at least 0.
        true: id of the object at each pixel, 0 for none.
        thresholds: an intersection over union must be above it, each in [0.5, 1].

    Returns:
        Three counts for each threshold.

    Raises:
        ValueError: if a threshold is out of range.

    Source:
        Caicedo et al. (2019), "Nucleus segmentation across imaging experiments: the 2018 Data
        Science Bowl", evaluation metric.
    """
    for threshold in thresholds:
        check_range(threshold=threshold, low=0.5, high=1)
    overlaps = _overlaps(np.asarray(predicted), np.asarray(true))
    matched = np.array([(overlaps > t).sum() for t in thresholds], np.int64)
    rows, columns = overlaps.shape
    return InstanceCounts(matched, columns - matched, rows - matched)


@checked
def instance_precision(
    matched: Int[Array | np.ndarray, " t"],
    unmatched: Int[Array | np.ndarray, " t"],
    missed: Int[Array | np.ndarray, " t"],
) -> Float[np.ndarray, " t"]:
    """Returns the challenge's average precision at each threshold: `TP / (TP + FP + FN)`.

    The challenge takes the mean over ten thresholds for an image, and then over the images.

    Args:
        matched: true positives, of one image or a sum over several, as `instance_counts` counts.
        unmatched: false positives.
        missed: false negatives.

    Returns:
        Values in [0, 1]; 1 where there is nothing to detect and nothing is detected.

    Source:
        Caicedo et al. (2019), "Nucleus segmentation across imaging experiments: the 2018 Data
        Science Bowl", evaluation metric.
    """
    matched = np.asarray(matched)
    objects = matched + np.asarray(unmatched) + np.asarray(missed)
    return np.where(objects > 0, matched / np.maximum(objects, 1), 1.0)


def _overlaps(predicted: np.ndarray, true: np.ndarray) -> Float[np.ndarray, "n m"]:
    """Intersection over union of each true object (row) with each predicted one (column)."""
    ids_true, t = np.unique(true, return_inverse=True)
    ids_predicted, p = np.unique(predicted, return_inverse=True)
    rows, columns = len(ids_true), len(ids_predicted)
    cells = np.bincount(t.ravel() * columns + p.ravel(), minlength=rows * columns)
    both = cells.reshape(rows, columns)
    union = both.sum(axis=1, keepdims=True) + both.sum(axis=0, keepdims=True) - both
    return (both / np.maximum(union, 1))[np.ix_(ids_true > 0, ids_predicted > 0)]
