"""What a detector gets wrong on a split, measured and written as sections of a page."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from lectures_jax import metrics, report
from lectures_jax.data.records import Dataset
from lectures_jax.recipes.detector import Detected
from lectures_jax.report.detection import PaddedBoxes
from lectures_jax.report.page import Section

THRESHOLDS = np.linspace(0.01, 0.99, 99, dtype=np.float32)
COCO_LIMITS = (32.0**2, 96.0**2)
LEAST_SHARE = 0.05  # of the objects that each of COCO's sizes must have


def errors(
    dataset: Dataset, detected: Detected, figures: Path
) -> tuple[dict[str, float], list[Section]]:
    """Returns the best threshold with its F1, and the sections on what is wrong from it on.

    Args:
        dataset: the split, in memory, its images in RGB.
        detected: detections and objects of these images.
        figures: folder for the plots.
    """
    images = [np.asarray(record.image) for record in dataset]
    names, classes = [record.id for record in dataset], dataset.classes
    arrays, crowd, c = detected[:-1], detected.crowd, len(classes)
    counts = metrics.detection_counts(*arrays, THRESHOLDS, num_classes=c, crowd=crowd)
    curve = metrics.f1_curve(*counts)
    best = int(curve.best)
    threshold = round(float(THRESHOLDS[best]), 2)
    options = {"score_threshold": threshold, "crowd": crowd}
    confusion = metrics.detection_confusion(*arrays, num_classes=c, **options)
    kind, target, missed = map(np.asarray, metrics.detection_errors(*arrays, **options))
    truth = PaddedBoxes(detected.true_boxes, detected.true_labels, detected.true_valid)
    detections = PaddedBoxes(detected.boxes, detected.labels, detected.valid, detected.scores)
    kinds = {"kinds": metrics.ERROR_KINDS, "classes": classes}
    sections = [
        report.f1_by_threshold(
            THRESHOLDS, np.asarray(curve.f1), figures / "f1.svg", classes=classes, best=best
        ),
        report.detection_confusion(
            np.asarray(confusion), figures / "confusion.svg", classes=classes, threshold=threshold
        ),
        report.errors_by_kind(
            _by_class(kind, missed, detected, num_classes=c),
            figures / "errors.svg",
            threshold=threshold,
            **kinds,
        ),
        report.error_examples(
            images, truth, detections, kind, target, missed, names=names, **kinds
        ),
        _sizes(detected, num_classes=c),
    ]
    return {"best_threshold": threshold, "best_f1": float(curve.mean_f1[best])}, sections


def size_limits(
    boxes: Float[np.ndarray, "i g 4"], valid: Bool[np.ndarray, "i g"]
) -> tuple[tuple[float, float], str]:
    """Returns the areas up to which objects are small and medium, and a sentence that says why.

    They are COCO's, 32² and 96² pixels, if each of the three sizes has at least a twentieth of the
    objects, and otherwise the terciles of their areas.

    Args:
        boxes: corners of the objects.
        valid: which of them are real and not padding.
    """
    areas = np.prod(boxes[valid][:, 2:] - boxes[valid][:, :2], axis=-1)
    if not len(areas):
        return COCO_LIMITS, "The limits are COCO's."
    small, medium = COCO_LIMITS
    shares = [np.mean(areas <= small), np.mean((areas > small) & (areas <= medium))]
    if min(*shares, 1 - sum(shares)) >= LEAST_SHARE:
        return COCO_LIMITS, "The limits are COCO's."
    first, second = (float(x) for x in np.quantile(areas, [1 / 3, 2 / 3]))
    return (first, second), (
        "The limits are terciles of this split: of COCO's sizes (up to 32², up to 96², above) at "
        "least one has less than a twentieth of the objects."
    )


def _by_class(
    kind: Int[np.ndarray, "i d"],
    missed: Bool[np.ndarray, "i g"],
    detected: Detected,
    *,
    num_classes: int,
) -> Int[np.ndarray, "c k"]:
    """Counts the errors by class, of the detection or of the missed object, and kind."""
    counts = np.zeros((num_classes, len(metrics.ERROR_KINDS)), int)
    np.add.at(counts, (detected.labels[kind >= 0], kind[kind >= 0]), 1)
    np.add.at(counts[:, -1], detected.true_labels[missed], 1)
    return counts


def _sizes(detected: Detected, *, num_classes: int) -> Section:
    limits, reason = size_limits(detected.true_boxes, detected.true_valid & ~detected.crowd)
    coco = metrics.coco_map(
        *detected[:-1], num_classes=num_classes, crowd=detected.crowd, size_limits=limits
    )
    precision = np.asarray(coco.precision)[..., 1:, 2]  # [threshold, recall, class, size]
    scores = {
        "AP50": [_mean(precision[0, ..., size]) for size in range(3)],
        "AP50-95": [_mean(precision[..., size]) for size in range(3)],
        "recall": [_mean(np.asarray(coco.recall)[..., 1 + size, 2]) for size in range(3)],
    }
    sides = detected.true_boxes[..., 2:] - detected.true_boxes[..., :2]
    areas = (sides[..., 0] * sides[..., 1])[detected.true_valid & ~detected.crowd]
    objects = np.bincount(np.searchsorted(limits, areas), minlength=3)
    return report.scores_by_size(scores, objects.tolist(), limits=limits, reason=reason)


def _mean(values: np.ndarray) -> float:
    """The mean of what is known; -1 if nothing is."""
    known = values > -1
    return float(values[known].mean()) if known.any() else -1.0
