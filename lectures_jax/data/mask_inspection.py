"""What a set of images with masks holds, and what is wrong with it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lectures_jax.data.class_table import IGNORE
from lectures_jax.data.images import DAMAGED
from lectures_jax.data.inspection import (
    FEW,
    Inspection,
    Split,
    image_table,
    shared_findings,
    split_of_dataset,
)
from lectures_jax.data.instances import touching
from lectures_jax.data.records import Dataset

RARE = 0.001  # of the pixels


class _Pixels(NamedTuple):
    """Pixels of each class, images that hold it, and pixels that do not count."""

    counts: np.ndarray
    images: np.ndarray
    ignored: int


def inspect_masks(
    classes: Sequence[str], train: Dataset, test: Dataset, *, instances: bool
) -> Inspection:
    """Returns what two sets of images with masks hold, and what speaks against training on them.

    Args:
        classes: names, in the order of the ids; of instances only the objects are counted.
        train: the set to train on, masks in memory.
        test: the set to measure on, masks in memory.
        instances: whether masks hold the ids of objects.
    """
    splits = [split_of_dataset(n, d) for n, d in (("train", train), ("test", test))]
    header, rows = image_table(splits, boxes=False)
    tables: dict[str, Any] = {"Images": (header, rows)}
    faults, warnings = _image_findings(splits)
    if instances:
        tables["Objects"] = _object_table((train, test))
        if not any(_flat(record.mask).any() for record in train):
            faults.append("There is no object to train on.")
    else:
        pixels = [_pixels(dataset, len(classes)) for dataset in (train, test)]
        tables["Classes"] = _class_table(classes, *pixels)
        more = _class_findings(classes, *pixels)
        faults, warnings = faults + more[0], warnings + more[1]
    problems = [line for split in splits for line in split.problems]
    return Inspection(tables, faults, warnings, problems)


def _image_findings(splits: Sequence[Split]) -> tuple[list[str], list[str]]:
    faults, warnings = [], []
    for split in splits:
        if len(split.items) < 2:
            faults.append(f"{split.name} has {len(split.items)} images that can be read.")
        damaged = split.counts.get(DAMAGED, 0)
        if damaged > len(split.items):
            faults.append(f"Most images or masks of {split.name} do not decode ({damaged}).")
        warnings += [f"{split.name}: {n} {kind}." for kind, n in split.counts.items()]
    for sentence in shared_findings(splits[0], splits[1]):
        (faults if sentence.startswith("Most") else warnings).append(sentence)
    return faults, warnings


def _pixels(dataset: Dataset, num_classes: int) -> _Pixels:
    counts = np.array([np.bincount(_flat(record.mask), minlength=256) for record in dataset])
    known = counts[:, :num_classes]
    return _Pixels(known.sum(axis=0), (known > 0).sum(axis=0), int(counts[:, IGNORE].sum()))


def _flat(mask: Any) -> np.ndarray:
    return np.asarray(mask).ravel()


def _class_table(classes: Sequence[str], train: _Pixels, test: _Pixels):
    rows: list[tuple[object, ...]] = []
    for i, name in enumerate(classes):
        shares = [p.counts[i] / max(p.counts.sum(), 1) for p in (train, test)]
        images = int(train.images[i]), int(test.images[i])
        rows.append((name, *(float(share) for share in shares), *images))
    ignored = [float(p.ignored / max(p.ignored + p.counts.sum(), 1)) for p in (train, test)]
    rows.append(("(does not count)", *ignored, None, None))
    header = ("class", "share of train's pixels", "of test's", "images in train", "in test")
    return header, rows


def _class_findings(
    classes: Sequence[str], train: _Pixels, test: _Pixels
) -> tuple[list[str], list[str]]:
    faults, warnings = [], []
    if (train.counts > 0).sum() < 2:
        faults.append("There must be two classes to tell apart, there are fewer in train's masks.")
    share = train.counts / max(train.counts.sum(), 1)
    for chosen, what in (
        (train.counts == 0, "without pixels to train on"),
        ((train.images > 0) & (train.images < FEW), f"in fewer than {FEW} images to train on"),
        ((train.counts > 0) & (share < RARE), f"with less than {RARE:.1%} of train's pixels"),
        (test.counts == 0, "without pixels to measure on"),
    ):
        names = [name for name, is_chosen in zip(classes, chosen, strict=True) if is_chosen]
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            warnings.append(f"Classes {what}: {', '.join(names[:5])}{more}.")
    return faults, warnings


def _object_table(datasets: Sequence[Dataset]):
    rows = []
    for name, dataset in zip(("train", "test"), datasets, strict=True):
        areas, per_image, near = [], [], 0
        for record in dataset:
            mask = np.asarray(record.mask)
            counts = np.bincount(mask.ravel())[1:]
            areas.append(counts[counts > 0])
            per_image.append(int((counts > 0).sum()))
            near += len(np.unique(mask[touching(mask) & (mask > 0)]))
        joined = np.concatenate(areas)
        diameter = float(2 * np.sqrt(np.median(joined) / np.pi)) if len(joined) else None
        share = float(near / max(len(joined), 1))
        rows.append((name, len(joined), max(per_image, default=0), diameter, share))
    header = ("split", "objects", "most in an image", "median diameter", "share that touch")
    return header, rows
