"""Finds classified images: one folder per class, on disk or in a zip file, of any layout."""

import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from lectures_jax.data.files import (
    MAX_FILES,
    at_most,
    class_names,
    is_inside,
    is_litter,
    limit,
    open_file,
    read_file,
)
from lectures_jax.data.images import SUFFIXES
from lectures_jax.data.problems import BadInputError

MAX_FILE = 20_000_000  # bytes of one image's file, unpacked
MAX_TOTAL = 2_000_000_000  # bytes of all files of a zip file, unpacked
TEST_SHARE = 0.2
TRAIN = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation")
"""Names of a folder of the images to measure on; the first that is there counts."""

Entries = dict[str, Callable[[], bytes]]
"""For each file, by its path below the root: a function that reads it."""


class Source(NamedTuple):
    """An image that was not read yet.

    Attributes:
        file: its path, for messages.
        label: index of its class.
        test: whether it is of the split to measure on.
        read: gives the content of its file.
    """

    file: Path
    label: int
    test: bool
    read: Callable[[], bytes]


@contextmanager
def open_class_folders(root: Path) -> Iterator[tuple[tuple[str, ...], list[Source]]]:
    """Yields the classes and the images of a folder or a zip file.

    The images are in `CLASS/…` or in `{train,test}/CLASS/…`, in any case below folders that hold
    nothing else. Without splits of its own, a fifth of each class is to be measured on: a draw that
    does not change. A file `classes.txt` orders the classes, or names folders that are numbers.

    Args:
        root: folder or zip file.

    Raises:
        ValueError: with file, field, expected and got.
    """
    if not root.is_file():
        yield _arranged(root, _of_folder(root))
        return
    with open_file(root, "zip") as file:
        try:
            _check_directory(root, iter(lambda: file.read(1 << 20), b""))
            file.seek(0)
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            if isinstance(error, BadInputError):
                raise
            expected = "a zip file, or a folder with one folder per class"
            raise BadInputError(root, "file", expected, str(error)) from error
        with archive:
            yield _arranged(root, _of_zip(root, archive))


def _of_folder(root: Path) -> Entries:
    entries: Entries = {}
    count = 0
    for folder, folders, files in os.walk(root):
        for name in folders:
            if (Path(folder) / name).is_symlink():
                raise BadInputError(Path(folder) / name, "folder", "a folder", "a link to one")
        count += len(files)
        if count > limit(MAX_FILES):
            raise BadInputError(root, "folder", at_most(MAX_FILES, "files"), "more")
        for file in files:
            path = Path(folder) / file
            name = path.relative_to(root).as_posix()
            if not _is_wanted(name):
                continue
            if not is_inside(path, root):
                raise BadInputError(path, "file", f"a path inside {root}", str(path.resolve()))
            entries[name] = lambda path=path: read_file(path, "image")
    return entries


def _check_directory(root: Path, blocks: Iterator[bytes]) -> None:
    """Counts the entries before `zipfile` makes an object of each."""
    count = sum(block.count(b"PK\x01\x02") for block in blocks)
    if count > limit(MAX_FILES):
        raise BadInputError(root, "entries", at_most(MAX_FILES, "files"), str(count))


def _of_zip(root: Path, archive: zipfile.ZipFile) -> Entries:
    """Nothing is unpacked to disk, so a path that leads out of the zip file does no harm."""

    def read(info: zipfile.ZipInfo) -> bytes:
        try:
            with archive.open(info) as file:
                content = file.read(limit(MAX_FILE) + 1)  # the size in the directory may be wrong
        except Exception as error:  # encrypted, damaged, packed in an unknown way
            got = f"{type(error).__name__}: {error}"
            raise BadInputError(root / info.filename, "content", "a file in a zip", got) from error
        if len(content) > limit(MAX_FILE):
            raise _too_large(root / info.filename, len(content))
        return content

    infos = [i for i in archive.infolist() if not i.is_dir() and _is_wanted(i.filename)]
    for info in infos:
        if stat.S_ISLNK(info.external_attr >> 16):
            raise BadInputError(root / info.filename, "file", "a regular file", "a link")
        if info.file_size > limit(MAX_FILE):
            raise _too_large(root / info.filename, info.file_size)
    total = sum(info.file_size for info in infos)
    if total > limit(MAX_TOTAL):
        raise BadInputError(root, "size unpacked", at_most(MAX_TOTAL, "bytes"), str(total))
    return {info.filename: lambda info=info: read(info) for info in infos}


