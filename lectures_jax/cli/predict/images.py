"""The images that a model is given, from files of which some may be damaged."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Inputs:
    """The images to read.

    Attributes:
        folder: that their names are relative to.
        files: of the images, in the order of their names.
    """

    folder: Path
    files: list[Path]

    def name(self, file: Path) -> str:
        """Returns the name of a file relative to the folder."""
        return file.relative_to(self.folder).as_posix()

    def drawing(self, out: Path, file: Path, *, suffix: str = ".png") -> Path:
        """Returns where the drawing of a file goes: its name with another suffix.

        The file's own suffix stays before that one where the name would be another file's, too.

        Args:
            out: folder of the drawings.
            file: of the image.
            suffix: of the drawing.
        """
        relative = file.relative_to(self.folder)
        if self._names[file.with_suffix("")] == 1:
            relative = relative.with_suffix("")
        return out / relative.with_name(f"{relative.name}{suffix}")

    @cached_property
    def _names(self) -> Counter[Path]:
        """How many files have this name, with or without their suffix."""
        return Counter([*self.files, *(file.with_suffix("") for file in self.files)])


def list_images(images: Path | None, out: Path, *, kind: str, recursive: bool = False) -> Inputs:
    """Returns the files to read; what is no image by its suffix is named and left out.

    Args:
        images: an image, or a folder of them.
        out: folder that will be written to.
        kind: of the model, for the message.
        recursive: whether images below the folder's subfolders are read, too; not those in `out`.

    Raises:
        ValueError: if there is no image, or images could be overwritten in `out`.
    """
    from lectures_jax.data.files import is_litter
    from lectures_jax.data.images import SUFFIXES

    if images is None:
        raise ValueError(f"IMAGES: expected an image or a folder for a {kind}, got none.")
    folder = images if images.is_dir() else images.parent
    if images.is_dir():
        entries = sorted(images.rglob("*") if recursive else images.iterdir())
        written = out.resolve()
        present = [
            file
            for file in entries
            if not is_litter(file.relative_to(images))
            and (file.parent == images or not file.resolve().is_relative_to(written))
        ]
        files = [file for file in present if file.suffix.lower() in SUFFIXES]
        _name_skipped([file.name for file in present if file not in files and file.is_file()])
    elif images.exists():
        files = [images]
    else:
        raise ValueError(f"IMAGES: expected an image or a folder, got {images}.")
    if not files:
        raise ValueError(f"IMAGES: expected images ({' '.join(SUFFIXES)}) in {images}, got none.")
    check_out(out, folder, files)
    return Inputs(folder, files)


def check_out(out: Path, folder: Path, files: Sequence[Path]) -> None:
    """Refuses a folder for results in which images of the user could be overwritten.

    Args:
        out: folder that will be written to.
        folder: of the images or of the video.
        files: that are read.

    Raises:
        ValueError: if `out` holds the images, or is one of their folders with other images.
    """
    from lectures_jax.data.images import SUFFIXES

    target = out.resolve()
    if any(target in file.resolve().parents for file in files):
        raise ValueError(f"--out: expected another folder than one of the images, got {out}.")
    if folder.resolve() in target.parents and not (out / "predictions.json").exists():
        there = [p.name for p in out.rglob("*") if p.suffix.lower() in SUFFIXES]
        if there:
            raise ValueError(f"--out: expected a folder without images, got {out} with {there[0]}.")


def _name_skipped(names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        print(f"skipped, as no image by its suffix: {', '.join(names[:5])}{more}")


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
