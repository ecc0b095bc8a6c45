"""Scores of masks: from a confusion matrix of pixels, which adds up over batches; and of borders.

A class that is neither predicted nor there counts neither for nor against: its own score is −1, and
it is in no mean. No score is NaN.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lectures_jax.metrics.classification import confusion_matrix
from lectures_jax.typing import Ratio, check_count, check_range, checked

ABSENT = -1.0
"""Score of a class that is neither predicted nor there, as in COCO's evaluation."""


@checked
def pixel_confusion(
    predicted: Int[Array, "*b h w"],
    labels: Int[Array, "*b h w"],
    *,
    num_classes: int,
    ignore: int = 255,
) -> Int[Array, "c c"]:
    """Returns how many pixels of each class (row) are predicted as each class (column).

    The matrix of several batches is the sum of theirs.

    Args:
        predicted: index of the predicted class of each pixel, in [0, num_classes).
        labels: index of the true class, or `ignore`; where it is out of range a pixel does not
            count either.
        num_classes: number of classes, the background included.
        ignore: label of the pixels that do not count.

    Returns:
        Counts; those of one row sum to the number of pixels of that class.

    Raises:
        ValueError: if `num_classes` is not positive.

    Source:
        Kohavi & Provost (1998), "Glossary of terms"; of pixels: Long et al. (2015), sec. 5.
    """
    counted = jnp.where(labels == ignore, -1, labels)
    return confusion_matrix(predicted, counted, num_classes=num_classes)


@checked
def pixel_accuracy(
    confusion: Int[Array, "c c"] | Float[Array, "c c"],
) -> Float[Array, ""]:
    """Returns the share of the pixels that are predicted as their class.

    Args:
        confusion: counts by true class (row) and predicted class (column).

    Returns:
        A value in [0, 1]; 0 if no pixel counts.

    Source:
        Long et al. (2015), sec. 5: `Σ_i n_ii / Σ_i t_i`.
    """
    right, true, _ = _marginals(confusion)
    return _quotient(jnp.sum(right), jnp.sum(true), 0.0)


@checked
def mean_accuracy(
    confusion: Int[Array, "c c"] | Float[Array, "c c"],
) -> Float[Array, ""]:
    """Returns the mean over the classes of the share of their pixels that are predicted as them.

    Args:
        confusion: counts by true class (row) and predicted class (column).

    Returns:
        A value in [0, 1], the mean over the classes that have pixels; 0 if none has.

    Source:
        Long et al. (2015), sec. 5: `(1/n_cl) Σ_i n_ii / t_i`.
    """
    right, true, _ = _marginals(confusion)
    return _mean_of_present(_quotient(right, true, ABSENT))


@checked
def class_iou(
    confusion: Int[Array, "c c"] | Float[Array, "c c"],
) -> Float[Array, " c"]:
    """Returns the intersection over union of each class.

    Args:
        confusion: counts by true class (row) and predicted class (column).

    Returns:
        Values in [0, 1]; −1 for a class that is neither predicted nor there.

    Source:
        Everingham et al. (2010), sec. 4.1.3: `n_ii / (t_i + Σ_j n_ji − n_ii)`.
    """
    right, true, predicted = _marginals(confusion)
    return _quotient(right, true + predicted - right, ABSENT)


@checked
def mean_iou(
    confusion: Int[Array, "c c"] | Float[Array, "c c"],
) -> Float[Array, ""]:
    """Returns the mean of `class_iou` over the classes that are predicted or there.

    Args:
        confusion: counts by true class (row) and predicted class (column).

    Returns:
        A value in [0, 1]; 0 if no pixel counts.

    Source:
        Long et al. (2015), sec. 5.
    """
    return _mean_of_present(class_iou(confusion))


@checked
def class_dice(
    confusion: Int[Array, "c c"] | Float[Array, "c c"],
) -> Float[Array, " c"]:
    """Returns the Dice coefficient of each class, which is the F1 score of its pixels.

    Args:
        confusion: counts by true class (row) and predicted class (column).

    Returns:
        Values in [0, 1]; −1 for a class that is neither predicted nor there.

    Source:
        Dice (1945): `2 |A ∩ B| / (|A| + |B|)`.
    """
    right, true, predicted = _marginals(confusion)
    return _quotient(2 * right, true + predicted, ABSENT)


@checked
def mean_dice(
    confusion: Int[Array, "c c"] | Float[Array, "c c"],
) -> Float[Array, ""]:
    """Returns the mean of `class_dice` over the classes that are predicted or there.

    Args:
        confusion: counts by true class (row) and predicted class (column).

    Returns:
        A value in [0, 1]; 0 if no pixel counts.

    Source:
        Dice (1945).
    """
    return _mean_of_present(class_dice(confusion))


