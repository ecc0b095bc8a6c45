"""What is predicted for the pixels of images, and its scores at full resolution."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Int32, UInt8

from lectures_jax import data, metrics
from lectures_jax.data.class_table import IGNORE
from lectures_jax.data.records import Record
from lectures_jax.recipes import segmentation_data
from lectures_jax.recipes.segmentation_data import Splits
from lectures_jax.recipes.settings import require

STEP = 128  # of the sizes that the boundary F1 is compiled for, in pixels
BOUNDARY_SHARE = 0.0075  # of the diagonal: Csurka et al. (2013), sec. 2.3

_boundary_f1 = jax.jit(metrics.boundary_f1, static_argnames=("num_classes", "tolerance"))


class Segmented(NamedTuple):
    """What a segmenter predicts for one image, in its full resolution.

    Attributes:
        classes: of each pixel.
        instances: id of the object at each pixel, 0 for none; None for classes without objects.
    """

    classes: UInt8[np.ndarray, "h w"]
    instances: Int32[np.ndarray, "h w"] | None = None


def with_objects(
    classes: UInt8[np.ndarray, "h w"], *, instances: bool, min_area: int = 8
) -> Segmented:
    """Returns the classes of an image's pixels with its objects.

    Args:
        classes: of each pixel.
        instances: whether they are background, object and border (see `segmenter.predict`).
        min_area: pixels of the smallest object.
    """
    if not instances:
        return Segmented(classes)
    return Segmented(classes, data.split_instances(classes == 1, classes == 2, min_area=min_area))


def confusion(segmented: Sequence[Segmented], splits: Splits) -> Int[np.ndarray, "c c"]:
    """Returns how many pixels of each class (row) are predicted as each class (column).

    Args:
        segmented: what is predicted for each image of the test split.
        splits: images with masks.
    """
    total = np.zeros((len(splits.classes),) * 2, np.int64)
    for result, record in zip(segmented, splits.test, strict=True):
        true = segmentation_data.class_mask(record, instances=splits.instances)
        total += _pixel_confusion(result.classes, true, len(splits.classes))
    return total


def measure(segmented: Sequence[Segmented], splits: Splits) -> dict[str, float]:
    """Returns the scores of the test split, each image at full resolution.

    Args:
        segmented: what is predicted for each image.
        splits: images with masks.

    Returns:
        `mean_iou`, `mean_dice` and `pixel_accuracy` from the pixels of all images. Of instances,
        these are of two classes, object and background, and there are also `object_dice`,
        and `AP50` and `AP50_95`, the mean over the images of the challenge's precision.
    """
    counts = confusion(segmented, splits)
    if splits.instances:
        edges = [0, 1]
        counts = np.add.reduceat(np.add.reduceat(counts, edges, axis=0), edges, axis=1)
    shares = jnp.asarray(counts / max(counts.sum(), 1), jnp.float32)
    names = ("mean_iou", "mean_dice", "pixel_accuracy")
    scores = {name: float(getattr(metrics, name)(shares)) for name in names}
    if not splits.instances:
        return scores
    precision = np.stack([_precision(*pair) for pair in zip(segmented, splits.test, strict=True)])
    dice = float(metrics.class_dice(shares)[1])
    return scores | {
        "object_dice": dice,
        "AP50": float(precision[:, 0].mean()),
        "AP50_95": float(precision.mean()),
    }


def boundary_f1(segmented: Sequence[Segmented], splits: Splits) -> float:
    """Returns the mean boundary F1 of the classes that have a boundary in some image, in [0, 1].

    Two pixels match within 0.75 % of the image's diagonal, rounded to whole pixels, at least one.
    Of instances, the classes are object and background.

    Args:
        segmented: what is predicted for each image of the test split.
        splits: images with masks.

    Returns:
        The mean, or NaN where nothing has a boundary.
    """
    count = 2 if splits.instances else len(splits.classes)
    total = np.zeros((2, count))
    for result, record in zip(segmented, splits.test, strict=True):
        true = segmentation_data.class_mask(record, instances=splits.instances)
        pair = [x.astype(np.int32) for x in (result.classes, true)]
        if splits.instances:
            pair = [np.where(x < IGNORE, np.minimum(x, 1), x) for x in pair]
        tolerance = float(max(round(BOUNDARY_SHARE * math.hypot(*true.shape)), 1))
        # Pixels that do not count fill images up to few sizes, each of which is a compilation.
        around = [(0, -n % STEP) for n in true.shape]
        padded = (np.pad(x, around, constant_values=IGNORE) for x in pair)
        total += np.stack(_boundary_f1(*padded, num_classes=count, tolerance=tolerance))
    counted = total[1] > 0
    return float(np.mean(total[0][counted] / total[1][counted])) if counted.any() else math.nan


def _precision(result: Segmented, record: Record) -> np.ndarray:
    """The challenge's precision of one image, at its ten thresholds."""
    predicted = np.asarray(require(result.instances, "instances"))
    return metrics.instance_precision(
        *metrics.instance_counts(predicted, np.asarray(record.mask).astype(np.int32))
    )


def _pixel_confusion(predicted: np.ndarray, true: np.ndarray, num_classes: int) -> np.ndarray:
    """As `metrics.pixel_confusion`, on the host: the sizes of images differ."""
    counts = true < num_classes
    cells = true[counts].astype(np.int64) * num_classes + predicted[counts]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
