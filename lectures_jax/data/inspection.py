"""What a data set holds, and what is wrong with it, before a training finds out."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lectures_jax.data.class_folders import Source, open_class_folders
from lectures_jax.data.files import read_file
from lectures_jax.data.images import DAMAGED, THREADS, decode_on_black, upright_size
from lectures_jax.data.problems import BadInputError, ErrorLog
from lectures_jax.data.records import Dataset, Record
from lectures_jax.typing import Batch

TINY = 1 / 64  # of the image's longer side: 4 pixels of 256
FEW = 10  # examples of a class
UNEVEN = 20  # times as many examples of one class as of another


class Item(NamedTuple):
    """An image that could be read.

    Attributes:
        size: height and width.
        labels: of its boxes, or the one of a classified image.
        boxes: xyxy, in pixels; none in a classified image.
        digest: of the file, or of the pixels of an image in memory.
    """

    size: tuple[int, int]
    labels: np.ndarray
    boxes: np.ndarray
    digest: bytes


class Split(NamedTuple):
    """The images of a split, what was left out or mended (the first lines), and how often."""

    name: str
    items: Sequence[Item]
    problems: Sequence[str] = ()
    counts: Mapping[str, int] = {}


class Inspection(NamedTuple):
    """What two splits hold.

    Attributes:
        tables: header and rows by title.
        faults: why a training would be in vain, one sentence each.
        warnings: what is likely to spoil it, one sentence each.
        problems: records that were left out or mended, one line each.
    """

    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[object]]]]
    faults: Sequence[str]
    warnings: Sequence[str]
    problems: Sequence[str]


def split_of_dataset(name: str, dataset: Dataset) -> Split:
    """Returns the split that a reader returned as a data set.

    Args:
        name: of the split.
        dataset: its records, in files or in memory.
    """

    def item(record: Record) -> Item:
        if isinstance(record.image, Path):
            content = read_file(record.image, "image")
            size, digest = upright_size(record.image, content), _digest(content)
        else:
            h, w = record.image.shape[:2]
            size, digest = (h, w), _digest(record.image.tobytes())
        return Item(size, record.labels, record.boxes, digest)

    with ThreadPoolExecutor(THREADS) as pool:
        items = list(pool.map(item, dataset))
    return Split(name, items, dataset.problems, dataset.counts)


def split_of_examples(name: str, examples: Batch) -> Split:
    """Returns the split of classified images in memory.

    Args:
        name: of the split.
        examples: `image` and `labels`, as `read_classified` returns them.
    """
    images, labels = np.asarray(examples["image"]), np.asarray(examples["labels"])
    h, w = images.shape[1:3]
    none = np.zeros((0, 4), np.float32)
    pairs = zip(images, labels[:, None], strict=True)
    return Split(name, [Item((h, w), label, none, _digest(i.tobytes())) for i, label in pairs])


def splits_of_class_folders(root: Path) -> tuple[tuple[str, ...], tuple[Split, Split]]:
    """Returns the classes and the two splits of images in one folder per class.

    Args:
        root: folder or zip file.

    Raises:
        ValueError: if there are no such folders.
    """
    none = np.zeros((0, 4), np.float32)

    def item(source: Source) -> Item | BadInputError:
        try:
            content = source.read()
            h, w = decode_on_black(source.file, content).shape[:2]
        except BadInputError as error:
            return error
        return Item((h, w), np.array([source.label]), none, _digest(content))

    logs = {False: ErrorLog(strict=False), True: ErrorLog(strict=False)}
    items: dict[bool, list[Item]] = {False: [], True: []}
    with open_class_folders(root) as (classes, sources), ThreadPoolExecutor(THREADS) as pool:
        for source, result in zip(sources, pool.map(item, sources), strict=True):
            if isinstance(result, Item):
                items[source.test].append(result)
            else:
                logs[source.test].note(result, kind=DAMAGED)
    first, second = (
        Split(name, items[test], logs[test].lines, logs[test].counts)
        for name, test in (("train", False), ("test", True))
    )
    return classes, (first, second)


def inspect_splits(classes: Sequence[str], train: Split, test: Split, *, boxes: bool) -> Inspection:
    """Returns what two splits hold, and what speaks against a training with them.

    Args:
        classes: names, in the order of the labels.
        train: the split to train on.
        test: the split to measure on.
        boxes: whether the images are annotated with boxes, rather than classified.
    """
    splits = (train, test)
    counts = [_per_class(split, len(classes)) for split in splits]
    unit = "objects" if boxes else "images"
    tables = {
        "Images": image_table(splits, boxes=boxes),
        "Classes": (
            ("class", *(f"{unit} in {split.name}" for split in splits)),
            [(name, *(int(c[i]) for c in counts)) for i, name in enumerate(classes)],
        ),
    }
    if boxes:
        tables["Boxes"] = _box_table(splits)
    faults, warnings = _class_findings(classes, *counts, unit=unit, boxes=boxes)
    for split in splits:
        if len(split.items) < 2:
            faults.append(f"{split.name} has {len(split.items)} images that can be read.")
        damaged = split.counts.get(DAMAGED, 0)
        if damaged > len(split.items):
            faults.append(f"Most images of {split.name} do not decode ({damaged}).")
        warnings += [f"{split.name}: {n} {kind}." for kind, n in split.counts.items()]
    for shared in shared_findings(train, test):
        (faults if shared.startswith("Most") else warnings).append(shared)
    if boxes:
        warnings += _box_findings(splits)
    problems = [line for split in splits for line in split.problems]
    return Inspection(tables, faults, warnings, problems)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _per_class(split: Split, num_classes: int) -> np.ndarray:
    labels = [item.labels for item in split.items]
    return np.bincount(np.concatenate(labels or [np.zeros(0, int)]), minlength=num_classes)


def image_table(splits: Sequence[Split], *, boxes: bool):
    """Returns header and rows of the images and their sizes.

    Args:
        splits: a row each.
        boxes: whether the images without objects are counted.
    """
    rows = []
    for split in splits:
        sizes = sorted((item.size for item in split.items), key=lambda size: size[0] * size[1])
        chosen = (sizes[0], sizes[len(sizes) // 2], sizes[-1]) if sizes else ()
        shown = [f"{w}×{h}" for h, w in chosen] or [None] * 3
        row = (split.name, len(split.items), *shown, len(set(sizes)), sum(split.counts.values()))
        empty = sum(not len(item.labels) for item in split.items)
        rows.append((*row, empty) if boxes else row)
    header = ("split", "images", "smallest", "median", "largest", "sizes", "problems")
    return (*header, "without objects") if boxes else header, rows


def _box_table(splits: Sequence[Split]):
    rows = []
    for split in splits:
        sides = _relative_sides(split)
        most = max((len(item.boxes) for item in split.items), default=0)
        tiny = int((sides < TINY).sum())
        kinds = ("boxes outside of the image", "boxes without area", "duplicate boxes")
        odd = [split.counts.get(kind, 0) for kind in kinds]
        median = float(np.median(sides)) if len(sides) else None
        rows.append((split.name, len(sides), most, median, tiny, *odd))
    header = ("split", "boxes", "most in an image", "median of the shorter side", "tiny")
    return (*header, "sticking out", "without area", "duplicate"), rows


def _relative_sides(split: Split) -> np.ndarray:
    """The shorter side of each box, as a share of the image's longer side."""
    sides = [
        np.min(item.boxes[:, 2:] - item.boxes[:, :2], axis=1) / max(item.size)
        for item in split.items
        if len(item.boxes)
    ]
    return np.concatenate(sides or [np.zeros(0)])


