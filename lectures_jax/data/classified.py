"""Small classified images in memory, from wherever they come."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from lectures_jax.data.classified_images import classified_images
from lectures_jax.data.digits import digits
from lectures_jax.data.files import is_inside, lines_of, unwrap
from lectures_jax.data.idx import read_idx
from lectures_jax.data.records import Dataset, stack
from lectures_jax.typing import Batch


class Splits(NamedTuple):
    """Images to train on and images to evaluate on.

    Attributes:
        train: `image` float32 [n, h, w, c] in [0, 1] and `labels` int32 [n].
        test: `image` and `labels` of other images, never trained on.
        classes: names, in the order of the labels.
        levels: values that a pixel can take, evenly spaced from 0 to 1.
    """

    train: Batch
    test: Batch
    classes: tuple[str, ...]
    levels: int


def read_classified(
    kind: Literal["digits", "idx", "images"],
    root: Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    image_size: tuple[int, int] | None = None,
) -> Splits:
    """Reads a classified set of small images and its splits.

    Args:
        kind: "digits", the built-in ones of 8×8 pixels; "idx", the four files of a set in MNIST's
            format, `{train,t10k}-{images-idx3,labels-idx1}-ubyte`, with `.gz` or without;
            "images", a folder with one folder of images per class, or a zip file of such, or with
            one such folder each for `train` and `test`. These come as RGB, upright, black where
            they are transparent. Without splits of its own, four fifths of each class are in
            `train`: a draw that does not change. The classes are mixed. A folder may stand below
            folders that hold nothing else.
        root: folder of the files, or the zip file.
        classes: class names of an IDX set; by default the lines of `classes.txt` beside its files,
            else the numbers. An image folder's are the names of its folders, in the order of
            `classes.txt` if there is one.
        image_size: height and width to which images of a folder are brought, whatever their aspect;
            None: their own size if they have one size, else the median height and width, at most
            96 pixels.

    Raises:
        ValueError: if there is no root where one is needed, a file is not what it should be, or
            there are `classes` for another kind than "idx".
    """
    if classes is not None and kind != "idx":
        raise ValueError(f"classes must be None for kind={kind!r}, got {len(classes)} names.")
    if kind == "digits":
        return Splits(digits(split="train"), digits(split="test"), tuple("0123456789"), 17)
    if root is None:
        raise ValueError(f"root must name a folder for kind={kind!r}, got none.")
    if kind == "images":
        train, test, names = classified_images(root, image_size=image_size)
        return Splits(train, test, names, 256)
    first, second = read_idx_splits(root, classes=classes)
    return Splits(stack(first), stack(second), first.classes, 256)


def read_idx_splits(
    root: Path, *, classes: Sequence[str] | None = None, strict: bool = True
) -> tuple[Dataset, Dataset]:
    """Returns the training and the test set of a folder in MNIST's format; see `read_classified`.

    Args:
        root: folder of the files.
        classes: class names.
        strict: raise if a label has no class; otherwise leave its image out.

    Raises:
        ValueError: if a file is not what it should be.
    """
    root = unwrap(root)
    if classes is None and (root / "classes.txt").exists():
        classes = lines_of(root / "classes.txt", root=root)
    train = read_idx(*_idx_files(root, "train"), classes=classes, strict=strict)
    # Without names, the numbers up to the largest of the training set.
    test = read_idx(*_idx_files(root, "t10k"), classes=train.classes, strict=strict)
    return train, test


def _idx_files(root: Path, split: str) -> list[Path]:
    """Returns the files of images and labels as they are spelled; else as MNIST's are."""
    parts = ("images", "idx3"), ("labels", "idx1")
    files = []
    for what, kind in parts:
        stems = (f"{split}-{what}-{kind}-ubyte", f"{split}-{what}.{kind}-ubyte")
        spelled = [root / f"{stem}{suffix}" for stem in stems for suffix in (".gz", "")]
        existing = [path for path in spelled if path.exists() and is_inside(path, root)]
        files.append(existing[0] if existing else spelled[0])
    return files
