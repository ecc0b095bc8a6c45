"""How often a classifier is right, and what it takes for what."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class ClassScores(NamedTuple):
    """Shares in [0, 1], one of each per class; NaN where there is nothing to take a share of."""

    precision: Float[Array, " c"]
    recall: Float[Array, " c"]
    f1: Float[Array, " c"]


def accuracy(logits: Float[Array, "*b c"], labels: Int[Array, "*b"]) -> Float[Array, ""]:
    """Returns the share of the examples whose highest score is their label's.

    Of equal scores the first counts as the highest.

    Args:
        logits: one score per class.
        labels: index of the true class; an example out of range, such as −1, does not count.

    Returns:
        A value in [0, 1], NaN if no example counts.

    Source:
        Bishop (2006), sec. 1.5.1: one minus the misclassification rate.
    """
    counts = (labels >= 0) & (labels < logits.shape[-1])
    right = counts & (jnp.argmax(logits, axis=-1) == labels)
    return jnp.sum(right, dtype=jnp.float32) / jnp.sum(counts, dtype=jnp.float32)


def confusion_matrix(
    predicted: Int[Array, "*b"], labels: Int[Array, "*b"], *, num_classes: int
) -> Int[Array, "c c"]:
    """Returns how many examples of each class (row) were taken for each class (column).

    Matrices of several batches add up.

    Args:
        predicted: index of the predicted class.
        labels: index of the true class; where either is out of range the example does not count.
        num_classes: rows and columns.

    Raises:
        ValueError: if `num_classes` is not positive.

    Source:
        Kohavi & Provost (1998), "Glossary of terms".
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
    known = (predicted >= 0) & (predicted < num_classes) & (labels >= 0) & (labels < num_classes)
    cell = jnp.where(known, labels * num_classes + predicted, num_classes**2)
    counts = jnp.bincount(cell.ravel(), length=num_classes**2 + 1)[:-1]
    return counts.reshape(num_classes, num_classes)


def class_scores(confusion: Int[Array, "c c"]) -> ClassScores:
    """Returns precision, recall and their harmonic mean of each class.

    Args:
        confusion: rows are true classes, columns predicted ones (see `confusion_matrix`).

    Source:
        van Rijsbergen (1979), "Information retrieval", ch. 7.
    """
    right = jnp.diagonal(confusion)
    predicted, true = jnp.sum(confusion, axis=0), jnp.sum(confusion, axis=1)
    return ClassScores(right / predicted, right / true, 2 * right / (predicted + true))