@checked
def boundary_f1(
    predicted: Int[Array, "*b h w"],
    labels: Int[Array, "*b h w"],
    *,
    num_classes: int,
    tolerance: float = 2.0,
    ignore: int = 255,
) -> Ratio:
    """Returns the two sums of which the quotient is the boundary F1 score of each class.

    A pixel is on the boundary of its class if one of its four neighbors in the image is of another
    class; pixels that are ignored are of no class and nobody's neighbors. Precision is the share of
    the predicted boundary that is within `tolerance` of the true one, recall the share of the true
    one that is within it of the predicted one, and the score of a class in an image is
    `2 P R / (P + R)`, 0 if one of the two boundaries is empty. A class without any boundary in an
    image, predicted or true, does not count there.

    Args:
        predicted: index of the predicted class of each pixel.
        labels: index of the true class, or `ignore`.
        num_classes: number of classes, the background included.
        tolerance: largest distance of the centers of two pixels that match, at least 0; the source
            takes 0.75 % of the image's diagonal.
        ignore: label of the pixels that do not count.

    Returns:
        By class the sum of the scores over the images, and the number of images with a boundary.

    Raises:
        ValueError: if `tolerance` is negative or `num_classes` not positive.

    Source:
        Csurka et al. (2013), "What is a good evaluation measure for semantic segmentation?",
        sec. 2.3.
    """
    check_count(num_classes=num_classes)
    check_range(tolerance=tolerance, low=0)
    counted = labels != ignore
    lines = [
        _boundary(jnp.where(counted, classes, -1), num_classes) for classes in (predicted, labels)
    ]
    near = [_within(line, tolerance) for line in lines]
    length = [jnp.sum(line, axis=(-2, -1), dtype=jnp.float32) for line in lines]
    precision, recall = (
        _quotient(jnp.sum(line & other, axis=(-2, -1), dtype=jnp.float32), size, 0.0)
        for line, other, size in zip(lines, near[::-1], length, strict=True)
    )
    score = _quotient(2 * precision * recall, precision + recall, 0.0)
    counts = (length[0] + length[1] > 0).astype(jnp.float32)
    over_images = tuple(range(score.ndim - 1))
    return Ratio(jnp.sum(score * counts, axis=over_images), jnp.sum(counts, axis=over_images))


def _marginals(confusion: Array) -> tuple[Array, Array, Array]:
    """The right pixels of each class, its true and its predicted ones."""
    if not jnp.issubdtype(confusion.dtype, jnp.floating):
        confusion = confusion.astype(jnp.float32)
    return jnp.diagonal(confusion), jnp.sum(confusion, axis=1), jnp.sum(confusion, axis=0)


def _quotient(part: Array, whole: Array, empty: float) -> Array:
    some = whole > 0
    return jnp.where(some, part / jnp.where(some, whole, 1), empty)


def _mean_of_present(scores: Array) -> Array:
    present = scores >= 0
    total = jnp.sum(jnp.where(present, scores, 0))
    return _quotient(total, jnp.sum(present, dtype=scores.dtype), 0.0)


def _boundary(classes: Int[Array, "*b h w"], num_classes: int) -> Bool[Array, "*b c h w"]:
    """The pixels of each class that have a neighbor of another one."""
    changes = jnp.zeros(classes.shape, bool)
    for axis in (-2, -1):
        n = classes.shape[axis]
        first, second = (
            jnp.take(classes, jnp.arange(*ends), axis=axis) for ends in ((0, n - 1), (1, n))
        )
        differ = (first != second) & (first >= 0) & (second >= 0)
        none = [(0, 0)] * classes.ndim
        for side in ((0, 1), (1, 0)):
            none[axis] = side
            changes = changes | jnp.pad(differ, none)
    own = jnp.moveaxis(jax.nn.one_hot(classes, num_classes, dtype=bool), -1, -3)
    return changes[..., None, :, :] & own


def _within(line: Bool[Array, "*b h w"], tolerance: float) -> Bool[Array, "*b h w"]:
    """Whether a pixel of the line is within a distance: along the rows, then along the columns."""
    radius = int(tolerance)
    far = jnp.float32(radius**2 + 2 * tolerance + 2)
    squared = jnp.where(line, 0.0, far)
    for axis in (-1, -2):
        shifted = [_shifted(squared, step, axis, far) + step**2 for step in _steps(radius)]
        squared = jnp.min(jnp.stack(shifted), axis=0)
    return squared <= tolerance**2


def _steps(radius: int) -> range:
    return range(-radius, radius + 1)


def _shifted(values: Array, step: int, axis: int, far: Array) -> Array:
    n = values.shape[axis]
    padding = [(0, 0)] * values.ndim
    padding[axis] = (max(step, 0), max(-step, 0))
    padded = jnp.pad(values, padding, constant_values=far)
    start = max(-step, 0)
    return jnp.take(padded, jnp.arange(start, start + n), axis=axis)
