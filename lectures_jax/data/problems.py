"""Bad input, refused or noted in one line with file, field, expected and got."""

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lectures_jax.data.records import Dataset, Record

SLACK = 1.0  # a box may stick out by this many pixels, as rounding does; it is clipped


class BadInputError(ValueError):
    """Input that a reader refuses, in one line; long values are shortened."""

    def __init__(self, file: Path, what: str, expected: str, got: object):
        text = got if isinstance(got, str) else reprlib.repr(got)
        text = text if len(text) <= 160 else f"{text[:160]}…"
        line = f"{file}: {what}: expected {expected}, got {text or 'nothing'}."
        super().__init__(" ".join(line.split()))


class ErrorLog:
    """Collects what is wrong with the input, or raises the first of it when `strict`."""

    def __init__(self, strict: bool):
        self.strict = strict
        self.lines: list[str] = []

    def add(self, file: Path, what: str, expected: str, got: object) -> None:
        """Notes that `what` in `file` is not as expected."""
        self.note(BadInputError(file, what, expected, got))

    def note(self, error: BadInputError) -> None:
        """Notes an error, or raises it."""
        if self.strict:
            raise error
        self.lines.append(str(error))


@dataclass(frozen=True)
class Annotation:
    """An object as a file describes it.

    Attributes:
        name: of its class.
        box: xyxy, in pixels.
        where: its place in the file, for messages.
        crowd: whether it is not scored.
    """

    name: object
    box: tuple[float, ...]
    where: str
    crowd: bool = False


def text_of(path: Path) -> str:
    """Returns a text file.

    Raises:
        BadInputError: if it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(path, "file", "UTF-8 text", str(error)) from error


def lines_of(path: Path) -> list[str]:
    """Returns the lines of a text file that are not blank.

    Raises:
        BadInputError: if it cannot be read or there are none.
    """
    lines = [line.strip() for line in text_of(path).splitlines() if line.strip()]
    if not lines:
        raise BadInputError(path, "list", "at least one line", "none")
    return lines


def deduplicate(names: Iterable[str], file: Path, problems: ErrorLog) -> list[str]:
    """Returns the names without repetitions, each of which is a problem."""
    seen: dict[str, None] = {}
    for name in names:
        if name in seen:
            problems.add(file, "list", "each name once", f"{name!r} again")
        seen[name] = None
    return list(seen)


def resolve_in_root(
    root: Path, name: str, file: Path, what: str, problems: ErrorLog
) -> Path | None:
    """Returns the file of that name below `root`, links followed; None where it is refused."""
    path = root / name
    try:
        climbs = ".." in Path(name).parts or not path.resolve().is_relative_to(root.resolve())
        exists = path.is_file()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name too long, a null byte
        climbs, exists = False, False
    if climbs:
        problems.add(file, what, f"a path inside {root}", name)
    elif not exists:
        problems.add(file, what, f"the name of a file in {root}", name)
    return path if exists and not climbs else None


def four_numbers(
    values: object, file: Path, where: str, problems: ErrorLog
) -> tuple[float, float, float, float] | None:
    """Returns four numbers, from numbers or text; None where they are something else."""
    try:
        a, b, c, d = (float(value) for value in values)  # pyright: ignore
    except (TypeError, ValueError, OverflowError):
        problems.add(file, where, "four numbers", values)
        return None
    return a, b, c, d


def validate_boxes(
    objects: Sequence[Annotation],
    size: tuple[int, int],
    classes: Mapping[object, int],
    file: Path,
    problems: ErrorLog,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the boxes of one image, checked and clipped to it.

    Args:
        objects: as the file describes them.
        size: height and width of the decoded image.
        classes: label of each class.
        file: that describes them.
        problems: receives a line for each object that is left out.

    Returns:
        Boxes, labels and crowd flags of the objects that pass.
    """
    kept: dict[tuple[object, ...], Annotation] = {}
    for annotation in objects:
        box = _clipped(annotation, size, file, problems)
        if box is None:
            continue
        if annotation.name not in classes:
            expected = f"a class among {reprlib.repr(list(classes))}"
            problems.add(file, annotation.where, expected, annotation.name)
        elif (annotation.name, *box) in kept:
            problems.add(
                file, annotation.where, "each object once", f"{annotation.name} {box} again"
            )
        else:
            kept[annotation.name, *box] = annotation
    boxes = np.array([key[1:] for key in kept], np.float32).reshape(-1, 4)
    labels = np.array([classes[key[0]] for key in kept], np.int32)
    return boxes, labels, np.array([annotation.crowd for annotation in kept.values()], bool)


def build_dataset(
    records: Sequence[Record], classes: Sequence[str], problems: ErrorLog, file: Path
) -> Dataset:
    """Returns the data set.

    Raises:
        BadInputError: if no record is left.
    """
    if not records:
        got = f"none; first {problems.lines[0]}" if problems.lines else "none"
        raise BadInputError(file, "records", "at least one good image", got)
    return Dataset(tuple(records), tuple(classes), tuple(problems.lines))


def _clipped(
    annotation: Annotation, size: tuple[int, int], file: Path, problems: ErrorLog
) -> tuple[float, ...] | None:
    """Returns the corners, clipped to the image; None where they make no box in it."""
    x0, y0, x1, y1 = box = annotation.box
    h, w = size
    limits = (w, h, w, h)
    inner = [min(max(value, 0.0), float(n)) for value, n in zip(box, limits, strict=True)]
    clipped = tuple(float(np.float32(value)) for value in inner)  # a thin box may lose its area
    if not all(math.isfinite(value) for value in box):
        problems.add(file, annotation.where, "finite corners", box)
    elif x1 <= x0 or y1 <= y0:
        problems.add(file, annotation.where, "a box with positive width and height", box)
    elif (
        max(abs(a - b) for a, b in zip(box, clipped, strict=True)) > SLACK
        or clipped[2] <= clipped[0]
        or clipped[3] <= clipped[1]
    ):
        problems.add(file, annotation.where, f"a box inside the {w}×{h} image", box)
    else:
        return clipped
    return None