def _too_large(file: Path, size: int) -> BadInputError:
    return BadInputError(file, "size", at_most(MAX_FILE, "bytes"), str(size))


def _is_wanted(name: str) -> bool:
    path = PurePosixPath(name)
    if is_litter(path):
        return False
    if path.name == "classes.txt":
        return True
    return len(path.parts) > 1 and path.suffix.lower() in SUFFIXES


def _arranged(root: Path, entries: Entries) -> tuple[tuple[str, ...], list[Source]]:
    listed = min((n for n in entries if n.endswith("classes.txt")), key=len, default=None)
    names = sorted(name for name in entries if not name.endswith("classes.txt"))
    if not names or len(names) > limit(MAX_FILES):
        expected = f"one to {limit(MAX_FILES)}, in one folder per class"
        raise BadInputError(root, "images", expected, str(len(names)))
    places = _places(names)
    kept = [i for i, (split, _) in enumerate(places) if split is not None]
    names, places = [names[i] for i in kept], [places[i] for i in kept]
    folders = sorted({folder for split, folder in places if split != "test"})
    for name, (_, folder) in zip(names, places, strict=True):
        if folder not in folders:
            raise BadInputError(root / name, "class", f"one of train's, {folders}", folder)
    lines = entries[listed]().decode("utf-8-sig", "replace").splitlines() if listed else []
    classes, indices = _classes(root, folders, [line.strip() for line in lines if line.strip()])
    labels = np.array([indices[folder] for _, folder in places])
    splits = [split for split, _ in places]
    test = np.array([s == "test" for s in splits]) if any(splits) else _draw(root, labels, classes)
    return classes, [
        Source(root / name, int(label), bool(measured), entries[name])
        for name, label, measured in zip(names, labels, test, strict=True)
    ]


def _places(names: list[str]) -> list[tuple[str | None, str]]:
    """Returns split and class folder of each image; "" without splits, None where not used."""
    parts = [PurePosixPath(name).parts for name in names]
    depth = 0
    while all(len(p) > depth + 2 for p in parts) and len({p[depth] for p in parts}) == 1:
        depth += 1
    firsts = {p[depth].lower() for p in parts}
    train = next((name for name in TRAIN if name in firsts), None)
    test = next((name for name in TEST if name in firsts), None)
    deep = all(len(p) > depth + 2 for p in parts)
    if train is None or test is None or not deep or firsts - {*TRAIN, *TEST}:
        return [("", p[depth]) for p in parts]
    split = {train: "train", test: "test"}
    return [(split.get(p[depth].lower()), p[depth + 1]) for p in parts]


def _classes(
    root: Path, folders: list[str], listed: list[str]
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Returns the names of the classes, and the label of each folder."""
    file = root / "classes.txt"
    if not listed:
        return class_names(folders, root), {folder: i for i, folder in enumerate(folders)}
    names = class_names(listed, file)
    if set(folders) <= set(names):
        return names, {folder: names.index(folder) for folder in folders}
    if all(folder.isdecimal() and int(folder) < len(names) for folder in folders):
        return names, {folder: int(folder) for folder in folders}
    raise BadInputError(file, "classes", f"the names of the folders {folders}", listed)


def _draw(root: Path, labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    rng, test = np.random.default_rng(0), np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise BadInputError(root / classes[label], "images", "at least two", str(len(members)))
        test[members[: max(1, round(TEST_SHARE * len(members)))]] = True
    return test
