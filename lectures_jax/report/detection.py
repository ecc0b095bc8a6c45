"""A detector's predictions and errors, as sections of a page."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from lectures_jax.report.boxes import draw_boxes
from lectures_jax.report.curves import precision_recall_curves
from lectures_jax.report.images import grid
from lectures_jax.report.page import Figure, Section, Table


class PaddedBoxes(NamedTuple):
    """Boxes of several images, padded to the same number in each.

    Attributes:
        boxes: xyxy, in pixels.
        labels: indices of the classes.
        valid: False for padding.
        scores: of detections; None for true objects.
    """

    boxes: Float[np.ndarray, "i n 4"]
    labels: Int[np.ndarray, "i n"]
    valid: Bool[np.ndarray, "i n"]
    scores: Float[np.ndarray, "i n"] | None = None


def predictions(
    images: Sequence[UInt8[np.ndarray, "_ _ _"]],
    truth: PaddedBoxes,
    detections: PaddedBoxes,
    *,
    names: Sequence[str],
    classes: Sequence[str],
    scale: int = 2,
) -> Section:
    """Returns the true and the predicted boxes side by side, a figure per image.

    Args:
        images: RGB.
        truth: the true objects of each image.
        detections: the detections of each image.
        names: of the images.
        classes: names, in the order of the labels.
        scale: factor by which the images are enlarged.
    """
    figures = []
    for i, image in enumerate(images):
        pair = [
            draw_boxes(
                image,
                side.boxes[i],
                side.labels[i],
                None if side.scores is None else side.scores[i],
                valid=side.valid[i],
                classes=classes,
                truth=side.scores is None,
                scale=scale,
            )
            for side in (truth, detections)
        ]
        caption = (
            f"{names[i]}: {truth.valid[i].sum()} objects, {detections.valid[i].sum()} detections."
        )
        figures.append(Figure(grid(pair, columns=2), caption))
    return Section(
        "Predictions",
        "True objects on the left (dashed), detections on the right, one label per box.",
        figures=figures,
    )


def precision_recall_by_class(
    precision: Float[np.ndarray, "t r c"], path: Path, *, classes: Sequence[str]
) -> Section:
    """Draws the curve of each class at the first IoU, and lists its average precisions.

    Args:
        precision: by IoU threshold, recall and class; -1 where a class has no object.
        path: where the figure goes, `.svg`.
        classes: names, in the order of the labels.
    """
    precision_recall_curves({name: precision[0, :, i] for i, name in enumerate(classes)}, path)
    rows = [
        (name, float(precision[0, :, i].mean()), float(precision[:, :, i].mean()))
        for i, name in enumerate(classes)
        if precision[0, 0, i] >= 0
    ]
    return Section(
        "Precision and recall",
        "Precision is the share of correct detections, recall the share of detected objects.",
        figures=[Figure(path, "By class, at IoU 0.5.")],
        table=Table(("class", "AP50", "AP50-95"), rows),
    )


def worst_errors(
    images: Sequence[UInt8[np.ndarray, "_ _ _"]],
    missed: PaddedBoxes,
    wrong: PaddedBoxes,
    *,
    names: Sequence[str],
    classes: Sequence[str],
    shown: int = 6,
    scale: int = 2,
) -> Section:
    """Returns the images with the most errors: missed objects dashed, wrong detections colored.

    Args:
        images: RGB.
        missed: true objects, `valid` where no detection matches them.
        wrong: detections, `valid` where they match no object.
        names: of the images.
        classes: names, in the order of the labels.
        shown: number of images at most.
        scale: factor by which the images are enlarged.
    """
    errors = missed.valid.sum(axis=1) + wrong.valid.sum(axis=1)
    figures = []
    for i in np.argsort(-errors, kind="stable")[:shown]:
        if not errors[i]:
            break
        image = draw_boxes(
            images[i],
            missed.boxes[i],
            missed.labels[i],
            valid=missed.valid[i],
            classes=classes,
            truth=True,
            scale=scale,
        )
        image = draw_boxes(
            image,
            scale * wrong.boxes[i],
            wrong.labels[i],
            None if wrong.scores is None else wrong.scores[i],
            valid=wrong.valid[i],
            classes=classes,
        )
        caption = f"{names[i]}: {missed.valid[i].sum()} missed, {wrong.valid[i].sum()} wrong."
        figures.append(Figure(image, caption))
    return Section(
        "Worst errors",
        f"{missed.valid.sum()} objects are missed (dashed) and {wrong.valid.sum()} confident "
        "detections are wrong (colored), at IoU 0.5.",
        figures=figures,
    )
