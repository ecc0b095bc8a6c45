"""The annotated images that a detector is trained on: drawn scenes of digits, or files."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import jax
import numpy as np

from lectures_jax import data
from lectures_jax.data.files import class_names, is_inside, lines_of, unwrap
from lectures_jax.data.images import THREADS, upright_size
from lectures_jax.data.problems import BadInputError
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
    key: Key,
    *,
    count: int,
    test_count: int,
    size: int = 160,
    image_size: tuple[int, int] | None = None,
    one_class: bool = False,
    **scene: Any,
) -> Splits:
    """Returns scenes of handwritten digits; no digit is in both splits.

    Args:
        key: of the scenes.
        count: scenes to train on.
        test_count: scenes to measure on.
        size: rows and columns of a scene as it is drawn.
        image_size: height and width to which scenes are brought; None: as drawn.
        one_class: all digits are of the one class "digit".
        **scene: of `data.digit_scenes`.
    """
    keys = jax.random.split(key)
    train = data.digit_scenes(keys[0], count=count, split="train", size=size, **scene)
    test = data.digit_scenes(keys[1], count=test_count, split="test", size=size, **scene)
    if one_class:
        train, test = as_one_class(train), as_one_class(test)
    return keep_in_memory(train, test, image_size=image_size or (size, size))


def as_one_class(digits: Dataset) -> Dataset:
    """Returns the same scenes, whose objects are all of the one class "digit".

    Args:
        digits: scenes.
    """
    records = tuple(replace(record, labels=0 * record.labels) for record in digits)
    return replace(digits, records=records, classes=("digit",))


def read_files(
    kind: Kind,
    root: Path | None,
    *,
    splits: tuple[str, str] | None = None,
    classes: Path | None = None,
    strict: bool = True,
    image_size: tuple[int, int] | None = None,
) -> Splits:
    """Returns annotated images from files.

    Args:
        kind: "voc", "coco" or "yolo".
        root: folder of the images and annotations, as the readers of `data` expect it.
        splits: names of the splits to train and to measure on; None: see `split_names`.
        classes: file of class names; see `read_splits`.
        strict: stop at the first faulty record; otherwise leave it out, clip boxes that stick out,
            and list it.
        image_size: height and width, multiples of 32; None: see `common_size`.

    Raises:
        ValueError: if there is no root, or a file is not what it should be.
    """
    train, test = read_splits(kind, root, splits=splits, classes=classes, strict=strict)
    return keep_in_memory(train, test, image_size=image_size or common_size(train))


def read_splits(
    kind: Kind,
    root: Path | None,
    *,
    splits: tuple[str, str] | None = None,
    classes: Path | None = None,
    strict: bool = True,
) -> tuple[Dataset, Dataset]:
    """Returns the two data sets as they are in their files; see `read_files`.

    Args:
        kind: "voc", "coco" or "yolo".
        root: folder of the images and annotations, or one that holds nothing but it.
        splits: names of the splits to train and to measure on; None: see `split_names`.
        classes: file of class names, one per line, of VOC or COCO annotations: the order of the
            labels, and all that an object may have. None: the names in the first split, sorted, or
            those of the COCO file, in its order.
        strict: stop at the first faulty record, such as an object of another class.

    Raises:
        ValueError: if there is no root, a file is not what it should be, or YOLO annotations, whose
            files number the classes, get another file of them.
    """
    if classes is not None and kind not in ("voc", "coco"):
        raise ValueError(f"--classes: expected none for --data {kind}, got {classes}.")
    if root is None:
        raise ValueError(f"--root must name a folder for --data {kind}, got none.")
    if kind not in ("voc", "coco", "yolo"):
        raise ValueError(f"kind must be voc, coco or yolo, got {kind!r}.")
    if not root.is_dir():
        raise ValueError(f"--root must name a folder for --data {kind}, got {root}.")
    root = unwrap(root)
    usual = split_names(kind, root)
    # The names that are usual stand for those that are there.
    first, second = usual if splits in (None, USUAL[kind][0]) else splits
    names = None if classes is None else class_names(lines_of(classes), classes)
    match kind:
        case "voc":
            train = data.read_voc(root, split=first, classes=names, strict=strict)
            test = data.read_voc(root, split=second, classes=train.classes, strict=strict)
        case "coco":
            train = data.read_coco(*_coco_paths(root, first), classes=names, strict=strict)
            paths = _coco_paths(root, second)
            test = data.read_coco(*paths, classes=train.classes, strict=strict)
        case _:
            train, test = (data.read_yolo(root, split=s, strict=strict) for s in (first, second))
    return train, test


_OTHERS = (("train", "test"), ("train", "val"), ("train", "valid"), ("train", "validation"))
USUAL: dict[str, tuple[tuple[str, str], ...]] = {
    "digits": _OTHERS,
    "voc": (("trainval", "test"), *_OTHERS),
    "coco": (*_OTHERS, ("train2017", "val2017"), ("train2014", "val2014")),
    "yolo": _OTHERS,
}
"""Names of the splits to train and to measure on; the first pair that is there counts."""


def split_names(kind: Kind, root: Path | None = None) -> tuple[str, str]:
    """Returns the names of the splits to train and to measure on.

    Args:
        kind: of the annotations.
        root: folder of the images and annotations; the first pair of `USUAL` that is there counts.
            None: the first pair.
    """
    pairs = USUAL[kind]
    if root is None:
        return pairs[0]
    root = unwrap(root)
    there = (pair for pair in pairs if all(_is_there(kind, root, split) for split in pair))
    return next(there, pairs[0])


def _is_there(kind: Kind, root: Path, split: str) -> bool:
    match kind:
        case "voc":
            return (root / "ImageSets" / "Main" / f"{split}.txt").exists()
        case "coco":
            return _coco_paths(root, split)[0].exists()
        case "yolo":
            try:
                data.find_yolo_split(root, split)
            except BadInputError:
                return False
    return True


def _coco_paths(root: Path, split: str) -> tuple[Path, Path]:
    """Returns the annotations and the folder of the images, as COCO or Roboflow places them.

    Raises:
        BadInputError: if the annotations are a link that leaves the root.
    """
    folder = root / "images" / split
    folder = folder if folder.is_dir() else root / split
    beside = folder / "_annotations.coco.json"
    file = root / "annotations" / f"instances_{split}.json"
    file = beside if beside.exists() and not file.exists() else file
    if not is_inside(file, root):
        raise BadInputError(file, "file", f"a path inside {root}", str(file.resolve()))
    return file, folder


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
    with ThreadPoolExecutor(THREADS) as pool:
        sizes = list(pool.map(upright_size, [cast(Path, record.image) for record in dataset]))
    height, width = np.median(sizes, axis=0)
    longer = max(height, width)
    rows, columns = (max(32, round(256 * side / longer / 32) * 32) for side in (height, width))
    return rows, columns
