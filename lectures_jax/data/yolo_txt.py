"""YOLO text files: one line per object, sizes as shares of the image."""

import math
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import yaml

from lectures_jax.data.files import (
    class_names,
    is_inside,
    lines_of,
    list_files,
    resolve_in_root,
    text_of,
    unwrap,
)
from lectures_jax.data.images import SUFFIXES, verify
from lectures_jax.data.problems import (
    Annotation,
    BadInputError,
    ErrorLog,
    build_dataset,
    four_numbers,
    validate_boxes,
)
from lectures_jax.data.records import Dataset, Record

NO_LABELS = ("classes.txt", "predefined_classes.txt")
"""What annotation tools write among the labels."""


class _Layout(NamedTuple):
    """Where the parts of a split are; `images` and `labels` are folders below `root`."""

    root: Path
    images: str
    labels: str
    classes: tuple[str, ...]


def read_yolo(root: Path | str, *, split: str = "", strict: bool = True) -> Dataset:
    """Reads the images of a split, a text file of labels for each, and the class names.

    The images are in `images/<split>` or `<split>/images`, or where `data.yaml` says so; the labels
    in the folder `labels` that stands beside or instead of `images`; the class names in
    `classes.txt`, or as `names` in `data.yaml`. That covers Darknet, labelImg, Ultralytics and
    Roboflow.

    A line is `class c_x c_y w h`: the index of the class, then center and size as shares of the
    width and height of the image as people see it, turned by its EXIF orientation. A line with
    three or more corners instead, `class x_1 y_1 x_2 y_2 x_3 y_3 …`, is a polygon; its box is read.
    An image without a text file shows no object. Every image is decoded once, on several cores, so
    that none fails later.

    Args:
        root: folder of the data set, or one that holds nothing but it.
        split: name of the split; empty where `images` holds the files.
        strict: raise at the first problem; otherwise leave out what is wrong (an object, or the
            image), clip boxes that stick out, and list it in `Dataset.problems`.

    Raises:
        ValueError: with file, field, expected and got; also without `strict` if the class names
            cannot be read, no image is left, or no label file or no box.

    Source:
        Redmon & Farhadi (2018), the Darknet code.
    """
    layout, problems = find_yolo_split(Path(root), split), ErrorLog(strict)
    root, labels = layout.root, layout.root / layout.labels
    index: dict[object, int] = {str(i): i for i in range(len(layout.classes))}
    paths = _image_paths(root / layout.images, labels, problems)
    images = [
        resolve_in_root(root, f"{layout.images}/{path.name}", path.parent, "image", problems)
        for path in paths
    ]
    sizes = verify([path for path in images if path], problems)
    records = []
    for path, size in sizes.items():
        file = labels / f"{path.stem}.txt"
        objects = _annotations(root, file, size, problems) if file.exists() else []
        checked = validate_boxes(objects, size, index, file, problems)
        records.append(Record(path.stem, path, *checked))
    where = f"{layout.labels}/*.txt"
    return build_dataset(records, layout.classes, problems, root / layout.images, objects=where)


def find_yolo_split(root: Path, split: str) -> _Layout:
    """Returns where the images, labels and class names of a split are.

    Args:
        root: folder of the data set, or one that holds nothing but it.
        split: its name.

    Raises:
        BadInputError: if there is no such folder, or no class names.
    """
    root = unwrap(root)
    described = _data_yaml(root)
    named = described.get(split)
    names = [f"images/{split}".rstrip("/"), f"{split}/images".lstrip("/")]
    if isinstance(named, str):  # relative to the file, or, as Roboflow has it, to its parent
        folder = described.get("path")
        folders = ["", folder] if isinstance(folder, str) else [""]
        below = [PurePosixPath(f, named) for f in folders]
        below.append(PurePosixPath(*(p for p in PurePosixPath(named).parts if p != "..")))
        names = [path.as_posix() for path in below] + names
    for name in names:
        folder = root / name
        if folder.is_dir() and is_inside(folder, root) and ".." not in PurePosixPath(name).parts:
            parts = list(PurePosixPath(name).parts)
            if "images" in parts:
                parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
            labels = "/".join(parts)
            return _Layout(root, name, labels, _names(root, labels, described))
    near = sorted(p.relative_to(root).as_posix() for p in root.glob("*/*") if p.is_dir())[:8]
    raise BadInputError(root, "images", f"a folder {' or '.join(names)}", ", ".join(near))


