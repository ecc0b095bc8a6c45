"""Bad input, refused or noted in one line with file, field, expected and got."""

import math
import reprlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lectures_jax.data.records import Dataset, Record

SLACK = 1.0  # a box may stick out by this many pixels, as rounding does; it is clipped
MAX_PROBLEMS = 1000  # kept; the others are counted
MAX_OBJECTS = 5000  # in one image


class BadInputError(ValueError):
    """Input that a reader refuses, in one printable line; long values are shortened."""

    def __init__(self, file: Path, what: str, expected: str, got: object):
        text = got if isinstance(got, str) else reprlib.repr(got)
        text = text if len(text) <= 160 else f"{text[:160]}…"
        line = f"{file}: {what}: expected {expected}, got {text or 'nothing'}."
        super().__init__(_printable(" ".join(line.split())))


class ErrorLog:
    """Collects what is wrong with the input, or raises the first of it when `strict`.

    Attributes:
        strict: whether the first problem is raised.
        kept: the first problems, one line each.
        counts: number of all problems by kind, in words.
    """

    def __init__(self, strict: bool):
        self.strict = strict
        self.kept: list[str] = []
        self.counts: Counter[str] = Counter()

    @property
    def lines(self) -> list[str]:
        """The problems that are kept, and a last line that counts the others."""
        more = self.counts.total() - len(self.kept)
        return [*self.kept, f"{more} more problems are not listed."] if more else self.kept

    def add(
        self, file: Path, what: str, expected: str, got: object, *, kind: str = "other"
    ) -> None:
        """Notes that `what` in `file` is not as expected."""
        if self.strict or len(self.kept) < MAX_PROBLEMS:
            self.note(BadInputError(file, what, expected, got), kind=kind)
        else:
            self.counts[kind] += 1

    def note(self, error: BadInputError, *, kind: str = "other") -> None:
        """Notes an error, or raises it with the way to go on without what is wrong."""
        if self.strict:
            error.args = (f"{error} --no-strict (strict=False) leaves it out.",)
            raise error
        self.counts[kind] += 1
        if len(self.kept) < MAX_PROBLEMS:
            self.kept.append(str(error))

    def remark(self, text: str, *, kind: str) -> None:
        """Notes what the reader decided by itself, which is no reason to stop."""
        self.counts[kind] += 1
        self.kept.append(_printable(text))


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


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


def deduplicate(names: Iterable[str], file: Path, problems: ErrorLog) -> list[str]:
    """Returns the names without repetitions, each of which is a problem."""
    seen: dict[str, None] = {}
    for name in names:
        if name in seen:
            problems.add(file, "list", "each name once", f"{name!r} again")
        seen[name] = None
    return list(seen)


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
    if len(objects) > MAX_OBJECTS:
        problems.add(file, "objects", f"at most {MAX_OBJECTS} in an image", len(objects))
    for annotation in objects[:MAX_OBJECTS]:
        box = _clipped(annotation, size, file, problems)
        if box is None:
            continue
        where, name = annotation.where, annotation.name
        if name not in classes:
            expected = f"a class among {reprlib.repr(list(classes))}"
            problems.add(file, where, expected, name, kind="unknown classes")
        elif (name, *box) in kept:
            got = f"{name} {box} again"
            problems.add(file, where, "each object once", got, kind="duplicate boxes")
        else:
            kept[name, *box] = annotation
    boxes = np.array([key[1:] for key in kept], np.float32).reshape(-1, 4)
    labels = np.array([classes[key[0]] for key in kept], np.int32)
    return boxes, labels, np.array([annotation.crowd for annotation in kept.values()], bool)


def build_dataset(
    records: Sequence[Record],
    classes: Sequence[str],
    problems: ErrorLog,
    file: Path,
    *,
    objects: str | None = None,
) -> Dataset:
    """Returns the data set.

    Args:
        records: the images that are left.
        classes: names, in the order of the labels.
        problems: that were noted.
        file: or folder that lists the images.
        objects: where the boxes were looked for, if a set without any is refused: annotations that
            are elsewhere would make every image background.

    Raises:
        BadInputError: if no record is left, or no box.
    """
    first = f"; first {problems.lines[0]}" if problems.lines else ""
    if not records:
        raise BadInputError(file, "records", "at least one good image", f"none{first}")
    if objects is not None and not any(len(record.boxes) for record in records):
        got = f"no box in {len(records)} images{first}"
        raise BadInputError(file, "objects", f"at least one in {objects}", got)
    lines, counts = tuple(problems.lines), dict(problems.counts)
    return Dataset(tuple(records), tuple(classes), lines, counts)


def _clipped(
    annotation: Annotation, size: tuple[int, int], file: Path, problems: ErrorLog
) -> tuple[float, ...] | None:
    """Returns the corners, clipped to the image; None where they make no box in it.

    A box that sticks out by more than `SLACK` is a problem, after which it is clipped, too.
    """
    x0, y0, x1, y1 = box = annotation.box
    h, w = size
    limits = (w, h, w, h)
    inner = [min(max(value, 0.0), float(n)) for value, n in zip(box, limits, strict=True)]
    clipped = tuple(float(np.float32(value)) for value in inner)  # a thin box may lose its area
    where = annotation.where
    if not all(math.isfinite(value) for value in box):
        problems.add(file, where, "finite corners", box, kind="boxes without area")
        return None
    if x1 <= x0 or y1 <= y0:
        expected = "a box with positive width and height"
        problems.add(file, where, expected, box, kind="boxes without area")
        return None
    empty = clipped[2] <= clipped[0] or clipped[3] <= clipped[1]
    if empty or max(abs(a - b) for a, b in zip(box, clipped, strict=True)) > SLACK:
        expected = f"a box inside the {w}×{h} image"
        problems.add(file, where, expected, box, kind="boxes outside of the image")
    return None if empty else clipped
