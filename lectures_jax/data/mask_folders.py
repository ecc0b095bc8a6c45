"""Images with PNG masks in the layouts that people have: class ids, colors, or instance ids."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from lectures_jax.data.class_table import (
    IGNORE,
    NAMES,
    ClassTable,
    check_ids,
    decode_ids,
    read_class_table,
)
from lectures_jax.data.files import lines_of, unwrap
from lectures_jax.data.images import DAMAGED, THREADS, verify
from lectures_jax.data.instances import connected_components
from lectures_jax.data.masks import file_stems, pair_files
from lectures_jax.data.problems import BadInputError, ErrorLog, build_dataset
from lectures_jax.data.records import Dataset, Record

IMAGES = ("images", "image", "imgs", "img", "JPEGImages")
MASKS = ("masks", "mask", "labels", "annotations", "SegmentationClass")
PAIRS = (("train", "test"), ("train", "val"), ("train", "valid"), ("train", "validation"))
"""Names of the splits to train and to measure on; the first pair that is there counts."""
TEST_SHARE = 0.2
LISTS = Path("ImageSets") / "Segmentation"
LOOKED_AT = 50  # masks, to see whether they hold the ids of objects
ONE_PIECE = 0.9  # share of the ids that are one connected component, if they are those of objects


class MaskSplits(NamedTuple):
    """Two sets with their masks in memory.

    Attributes:
        train: images to train on.
        test: images to measure on.
        instances: whether masks hold the ids of objects rather than of classes.
    """

    train: Dataset
    test: Dataset
    instances: bool


class Source(NamedTuple):
    """Where the images of a split are.

    Attributes:
        images: folder.
        masks: folder.
        stems: names without suffix.
        listed: file or folder that lists them.
    """

    images: Path
    masks: Path
    stems: Sequence[str]
    listed: Path


class _Mask(NamedTuple):
    """A decoded mask, and the files."""

    stem: str
    image: Path
    file: Path
    ids: np.ndarray


def read_mask_folders(
    root: Path | str,
    *,
    splits: tuple[str, str] | None = None,
    classes: Path | str | None = None,
    instances: bool | None = None,
    strict: bool = True,
) -> MaskSplits:
    """Reads images with a PNG mask each, of the same name.

    The images are in `images` and the masks in `masks` (or in `labels`, `annotations`), with lists
    of names `train.txt` and `test.txt` beside them, or with a folder per split below them, or in
    a folder per split that holds both; or in VOC's `JPEGImages`, `SegmentationClass` and
    `ImageSets/Segmentation`. Without any splits a fifth of the images is drawn to be measured on,
    which `Dataset.problems` mentions.

    A mask holds class ids, 0 for the background and 255 for what does not count; of a palette the
    indices count; colors need a table. A set whose masks hold 0 and 255 alone has two classes.
    Every image and mask is decoded once, so that none fails later.

    Args:
        root: folder of the set, or one that holds nothing but it.
        splits: names of the splits; None: the first pair of `PAIRS` that is there.
        classes: file with a class per line, and maybe its color (see `class_table`); None: one of
            `NAMES` in the root, or else the ids that are there.
        instances: whether masks hold the ids of objects, which become 1, 2, … in each; None: if
            there is no table, and the ids of each mask are 1, 2, … in one piece each, not the
            same number in all masks.
        strict: raise at the first problem; otherwise leave out the image and list it in
            `Dataset.problems`.

    Returns:
        The two sets, masks in memory. Their classes begin with the background; those of instances
        are background and object.

    Raises:
        ValueError: with file, field, expected and got.
    """
    root = unwrap(Path(root))
    if not root.is_dir():
        raise BadInputError(root, "root", "a folder of images and masks", "no folder")
    logs = ErrorLog(strict), ErrorLog(strict)
    sources = _find_sources(root, splits, logs[0])
    beside = next((root / name for name in NAMES if (root / name).is_file()), None)
    file = beside if classes is None else Path(classes)
    table = None if file is None else read_class_table(file)
    both = [list(_decoded(s, table, log)) for s, log in zip(sources, logs, strict=True)]
    every = [mask for masks in both for mask in masks]
    if instances is None:
        instances = table is None and _hold_instances([mask.ids for mask in every])
        if instances:
            remark = (
                "the masks look like ids of objects (if not: --masks classes, instances=False)."
            )
            logs[0].remark(f"{root}: {remark}", kind="remark: masks taken for those of objects")
    if instances:
        name = table.names[-1] if table is not None else "object"
        table = ClassTable(("background", name))
    elif table is None or table.colors is None:
        both, table = _plain(root, both, table, logs[0])
    train, test = (
        _dataset(source, masks, table, log, instances=instances)
        for source, masks, log in zip(sources, both, logs, strict=True)
    )
    return MaskSplits(train, test, instances)


def _find_sources(
    root: Path, splits: tuple[str, str] | None, problems: ErrorLog
) -> tuple[Source, Source]:
    """Returns where the images of the two splits are.

    Args:
        root: folder of the set.
        splits: names of the splits; None: the first pair of `PAIRS` that is there.
        problems: gets a line where splits are drawn.

    Raises:
        BadInputError: if there are no such folders, or not these splits.
    """
    pairs = (*PAIRS, ("trainval", "test")) if splits is None else (splits,)
    for pair in pairs:
        first, second = (_source(root, split) for split in pair)
        if first is not None and second is not None:
            return first, second
    together = _folders(root)
    if together is None or splits is not None:
        expected = f"{IMAGES[0]} and {MASKS[0]}" + (f", split as {pairs[0]}" if splits else "")
        names = sorted(path.name for path in root.iterdir())[:8]
        raise BadInputError(root, "folders", expected, ", ".join(names))
    images, masks = together
    stems = file_stems(images)
    if len(stems) < 2:
        raise BadInputError(images, "images", "at least two", str(len(stems)))
    count = max(1, round(len(stems) * TEST_SHARE))
    test = set(np.random.default_rng(0).permutation(stems)[:count].tolist())
    remark = f"{root}: there are no splits: {count} of {len(stems)} images were drawn to be "
    problems.remark(f"{remark}measured on.", kind="remark: splits drawn by the reader")
    kept = [stem for stem in stems if stem not in test]
    return Source(images, masks, kept, images), Source(images, masks, sorted(test), images)


def _hold_instances(masks: Sequence[np.ndarray]) -> bool:
    """Returns whether masks look like those of objects, by their numbers.

    Args:
        masks: of a set.
    """
    counts, pieces = set(), []
    for ids in masks[:LOOKED_AT]:
        numbers = np.unique(ids)
        numbers = numbers[numbers > 0]
        if not np.array_equal(numbers, np.arange(1, len(numbers) + 1)):
            return False
        counts.add(len(numbers))
        boxes = ndimage.find_objects(ids)
        pieces += [
            connected_components(ids[box] == number).max() == 1
            for number, box in enumerate(boxes, 1)
        ]
    several = max(counts, default=0) > 1 and len(counts) > 1
    return several and float(np.mean(pieces)) >= ONE_PIECE


def _source(root: Path, split: str) -> Source | None:
    """Where the images of a split are; None where it is not there."""
    for listed in (root / LISTS / f"{split}.txt", root / f"{split}.txt"):
        together = _folders(root)
        if listed.is_file() and together is not None:
            return Source(*together, lines_of(listed, root=root), listed)
    below = _folders(root / split)
    if below is None:
        names = product(IMAGES, MASKS)
        below = next(
            (
                (root / i / split, root / m / split)
                for i, m in names
                if (root / i / split).is_dir() and (root / m / split).is_dir()
            ),
            None,
        )
    return None if below is None else Source(*below, file_stems(below[0]), below[0])


def _folders(root: Path) -> tuple[Path, Path] | None:
    """The folders of images and masks in a folder."""
    images = next((root / name for name in IMAGES if (root / name).is_dir()), None)
    masks = next((root / name for name in MASKS if (root / name).is_dir()), None)
    return None if images is None or masks is None else (images, masks)


def _decoded(source: Source, table: ClassTable | None, problems: ErrorLog) -> Iterator[_Mask]:
    """The masks that decode, of the size of their images, which decode, too."""

    def decode(file: Path) -> np.ndarray | BadInputError:
        try:
            return decode_ids(file, table)
        except BadInputError as error:
            return error

    pairs = pair_files(source.images, source.masks, source.stems, source.listed, problems)
    sizes = verify([image for image, _ in pairs.values()], problems)
    with ThreadPoolExecutor(THREADS) as pool:
        decoded = pool.map(decode, [mask for _, mask in pairs.values()])
        for (stem, (image, file)), ids in zip(pairs.items(), decoded, strict=True):
            if isinstance(ids, BadInputError):
                problems.note(ids, kind=DAMAGED)
            elif image in sizes and ids.shape != sizes[image]:
                expected = f"those of the image, {sizes[image]}"
                problems.add(file, "height, width", expected, ids.shape)
            elif image in sizes:
                small = ids.min() >= 0 and ids.max() <= IGNORE
                yield _Mask(stem, image, file, ids.astype(np.uint8) if small else ids)


def _plain(
    root: Path, both: list[list[_Mask]], table: ClassTable | None, problems: ErrorLog
) -> tuple[list[list[_Mask]], ClassTable]:
    """Masks of class ids and their table, which is made of the ids where there is none."""
    ids = sorted({int(i) for masks in both for mask in masks for i in np.unique(mask.ids)})
    two = table is None or len(table.names) == 2
    if two and ids == [0, IGNORE]:
        remark = f"the masks hold 0 and {IGNORE} alone: {IGNORE} is the second class."
        problems.remark(f"{root}: {remark}", kind="remark: 255 taken for the second class")
        both = [[mask._replace(ids=mask.ids // IGNORE) for mask in masks] for masks in both]
        ids = [0, 1]
    if table is not None:
        return both, table
    last = max((i for i in ids if i != IGNORE), default=0)
    if last > IGNORE:
        expected = f"class ids of at most {IGNORE - 1}, or the ids of objects (--masks instances)"
        raise BadInputError(root, "masks", expected, last)
    present = [i for i in ids if 0 < i <= last]
    if len(present) * 2 < last:
        expected = "a list of the classes (classes.txt), or class ids of which most occur"
        shown = ", ".join(map(str, present[:6])) + (", …" if len(present) > 6 else "")
        raise BadInputError(root, "masks", expected, shown)
    names = ("background", "object") if last <= 1 else ("background", *map(str, range(1, last + 1)))
    return both, ClassTable(names)


def _dataset(
    source: Source, masks: list[_Mask], table: ClassTable, problems: ErrorLog, *, instances: bool
) -> Dataset:
    records = []
    for mask in masks:
        try:
            if not instances:
                check_ids(mask.ids.astype(np.int32), table, mask.file)
            ids = _consecutive(mask) if instances else mask.ids
        except BadInputError as error:
            problems.note(error, kind="ids of no class or object")
        else:
            records.append(Record(mask.stem, mask.image, mask=ids))
    return build_dataset(records, table.names, problems, source.listed)


def _consecutive(mask: _Mask) -> np.ndarray:
    """The ids of objects as 1, 2, …, whichever numbers the file has."""
    numbers, ids = np.unique(mask.ids, return_inverse=True)
    if numbers[0] < 0:
        raise BadInputError(mask.file, "id of an object", "at least 0", int(numbers[0]))
    return (ids.reshape(mask.ids.shape) + (numbers[0] > 0)).astype(np.int32)
