"""The result of every reader: a `Dataset`, a sequence of `Record`s."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import numpy as np
from jaxtyping import Bool, Float32, Int32, Integer, UInt8

# Shared by all records that have none, of which there may be a million.
_NO_BOXES = np.zeros((0, 4), np.float32)
_NO_LABELS = np.zeros(0, np.int32)
_NO_CROWD = np.zeros(0, bool)


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """One image with its annotations.

    Attributes:
        id: name of the image, unique in its dataset.
        image: file of the image, or its pixels, with 1 or 3 channels.
        boxes: `(x_min, y_min, x_max, y_max)` in pixels, continuous coordinates: the image spans
            `[0, w] × [0, h]`.
        labels: one class index per box; a classified image has one label and no boxes.
        crowd: objects on which a detector is not scored (COCO's `iscrowd`, VOC's `difficult`).
        mask: file or array of instance or class ids, 0 is background.
    """

    id: str
    image: Path | UInt8[np.ndarray, "h w c"]
    boxes: Float32[np.ndarray, "n 4"] = field(default_factory=lambda: _NO_BOXES)
    labels: Int32[np.ndarray, " n_or_1"] = field(default_factory=lambda: _NO_LABELS)
    crowd: Bool[np.ndarray, " n"] = field(default_factory=lambda: _NO_CROWD)
    mask: Path | Integer[np.ndarray, "h w"] | None = None

    def __post_init__(self):
        n = len(self.boxes)
        if len(self.crowd) != n or len(self.labels) not in ((n,) if n else (0, 1)):
            raise ValueError(
                f"record {self.id}: expected one label and one crowd flag per box, got {n} boxes, "
                f"{len(self.labels)} labels and {len(self.crowd)} crowd flags."
            )


@dataclass(frozen=True, eq=False)
class Dataset(Sequence[Record]):
    """Records with their class names.

    Attributes:
        records: the images.
        classes: names, in the order of the labels.
        problems: what a reader left out or mended, one line each.
        counts: number of problems by kind, in words, also of those that are not listed.
    """

    records: tuple[Record, ...]
    classes: tuple[str, ...]
    problems: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> "Dataset": ...
    def __getitem__(self, index: int | slice) -> "Record | Dataset":
        if isinstance(index, slice):
            return replace(self, records=self.records[index])
        return self.records[index]


def stack(dataset: Dataset) -> dict[str, np.ndarray]:
    """Returns all images of a classified set as two arrays, for sets that fit into memory.

    Args:
        dataset: images in memory, of one size, each with one label.

    Returns:
        `image` float32 [n, h, w, c] in [0, 1] and `labels` int32 [n].

    Raises:
        ValueError: if a record is a file or has not exactly one label, or the sizes differ.
    """
    images = []
    for record in dataset:
        if isinstance(record.image, Path) or len(record.labels) != 1 or len(record.boxes):
            raise ValueError(f"record {record.id}: expected pixels and one label.")
        images.append(record.image)
        if record.image.shape != images[0].shape:
            raise ValueError(
                f"record {record.id}: expected shape {images[0].shape}, got {record.image.shape}."
            )
    return {
        "image": np.stack(images).astype(np.float32) / np.float32(255),
        "labels": np.concatenate([record.labels for record in dataset]),
    }
