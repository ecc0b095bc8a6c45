"""One folder of images per class."""

from pathlib import Path

import numpy as np

from lectures_jax.data.pictures import SUFFIXES, verify
from lectures_jax.data.problems import ErrorLog, finish, inside
from lectures_jax.data.records import Dataset, Record


def read_image_folder(root: Path | str, *, strict: bool = True) -> Dataset:
    """Reads `<root>/<class>/**/*.png` (or another image format); the folders name the classes.

    Hidden files and files that are no images by their suffix are passed over. Every image is
    decoded once, on all cores, so that none fails later.

    Args:
        root: folder of the data set.
        strict: raise at the first problem; otherwise leave out the image and list it in
            `Dataset.problems`.

    Raises:
        ValueError: with file, field, expected and got; also without `strict` if nothing is left.
    """
    root, problems = Path(root), ErrorLog(strict)
    folders = [path for path in root.glob("*") if path.is_dir() and path.name[0] != "."]
    classes = sorted(path.name for path in folders)
    labels = {}
    for label, name in enumerate(classes):
        names = [str(path.relative_to(root)) for path in _pictures(root / name)]
        if not names:
            problems.add(root / name, "images", "at least one", "none")
        paths = [inside(root, name, root, "image", problems) for name in names]
        labels |= {path: label for path in paths if path is not None}
    sizes = verify(labels, problems)
    records = [
        Record(path.relative_to(root).as_posix(), path, labels=np.array([labels[path]], np.int32))
        for path in sizes
    ]
    return finish(records, classes, problems, root)


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.name[0] != "."
    )
