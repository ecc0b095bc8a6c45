"""Images with masks that a segmenter is trained on: drawn scenes of digits, or files."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from lectures_jax import data
from lectures_jax.data.files import at_most, limit
from lectures_jax.data.images import THREADS, decode_image
from lectures_jax.data.problems import BadInputError
from lectures_jax.data.records import Dataset, Record
from lectures_jax.typing import Key

Kind = Literal["digits", "masks"]
"""Digit scenes, which are drawn, or images in files with a mask each."""
BACKGROUND, BORDER = "background", "border"
MAX_MEMORY = 8_000_000_000  # bytes of the decoded images of a set; see `limit`
BORDER_WIDTH = 2  # pixels of an object that are nearer to another one than this are its border


class Splits(NamedTuple):
    """Images with masks, in memory.

    Attributes:
        train: images to train on; a mask holds class ids, or instance ids where `instances`.
        test: images to measure on.
        classes: names of what each pixel is, the background first.
        instances: whether masks hold the ids of objects; the classes are then background, the
            object, and the border between objects that touch.
    """

    train: Dataset
    test: Dataset
    classes: tuple[str, ...]
    instances: bool = False


def draw_scenes(
    key: Key, *, count: int, test_count: int, size: int = 160, largest: float | None = None
) -> Splits:
    """Returns scenes of handwritten digits with a class for each pixel; no digit is in both splits.

    Args:
        key: of the scenes.
        count: scenes to train on.
        test_count: scenes to measure on.
        size: rows and columns of a scene, in pixels.
        largest: height of the largest digit, in pixels; None: see `largest_digit`.
    """
    keys = jax.random.split(key)
    largest = largest_digit(size) if largest is None else largest
    options: dict[str, Any] = {
        "size": size,
        "masks": True,
        "min_size": min(14.0, largest),
        "max_size": largest,
    }
    train = data.digit_scenes(keys[0], count=count, split="train", **options)
    test = data.digit_scenes(keys[1], count=test_count, split="test", **options)
    classes = (BACKGROUND, *train.classes)
    return Splits(_with_class_masks(train, classes), _with_class_masks(test, classes), classes)


def largest_digit(size: int) -> float:
    """Returns the height of the largest digit of a scene: two fifths of it, 64 pixels at most.

    Args:
        size: rows and columns of the scene, in pixels.
    """
    return min(64.0, 0.4 * size)


def read_files(
    root: Path | None,
    *,
    splits: tuple[str, str] | None = None,
    classes: Path | None = None,
    instances: bool | None = None,
    strict: bool = True,
) -> Splits:
    """Returns images and masks from files, all in memory.

    Args:
        root: folder of images and masks; see `data.read_mask_folders`.
        splits: names of the splits to train and to measure on; None: those that are there.
        classes: file of class names, maybe with colors; see `data.read_mask_folders`.
        instances: whether the masks hold ids of objects; None: see `data.read_mask_folders`.
        strict: stop at the first faulty file; otherwise leave it out and list it.

    Raises:
        ValueError: if there is no root, or a file is not what it should be.
    """
    if root is None:
        raise ValueError("--root must name a folder for --data masks, got none.")
    train, test, of_objects = data.read_mask_folders(
        root, splits=splits, classes=classes, instances=instances, strict=strict
    )
    names = (*train.classes, BORDER) if of_objects else train.classes
    return Splits(in_memory(train), in_memory(test), names, of_objects)


def in_memory(dataset: Dataset) -> Dataset:
    """Returns a set whose images are decoded, each in its own size.

    Args:
        dataset: records with masks in memory.

    Raises:
        BadInputError: if they would take more memory than `MAX_MEMORY`.
    """
    sizes = [3 * np.asarray(record.mask).size for record in dataset]
    first = dataset[0].image
    if sum(sizes) > limit(MAX_MEMORY) and isinstance(first, Path):
        raise BadInputError(
            first.parent, "pixels", at_most(MAX_MEMORY, "bytes in memory"), str(sum(sizes))
        )

    def load(record: Record) -> Record:
        if not isinstance(record.image, Path):
            return record
        return replace(record, image=decode_image(record.image))

    with ThreadPoolExecutor(THREADS) as pool:
        return replace(dataset, records=tuple(pool.map(load, dataset)))


def class_mask(record: Record, *, instances: bool) -> np.ndarray:
    """Returns the class of each pixel, uint8 [h, w], 255 where it does not count.

    Args:
        record: with a mask in memory.
        instances: whether the mask holds ids of objects: 1 is then the inside of an object, and 2
            its pixels within two rows and columns of another one.
    """
    mask = np.asarray(record.mask)
    if not instances:
        return mask.astype(np.uint8)
    inside = mask > 0
    border = data.touching(mask, width=BORDER_WIDTH)
    return np.where(border & inside, 2, inside).astype(np.uint8)


def examples(
    dataset: Dataset, *, instances: bool, border_weight: float = 0.0
) -> list[Mapping[str, np.ndarray]]:
    """Returns the arrays that `data.crops` cuts: `image`, `mask` and, of instances, `weights`.

    Args:
        dataset: records in memory.
        instances: whether masks hold ids of objects.
        border_weight: height of the weight between objects (see `data.border_weights`); 0: the
            pixels have no weights.
    """

    def arrays(record: Record) -> Mapping[str, np.ndarray]:
        image = np.asarray(record.image)
        if image.shape[2] == 1:
            image = np.repeat(image, 3, axis=2)
        made = {"image": image, "mask": class_mask(record, instances=instances)}
        if instances and border_weight:
            ids = np.asarray(record.mask)
            between = data.border_weights(ids, height=border_weight)
            between -= data.border_weights(ids, height=0.0)
            weights = 1 + np.where(made["mask"] == 2, border_weight, between)
            made["weights"] = weights.astype(np.float32)
        return made

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(arrays, dataset))


def _with_class_masks(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    """The scenes with the class of each pixel, in place of the number of the box."""
    records = []
    for record in dataset:
        of_id = np.concatenate([[0], record.labels + 1]).astype(np.uint8)
        records.append(replace(record, mask=of_id[np.asarray(record.mask)]))
    return replace(dataset, records=tuple(records), classes=classes)