def _class_findings(
    classes: Sequence[str], train: np.ndarray, test: np.ndarray, *, unit: str, boxes: bool
) -> tuple[list[str], list[str]]:
    faults, warnings = [], []
    present = np.flatnonzero(train)
    if boxes and not len(present):
        faults.append("There is no object to train on.")
    if not boxes and len(present) < 2:
        faults.append(f"There must be two classes to tell apart, there are {len(present)}.")
    if not train[test > 0].any():
        faults.append("No class of the second split is in the first.")
    for chosen, what in (
        (train == 0, f"without {unit} to train on"),
        ((train > 0) & (train < FEW), f"with fewer than {FEW} {unit} to train on"),
        (test == 0, f"without {unit} to measure on"),
    ):
        names = [name for name, is_chosen in zip(classes, chosen, strict=True) if is_chosen]
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            warnings.append(f"Classes {what}: {', '.join(names[:5])}{more}.")
    if len(present):
        rarest = int(present[train[present].argmin()])
        most, least = classes[int(train.argmax())], classes[rarest]
        ratio = train.max() / train[rarest]
        if ratio > UNEVEN:
            warnings.append(f"Class {most} has {ratio:.0f} times as many {unit} as {least}.")
    return faults, warnings


def shared_findings(train: Split, test: Split) -> list[str]:
    """Returns sentences about images that are there twice, byte for byte.

    Args:
        train: the split to train on.
        test: the split to measure on.
    """
    sentences = []
    for split in (train, test):
        again = len(split.items) - len({item.digest for item in split.items})
        if again:
            sentences.append(f"{split.name}: {again} images are there twice.")
    digests = {item.digest for item in train.items}
    shared = sum(item.digest in digests for item in test.items)
    if shared:
        share = "Most" if shared > len(test.items) / 2 else "Some"
        sentences.append(
            f"{share} images are in both splits ({shared} of {len(test.items)} in {test.name}), "
            "so that the score will be too good."
        )
    return sentences


def _box_findings(splits: Sequence[Split]) -> list[str]:
    sentences = []
    for split in splits:
        sides = _relative_sides(split)
        tiny, empty = (sides < TINY).mean() if len(sides) else 0, 0
        if split.items:
            empty = Counter(not len(item.boxes) for item in split.items)[True] / len(split.items)
        if tiny > 0.1:
            sentences.append(
                f"{split.name}: {tiny:.0%} of the boxes are tiny, below {TINY:.1%} of the image."
            )
        if empty > 0.5:
            sentences.append(f"{split.name}: {empty:.0%} of the images are without objects.")
    return sentences
