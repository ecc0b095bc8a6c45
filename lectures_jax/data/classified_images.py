"""Small images in one folder per class, on disk or in a zip file, read into memory."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from lectures_jax.data.images import SUFFIXES, decode_on_black
from lectures_jax.data.problems import BadInputError
from lectures_jax.typing import Batch

MAX_FILE = 20_000_000  # bytes of one image's file, unpacked
MAX_FILES = 500_000
MAX_VALUES = 1_000_000_000  # of all images together: 4 GB in memory
TEST_SHARE = 0.2

Entries = dict[str, Callable[[], bytes]]
"""For each image, by its path with the class in front: a function that reads its file."""


def classified_images(root: Path) -> tuple[Batch, Batch, tuple[str, ...]]:
    """Returns the training and the test images, and the classes; see `read_classified`.

    Raises:
        ValueError: with file, field, expected and got.
    """
    if not root.is_file():
        return _split(root, _of_folder(root))
    try:
        with zipfile.ZipFile(root) as archive:
            return _split(root, _of_zip(root, archive))
    except (zipfile.BadZipFile, OSError) as error:
        expected = "a zip file, or a folder with one folder per class"
        raise BadInputError(root, "file", expected, str(error)) from error


def _of_folder(root: Path) -> Entries:
    paths = {path.relative_to(root).as_posix(): path for path in root.glob("*/**/*")}
    entries: Entries = {}
    for name, path in paths.items():
        if _is_image(name) and path.is_file():
            if path.stat().st_size > MAX_FILE:
                raise _too_large(path, path.stat().st_size)
            entries[name] = path.read_bytes
    return entries


def _of_zip(root: Path, archive: zipfile.ZipFile) -> Entries:
    """Nothing is unpacked to disk, so a path that leads out of the zip file does no harm."""

    def read(info: zipfile.ZipInfo) -> bytes:
        try:
            with archive.open(info) as file:
                content = file.read(MAX_FILE + 1)  # the size in the directory may be wrong
        except Exception as error:  # encrypted, damaged, packed in an unknown way
            got = f"{type(error).__name__}: {error}"
            raise BadInputError(root / info.filename, "content", "a file in a zip", got) from error
        if len(content) > MAX_FILE:
            raise _too_large(root / info.filename, len(content))
        return content

    infos = [i for i in archive.infolist() if not i.is_dir() and _is_image(i.filename)]
    for info in infos:
        if info.file_size > MAX_FILE:
            raise _too_large(root / info.filename, info.file_size)
    return {info.filename: lambda info=info: read(info) for info in infos}


def _too_large(file: Path, size: int) -> BadInputError:
    return BadInputError(file, "size", f"at most {MAX_FILE} bytes", str(size))


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return len(path.parts) > 1 and path.suffix.lower() in SUFFIXES and not hidden


def _split(root: Path, entries: Entries) -> tuple[Batch, Batch, tuple[str, ...]]:
    if not entries or len(entries) > MAX_FILES:
        expected = f"one to {MAX_FILES}, in one folder per class"
        raise BadInputError(root, "images", expected, str(len(entries)))
    names = sorted(entries)
    folders = [PurePosixPath(name).parts[0] for name in names]
    classes, labels = np.unique(folders, return_inverse=True)
    images = _decoded(root, names, entries)
    rng, test = np.random.default_rng(0), np.zeros(len(names), bool)
    for label, name in enumerate(classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise BadInputError(root / name, "images", "at least two", str(len(members)))
        test[members[: max(1, round(TEST_SHARE * len(members)))]] = True
    labels = labels.astype(np.int32)
    order = rng.permutation(len(names))  # so that the first images are of all classes
    train, others = (
        {"image": images[chosen], "labels": labels[chosen]}
        for chosen in (order[~test[order]], order[test[order]])
    )
    return train, others, tuple(map(str, classes))


def _decoded(root: Path, names: list[str], entries: Entries) -> np.ndarray:
    def decode(name: str) -> np.ndarray:
        return decode_on_black(root / name, io.BytesIO(entries[name]()))

    first = decode(names[0])
    h, w, _ = first.shape
    if len(names) * first.size > MAX_VALUES:
        expected = f"{MAX_VALUES} values at most"
        raise BadInputError(root, "images", expected, f"{len(names)} of {w}×{h}")
    images = np.empty((len(names), *first.shape), np.float32)
    for i, name in enumerate(names):
        pixels = decode(name)
        if pixels.shape != first.shape:
            got = f"{pixels.shape[1]}×{pixels.shape[0]}"
            raise BadInputError(root / name, "size", f"{w}×{h}, as {names[0]}", got)
        images[i] = pixels / np.float32(255)
    return images