def _data_yaml(root: Path) -> dict:
    """Returns what `data.yaml` says, if there is one."""
    for file in (root / "data.yaml", root / "data.yml"):
        if not file.exists():
            continue
        try:
            content = yaml.safe_load(text_of(file, kind="YAML", root=root))
        except BadInputError:
            raise
        except Exception as error:  # of many kinds: a wrong date raises ValueError
            got = f"{type(error).__name__}: {error}"
            raise BadInputError(file, "content", "YAML", got) from error
        if not isinstance(content, dict):
            raise BadInputError(file, "content", "names, train and val", type(content).__name__)
        return content
    return {}


def _names(root: Path, labels: str, described: dict) -> tuple[str, ...]:
    """The class names; strict in any case, since one left out would shift the labels after it."""
    names = described.get("names")
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[i] for i in range(len(names))]
    if names is not None:
        if not isinstance(names, list) or any(isinstance(n, list | dict) for n in names):
            expected = "a list, or a dictionary from 0 up"
            raise BadInputError(root / "data.yaml", "names", expected, type(names).__name__)
        return class_names((str(name) for name in names), root / "data.yaml")
    file = root / "classes.txt"
    beside = root / labels / "classes.txt"  # labelImg's
    if not file.exists() and beside.exists():
        file = beside
    return class_names(lines_of(file, root=root), file)


def _image_paths(folder: Path, labels: Path, problems: ErrorLog) -> list[Path]:
    """Returns the images; notes those that share their labels, and labels without an image."""
    stems: dict[str, Path] = {}
    for path in list_files(folder, SUFFIXES):
        if path.stem in stems:
            problems.add(path, "name", "one image per label file", f"{stems[path.stem].name} too")
        else:
            stems[path.stem] = path
    files = [path for path in list_files(labels, (".txt",)) if path.name not in NO_LABELS]
    if stems and not any(file.stem in stems for file in files):
        there = sorted(path.name for path in labels.iterdir())[:4] if labels.is_dir() else []
        got = f"only {', '.join(there)}" if there else "no such folder or an empty one"
        raise BadInputError(labels, "labels", f"a .txt file for an image of {folder}", got)
    for file in files:
        if file.stem not in stems:
            problems.add(file, "name", "the name of an image", file.stem, kind="labels alone")
    return list(stems.values())


def _annotations(
    root: Path, file: Path, size: tuple[int, int], problems: ErrorLog
) -> list[Annotation]:
    """Returns the objects that the lines of one file describe, their corners in pixels."""
    if resolve_in_root(root, str(file.relative_to(root)), file, "file", problems) is None:
        return []
    try:
        lines = text_of(file).splitlines()
    except BadInputError as error:
        problems.note(error)
        return []
    h, w = size
    objects = []
    for i, line in enumerate(lines, start=1):
        label, *numbers = line.split() or [""]
        if not label:
            continue
        shares = _corners(numbers, file, f"line {i} after the class", problems)
        if shares is not None:
            x0, y0, x1, y1 = shares
            objects.append(Annotation(_index(label), (x0 * w, y0 * h, x1 * w, y1 * h), f"line {i}"))
    return objects


def _corners(
    numbers: list[str], file: Path, where: str, problems: ErrorLog
) -> tuple[float, float, float, float] | None:
    """Returns the corners of a box or around a polygon, as shares of the image."""
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        try:
            values = [float(number) for number in numbers]
        except ValueError:
            problems.add(file, where, "pairs of numbers", numbers)
            return None
        if not all(map(math.isfinite, values)):
            return math.nan, math.nan, math.nan, math.nan  # refused with the boxes
        x, y = values[::2], values[1::2]
        return min(x), min(y), max(x), max(y)
    four = four_numbers(numbers, file, where, problems)
    if four is None:
        return None
    cx, cy, w, h = four
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def _index(text: str) -> str:
    """Returns the index of a class as it is usually written: some tools write `1.000e+00`."""
    try:
        value = float(text)
    except ValueError:
        return text
    return str(int(value)) if value.is_integer() else text
