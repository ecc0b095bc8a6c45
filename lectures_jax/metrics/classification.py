"""Accuracy, confusion matrix, precision and recall of a classifier; how well a score separates."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lectures_jax.metrics._float64 import in_float64
from lectures_jax.typing import check_count, checked


class ClassScores(NamedTuple):
    """Precision, recall and F1 of each class, in [0, 1]; NaN where the denominator is zero.

    Attributes:
        precision: share of the examples predicted as this class that are of it.
        recall: share of the examples of this class that are predicted as it.
        f1: harmonic mean of the two.
    """

    precision: Float[Array, " c"]
    recall: Float[Array, " c"]
    f1: Float[Array, " c"]


@checked
def accuracy(logits: Float[Array, "*b c"], labels: Int[Array, "*b"]) -> Float[Array, ""]:
    """Returns the share of the examples whose highest score is that of their label.

    Of equal scores the first counts as the highest; an example with a score that is NaN is wrong.

    Args:
        logits: one score per class.
        labels: index of the true class; an example with a label out of range, such as −1, does not
            count.

    Returns:
        A value in [0, 1], NaN if no example counts.

    Source:
        Bishop (2006), sec. 1.5.1: one minus the misclassification rate.
    """
    counts = (labels >= 0) & (labels < logits.shape[-1])
    known = ~jnp.any(jnp.isnan(logits), axis=-1)
    right = counts & known & (jnp.argmax(logits, axis=-1) == labels)
    return jnp.sum(right, dtype=jnp.float32) / jnp.sum(counts, dtype=jnp.float32)


@checked
def confusion_matrix(
    predicted: Int[Array, "*b"], labels: Int[Array, "*b"], *, num_classes: int
) -> Int[Array, "c c"]:
    """Returns how many examples of each class (row) are predicted as each class (column).

    The matrix of several batches is the sum of theirs.

    Args:
        predicted: index of the predicted class.
        labels: index of the true class; where either is out of range the example does not count.
        num_classes: number of rows and of columns.

    Returns:
        Counts; those of one row sum to the number of examples of that class.

    Raises:
        ValueError: if `num_classes` is not positive.

    Source:
        Kohavi & Provost (1998), "Glossary of terms".
    """
    check_count(num_classes=num_classes)
    known = (predicted >= 0) & (predicted < num_classes) & (labels >= 0) & (labels < num_classes)
    cell = jnp.where(known, labels * num_classes + predicted, num_classes**2)
    counts = jnp.bincount(cell.ravel(), length=num_classes**2 + 1)[:-1]
    return counts.reshape(num_classes, num_classes)


@checked
def class_scores(confusion: Int[Array, "c c"]) -> ClassScores:
    """Returns precision, recall and their harmonic mean of each class.

    Args:
        confusion: counts, rows for true classes, columns for predicted ones (see
            `confusion_matrix`).

    Returns:
        Three scores per class.

    Source:
        van Rijsbergen (1979), "Information retrieval", ch. 7.
    """
    right = jnp.diagonal(confusion)
    predicted, true = jnp.sum(confusion, axis=0), jnp.sum(confusion, axis=1)
    return ClassScores(right / predicted, right / true, 2 * right / (predicted + true))


@checked
def roc_auc(scores: Float[Array, " n"], positive: Bool[Array, " n"]) -> Float[Array, ""]:
    """Returns the area under the curve of true over false positive rate, all thresholds at once.

    It is the probability that a positive example has a higher score than a negative one, where
    equal scores count half: exact from the ranks, without a grid of thresholds. It is no mean over
    examples, so that the area of a whole set needs all its scores.

    Args:
        scores: higher for what is more likely positive, in any range.
        positive: which examples are positive.

    Returns:
        A value in [0, 1]: 0.5 for scores that tell nothing; NaN if one of the two kinds is missing
        or a score is NaN.

    Source:
        Hanley & McNeil (1982), sec. III; by ranks: Mann & Whitney (1947).
    """
    return in_float64(_area, scores, positive.astype(scores.dtype))


@jax.jit  # the search loops
def _area(scores: Array, positive: Array) -> Array:
    ordered = jnp.sort(scores)
    below = jnp.searchsorted(ordered, scores, side="left")
    through = jnp.searchsorted(ordered, scores, side="right")
    rank = (below + through + 1) / 2  # from 1, the mean of those of equal scores
    count, rest = jnp.sum(positive), jnp.sum(1 - positive)
    wins = jnp.sum(positive * rank) - count * (count + 1) / 2
    known = ~jnp.any(jnp.isnan(scores))
    return jnp.where(known, wins / (count * rest), jnp.nan)
