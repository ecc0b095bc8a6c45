"""What a detector gets wrong, as sections of a page: confusion, F1, kinds of errors, sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt8

from lectures_jax.report.boxes import draw_boxes
from lectures_jax.report.classification import confusion
from lectures_jax.report.detection import PaddedBoxes
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, MUTED, color, plot

SIZES = ("small", "medium", "large")


def detection_confusion(
    counts: Integer[np.ndarray, "n n"], path: Path, *, classes: Sequence[str], threshold: float
) -> Section:
    """Draws how often each class is taken for each, and for the background.

    Args:
        counts: of objects by true class (row) and detected class (column); the last row and column
            are the background's.
        path: where the figure goes, `.svg`.
        classes: names, in the order of the labels, without the background.
        threshold: least score of the detections that are counted.
    """
    section = confusion(counts, path, classes=[*classes, "background"])
    caption = "Right detections are on the diagonal, objects that are missed in the last column."
    return replace(
        section,
        title="Confusion with the background",
        text=f"Detections with a score of at least {threshold:.2f} and objects, matched one to one "
        "whatever their classes: of all pairs with an IoU of at least 0.5 the one of the highest "
        "first. The last row counts detections of nothing, or of an object that has another one.",
        figures=[Figure(path, caption)],
        table=None,
    )


def f1_by_threshold(
    thresholds: Float[np.ndarray, " t"],
    f1: Float[np.ndarray, "c t"],
    path: Path,
    *,
    classes: Sequence[str],
    best: int,
) -> Section:
    """Draws F1 of each class over the threshold on the score, and where their mean is highest.

    Args:
        thresholds: on the score, rising.
        f1: of each class; NaN for a class without objects, which is left out.
        path: where the figure goes, `.svg`.
        classes: names, in the order of the labels.
        best: index of the best threshold for all classes.
    """
    known = [i for i in range(len(classes)) if np.isfinite(f1[i]).all()]
    with plot(path, height=3.0) as (ax,):
        for i in known:
            few = len(known) <= 10
            style = {"color": color(i) if few else MUTED, "lw": 1.2 if few else 0.8}
            name = classes[i].replace("$", r"\$").lstrip("_") if few else None
            ax.plot(thresholds, f1[i], label=name, **style)
        if known:
            mean = f1[known].mean(axis=0)
            ax.plot(thresholds, mean, color=INK, lw=2, ls="--", label="mean")
            ax.plot(thresholds[best], mean[best], "o", color=INK, ms=6)
            ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
        ax.axvline(thresholds[best], color=INK, lw=0.8, ls=":")
        ax.set(xlabel="threshold on the score", ylabel="F1", xlim=(0, 1), ylim=(0, 1.02))
    rows = [
        (classes[i], float(f1[i, best]), float(f1[i].max()), float(thresholds[np.argmax(f1[i])]))
        for i in known
    ]
    return Section(
        "F1 by threshold",
        "F1 is the harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN), of detections "
        "from a score on. The mean over the classes is highest at "
        f"{thresholds[best]:.2f}: what a user would cut at who has no other reason. "
        "Boxes are suppressed class by class here; ljx predict does so across classes.",
        figures=[Figure(path, f"At IoU 0.5; the dot is at the threshold {thresholds[best]:.2f}.")],
        table=Table(("class", f"F1 at {thresholds[best]:.2f}", "best F1", "at threshold"), rows),
    )


def errors_by_kind(
    counts: Integer[np.ndarray, "c k"],
    path: Path,
    *,
    kinds: Sequence[str],
    classes: Sequence[str],
    threshold: float,
) -> Section:
    """Draws the number of errors of each kind, and lists them by class.

    Args:
        counts: of errors by class and kind.
        path: where the figure goes, `.svg`.
        kinds: names of the kinds; those of `metrics.ERROR_KINDS` are explained.
        classes: names, in the order of the labels.
        threshold: least score of the detections that are counted.
    """
    total = counts.sum(axis=0)
    with plot(path, height=0.7 + 0.28 * len(kinds)) as (ax,):
        place = -np.arange(len(kinds))
        ax.barh(place, total, height=0.62, color=[color(i) for i in range(len(kinds))])
        for y, number in zip(place.tolist(), total.tolist(), strict=True):
            ax.text(number, y, f" {number}", va="center", color=INK)
        ax.set_yticks(place, list(kinds))
        ax.set(xlabel="number of errors", xlim=(0, max(1.0, 1.12 * total.max(initial=0))))
        ax.grid(visible=False, axis="y")
    rows = [
        (name, *row)
        for name, row in zip(classes, counts.tolist(), strict=True)
        if sum(row) or len(classes) <= 20
    ]
    return Section(
        "Kinds of errors",
        f"Of detections with a score of at least {threshold:.2f}, by the object that a wrong one "
        "overlaps most. Class: IoU of at least 0.5, but another class. Location: IoU from 0.1 to "
        "0.5. Duplicate: the object has a better detection. Background: IoU below 0.1. Missed: "
        "objects that no detection of the wrong class or location explains (Bolya et al. 2020).",
        figures=[Figure(path, "Right detections are not counted.")],
        table=Table(("of class", *kinds), rows),
    )


def error_examples(
    images: Sequence[UInt8[np.ndarray, "_ _ _"]],
    truth: PaddedBoxes,
    detections: PaddedBoxes,
    kind: Int[np.ndarray, "i d"],
    target: Int[np.ndarray, "i d"],
    missed: Bool[np.ndarray, "i g"],
    *,
    kinds: Sequence[str],
    names: Sequence[str],
    classes: Sequence[str],
    scale: int = 2,
) -> Section:
    """Returns one image for each kind of error: of the highest score, and the largest missed one.

    Args:
        images: RGB.
        truth: the true objects of each image.
        detections: the detections of each image, with scores.
        kind: of each detection, -1 where it is not wrong.
        target: object that a wrong detection overlaps most, -1 for none.
        missed: objects that are missed.
        kinds: names of the kinds; the last one is that of missed objects.
        names: of the images.
        classes: names, in the order of the labels.
        scale: factor by which the images are enlarged.
    """
    scores = np.zeros(kind.shape) if detections.scores is None else detections.scores
    unnamed = [""] * len(classes)  # the caption names the object, whose label could be covered
    figures = []

    def draw(i: int, objects: np.ndarray, wrong: np.ndarray, text: str) -> None:
        boxes, labels = truth.boxes[i][objects], truth.labels[i][objects]
        image = draw_boxes(images[i], boxes, labels, classes=unnamed, truth=True, scale=scale)
        boxes, labels = scale * detections.boxes[i][wrong], detections.labels[i][wrong]
        image = draw_boxes(image, boxes, labels, scores[i][wrong], classes=classes)
        figures.append(Figure(image, f"{text}, in {names[i]}."))

    for k, name in enumerate(kinds[:-1]):
        if (kind == k).any():
            best = (kind == k) & (scores == scores[kind == k].max())
            i, d = np.argwhere(best)[0].tolist()
            objects = target[i, [d]][target[i, [d]] >= 0]
            meant = [f"'{classes[c]}'" for c in truth.labels[i][objects].tolist()] or ["nothing"]
            text = f"{name.capitalize()}: {meant[0]} as '{classes[int(detections.labels[i, d])]}'"
            draw(i, objects, np.array([d]), text)
    if missed.any():
        sides = truth.boxes[..., 2:] - truth.boxes[..., :2]
        area = np.where(missed, sides[..., 0] * sides[..., 1], -1)
        i, g = np.unravel_index(np.argmax(area), area.shape)
        text = f"{kinds[-1].capitalize()}: '{classes[int(truth.labels[i, g])]}'"
        draw(int(i), np.array([g]), np.zeros(0, int), text)
    return Section(
        "One error of each kind",
        "The wrong detection (colored) with the highest score of each kind, and the object that it "
        "overlaps most (dashed); the missed object is the largest."
        if figures
        else "There is none.",
        figures=figures,
    )


def scores_by_size(
    scores: Mapping[str, Sequence[float]],
    objects: Sequence[int],
    *,
    limits: tuple[float, float],
    reason: str,
) -> Section:
    """Lists scores of small, medium and large objects.

    Args:
        scores: three values each by name; -1 where no object has the size.
        objects: number of objects of each size.
        limits: largest area of small and of medium objects, in square pixels.
        reason: a sentence that says where the limits come from.
    """
    small, medium = (f"{area**0.5:.0f}²" for area in limits)
    ranges = (f"up to {small}", f"{small} to {medium}", f"above {medium}")
    rows = [
        (size, words, number, *(v[i] if v[i] >= 0 else None for v in scores.values()))
        for i, (size, words, number) in enumerate(zip(SIZES, ranges, objects, strict=True))
    ]
    return Section(
        "Scores by size",
        f"The size of an object is the area of its box, in square pixels. {reason}",
        table=Table(("size", "area", "objects", *scores), rows),
    )
