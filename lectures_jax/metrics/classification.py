"""Accuracy, confusion matrix, precision and recall of a classifier."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

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
