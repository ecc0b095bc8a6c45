"""The annotated images that a detector is trained on: drawn scenes of digits, or files."""

from pathlib import Path
from typing import Literal, NamedTuple, cast

import jax
import numpy as np
from PIL import Image

from lectures_jax import data
from lectures_jax.data.records import Dataset
from lectures_jax.typing import Key

Kind = Literal["digits", "voc", "coco", "yolo"]
"""Digit scenes, which are drawn, or images in files with VOC, COCO or YOLO annotations."""


class Splits(NamedTuple):
    """Annotated images of one size, in memory.

    Attributes:
        train: images to train on.
        test: images to measure on.
        image_size: height and width of all, in pixels.
        max_boxes: most objects in one image.
    """

    train: Dataset
    test: Dataset
    image_size: tuple[int, int]
    max_boxes: int


def draw_scenes(
    key: Key, *, count: int, test_count: int, image_size: tuple[int, int] | None = None
) -> Splits:
    """Returns scenes of handwritten digits; no digit is in both splits.

    Args:
        key: of the scenes.
        count: scenes to train on.
        test_count: scenes to measure on.
        image_size: height and width to which scenes of 160×160 pixels are brought; None: as drawn.
    """
    keys = jax.random.split(key)
    return keep_in_memory(
        data.digit_scenes(keys[0], count=count, split="train"),
        data.digit_scenes(keys[1], count=test_count, split="test"),
        image_size=image_size or (160, 160),
    )


def read_files(
    kind: Kind,
    root: Path | None,
    *,
    splits: tuple[str, str] | None = None,
    strict: bool = True,
    image_size: tuple[int, int] | None = None,
) -> Splits:
    """Returns annotated images from files; the classes are those of the first split.

    Args:
        kind: "voc", "coco" or "yolo".
        root: folder of the images and annotations, as the readers of `data` expect it.
        splits: names of the splits to train and to measure on; None: see `split_names`.
        strict: stop at the first faulty record; otherwise leave it out and list it.
        image_size: height and width, multiples of 32; None: see `common_size`.

    Raises:
        ValueError: if there is no root, or a file is not what it should be.
    """
    if root is None:
        raise ValueError(f"--root must name a folder for --data {kind}, got none.")
    first, second = splits or split_names(kind)
    match kind:
        case "voc":
            train = data.read_voc(root, split=first, strict=strict)
            test = data.read_voc(root, split=second, classes=train.classes, strict=strict)
        case "coco":
            train, test = (
                data.read_coco(
                    root / "annotations" / f"instances_{s}.json", root / s, strict=strict
                )
                for s in (first, second)
            )
        case "yolo":
            train, test = (data.read_yolo(root, split=s, strict=strict) for s in (first, second))
        case _:
            raise ValueError(f"kind must be voc, coco or yolo, got {kind!r}.")
    return keep_in_memory(train, test, image_size=image_size or common_size(train))


def split_names(kind: Kind) -> tuple[str, str]:
    """Returns the names of the splits to train and to measure on: VOC has its own.

    Args:
        kind: of the annotations.
    """
    return ("trainval", "test") if kind == "voc" else ("train", "test")


def keep_in_memory(train: Dataset, test: Dataset, *, image_size: tuple[int, int]) -> Splits:
    """Returns two sets with every image decoded and brought to one size.

    Args:
        train: images to train on.
        test: images to measure on.
        image_size: height and width in pixels, multiples of 32.
    """
    train, test = (data.in_memory(split, image_size=image_size) for split in (train, test))
    max_boxes = max(len(record.boxes) for split in (train, test) for record in split)
    return Splits(train, test, image_size, max_boxes)


def common_size(dataset: Dataset) -> tuple[int, int]:
    """Returns 256 pixels for the longer side of the median shape, and for the shorter its share.

    Args:
        dataset: records whose images are files.

    Returns:
        Height and width, multiples of 32.
    """
    sizes = []
    for record in dataset:
        with Image.open(cast(Path, record.image)) as image:
            sizes.append(image.size)
    width, height = np.median(sizes, axis=0)
    longer = max(height, width)
    rows, columns = (max(32, round(256 * side / longer / 32) * 32) for side in (height, width))
    return rows, columns
