"""Small classified images in memory, from wherever they come."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from lectures_jax.data.classified_images import classified_images
from lectures_jax.data.digits import digits
from lectures_jax.data.idx import read_idx
from lectures_jax.data.records import stack
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
) -> Splits:
    """Reads a classified set of small images and its splits.

    Args:
        kind: "digits", the built-in ones of 8×8 pixels; "idx", the four files of a set in MNIST's
            format, `{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz`; "images", a folder with one
            folder of images per class, or a zip file of such, all of one size. These come as RGB,
            black where they are transparent, four fifths of each class in `train`: a draw that does
            not change, and mixes the classes.
        root: folder of the files, or the zip file.
        classes: class names of an IDX set.

    Raises:
        ValueError: if there is no root where one is needed, a file is not what it should be, or
            images differ in size.
    """
    if kind == "digits":
        return Splits(digits(split="train"), digits(split="test"), tuple("0123456789"), 17)
    if root is None:
        raise ValueError(f"root must name a folder for kind={kind!r}, got none.")
    if kind == "images":
        train, test, names = classified_images(root)
        return Splits(train, test, names, 256)
    sets = []
    for name in ("train", "t10k"):
        files = (root / f"{name}-{what}-ubyte.gz" for what in ("images-idx3", "labels-idx1"))
        sets.append(read_idx(*files, classes=classes))
    return Splits(stack(sets[0]), stack(sets[1]), sets[0].classes, 256)
