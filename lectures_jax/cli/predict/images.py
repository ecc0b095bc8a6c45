"""The images that a model is given, from files of which some may be damaged."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np


def list_images(images: Path | None, out: Path, *, kind: str) -> list[Path]:
    """Returns the files to read, in the order of their names.

    Args:
        images: an image, or a folder of them.
        out: folder that will be written to.
        kind: of the model, for the message.

    Raises:
        ValueError: if there is no image, or `out` is the images' own folder.
    """
    from lectures_jax.data.images import SUFFIXES

    if images is None:
        raise ValueError(f"IMAGES: expected an image or a folder for a {kind}, got none.")
    if images.is_file():
        files = [images]
    elif images.is_dir():
        files = sorted(file for file in images.iterdir() if file.suffix.lower() in SUFFIXES)
    else:
        raise ValueError(f"IMAGES: expected an image or a folder, got {images}.")
    if not files:
        raise ValueError(f"IMAGES: expected images ({' '.join(SUFFIXES)}) in {images}, got none.")
    if out.resolve() == files[0].parent.resolve():
        raise ValueError(f"--out: expected another folder than that of the images, got {out}.")
    return files


class Reader:
    """Decodes files one by one; one that cannot be read gives a line on standard error.

    Args:
        files: of the images.
        decode: what makes an array of a file, or raises `ValueError`.

    Attributes:
        failed: whether a file could not be read.
    """

    def __init__(self, files: Sequence[Path], decode: Callable[[Path], np.ndarray]):
        self.files = files
        self.decode = decode
        self.failed = False

    def __iter__(self) -> Iterator[tuple[Path, np.ndarray]]:
        for file in self.files:
            try:
                image = self.decode(file)
            except ValueError as error:
                print(f"ljx: {error}", file=sys.stderr)
                self.failed = True
                continue
            yield file, image
