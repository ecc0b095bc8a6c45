"""YOLO text files: one line per object, sizes as shares of the image."""

from pathlib import Path

from lectures_jax.data.images import SUFFIXES, verify
from lectures_jax.data.problems import (
    Annotation,
    BadInputError,
    ErrorLog,
    build_dataset,
    deduplicate,
    four_numbers,
    lines_of,
    resolve_in_root,
    text_of,
    validate_boxes,
)
from lectures_jax.data.records import Dataset, Record


def read_yolo(root: Path | str, *, split: str = "", strict: bool = True) -> Dataset:
    """Reads `images/<split>`, `labels/<split>/*.txt` and the class names in `classes.txt`.

    A line is `class c_x c_y w h`: the index of the class, then center and size as shares of the
    image's width and height. An image without a text file shows no object. Every image is
    decoded once, on all cores, so that none fails later.

    Args:
        root: folder of the data set.
        split: folder below `images` and below `labels`; empty where there is none.
        strict: raise at the first problem; otherwise leave out what is wrong (an object, or the
            image) and list it in `Dataset.problems`.

    Raises:
        ValueError: with file, field, expected and got; also without `strict` if the class names
            cannot be read or nothing is left.

    Source:
        Redmon & Farhadi (2018), the Darknet code.
    """
    root, problems = Path(root), ErrorLog(strict)
    file = root / "classes.txt"
    # Strict in any case: a class left out would shift the labels of those after it.
    classes = deduplicate(lines_of(file), file, ErrorLog(strict=True))
    index: dict[object, int] = {str(i): i for i in range(len(classes))}
    folder, labels = root / "images" / split, root / "labels" / split
    names = [f"images/{split}/{path.name}" for path in _image_paths(folder, labels, problems)]
    paths = [resolve_in_root(root, name, folder, "image", problems) for name in names]
    sizes = verify([path for path in paths if path], problems)
    records = []
    for path, size in sizes.items():
        file = labels / f"{path.stem}.txt"
        objects = _annotations(root, file, size, problems) if file.exists() else []
        checked = validate_boxes(objects, size, index, file, problems)
        records.append(Record(path.stem, path, *checked))
    return build_dataset(records, classes, problems, folder)


def _image_paths(folder: Path, labels: Path, problems: ErrorLog) -> list[Path]:
    """Returns the images; notes those that share their labels, and labels without an image."""
    stems: dict[str, Path] = {}
    for path in sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES):
        if path.stem in stems:
            problems.add(path, "name", "one image per label file", f"{stems[path.stem].name} too")
        else:
            stems[path.stem] = path
    for file in sorted(labels.glob("*.txt")):
        if file.stem not in stems:
            problems.add(file, "name", "the name of an image", file.stem)
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
        name, *numbers = line.split() or [""]
        if not name:
            continue
        four = four_numbers(numbers, file, f"line {i} after the class", problems)
        if four is not None:
            cx, cy, bw, bh = four
            box = ((cx - bw / 2) * w, (cy - bh / 2) * h, (cx + bw / 2) * w, (cy + bh / 2) * h)
            objects.append(Annotation(name, box, f"line {i}"))
    return objects
