"""A classifier's confusion matrix and its worst mistakes, as sections of a page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer, Num

from lectures_jax.report.images import enlarge
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot


def confusion(counts: Integer[np.ndarray, "c c"], path: Path, *, classes: Sequence[str]) -> Section:
    """Draws the confusion matrix, and lists precision and recall of each class.

    Args:
        counts: number of examples by true class (row) and predicted class (column).
        path: where the figure goes, `.svg`.
        classes: names, in the order of the labels.
    """
    right, true, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    share = counts / np.maximum(true[:, None], 1)
    number = len(classes)
    with plot(path, height=1.6 + 0.36 * number) as (ax,):
        for row, column in np.argwhere(counts > 0):
            shade = color(2) if row == column else color(1)
            cell = {"color": shade, "alpha": 0.1 + 0.75 * share[row, column], "linewidth": 0}
            ax.fill_between([column - 0.5, column + 0.5], row - 0.5, row + 0.5, **cell)
            ax.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7)
        ax.set(xlim=(-0.5, number - 0.5), ylim=(number - 0.5, -0.5), ylabel="true class")
        ax.set_yticks(range(number), classes)
        ax.set_xticks(range(number), classes, rotation=45, ha="right")
        ax.set_xlabel("predicted class")
        ax.grid(visible=False)
    rows = [
        (name, _share(right[i], predicted[i]), _share(right[i], true[i]))
        for i, name in enumerate(classes)
    ]
    return Section(
        "Confusion",
        "Number of examples by true class (row) and predicted class (column).",
        figures=[Figure(path, "Correct predictions are on the diagonal.")],
        table=Table(("class", "precision", "recall"), rows),
    )


def worst_mistakes(
    images: Num[np.ndarray, "n h w c"],
    labels: Integer[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n k"],
    *,
    classes: Sequence[str],
    shown: int = 12,
) -> Section:
    """Returns the wrong predictions of the highest confidence.

    Args:
        images: gray or RGB, uint8 or float in [0, 1].
        labels: the true classes.
        probabilities: one for each class, adding to 1.
        classes: names, in the order of the labels.
        shown: number of images at most.
    """
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    factor = max(1, 140 // max(images.shape[1:3]))
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:shown]
    figures = [
        Figure(
            enlarge(images[i], factor=factor),
            f"{classes[int(labels[i])]}, predicted as {classes[int(predicted[i])]} "
            f"with probability {confidence[i]:.2f}.",
        )
        for i in worst.tolist()
    ]
    text = f"{len(wrong)} of {len(labels)} predictions are wrong"
    return Section(
        "Worst mistakes",
        f"{text}. Shown are those of the highest confidence." if len(wrong) else f"{text}.",
        figures=figures,
    )


def _share(part: int | np.integer, whole: int | np.integer) -> float | None:
    return float(part / whole) if whole else None
