"""`ljx check`: what a data set holds, and whether a training with it would be in vain."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

KINDS = ("voc", "coco", "yolo", "idx", "images", "masks")
BOXES = ("voc", "coco", "yolo")
SPLIT = (*BOXES, "masks")
NAMED = ("voc", "coco", "idx", "masks")
"""Kinds whose classes a file of names can order and limit."""
SHOWN = 20
"""Records with a problem that are printed; the page has all that are kept."""


def check(
    kind: str,
    root: Path,
    *,
    splits: tuple[str, str] | None = None,
    classes: Path | None = None,
    masks: str | None = None,
    out: Path | None = None,
) -> int:
    """Prints what a data set holds; on standard error a line per fault and per warning.

    Args:
        kind: of the annotations: one of `KINDS`.
        root: folder of the data set, or a zip file of images.
        splits: names of the splits to train and to measure on, of a set with boxes or masks; None:
            the usual ones.
        classes: file of class names, one per line, of VOC, COCO or IDX files or masks, of which it
            may hold the colors; None: the set's own.
        masks: "classes" or "instances", what the numbers in masks are; None: what they look like.
        out: HTML file that shows the same.

    Returns:
        The exit code: 0, or 1 if a training would be in vain.

    Raises:
        ValueError: if there is no such folder, or an option is not for this kind.
    """
    from lectures_jax import data
    from lectures_jax.data.problems import BadInputError

    if not root.exists():
        raise ValueError(f"--root: expected a folder, got {root}, which does not exist.")
    boxes = kind in BOXES
    if splits is not None and kind not in SPLIT:
        raise ValueError(f"--splits: expected none for --data {kind}, got {' '.join(splits)}.")
    if classes is not None and kind not in NAMED:
        raise ValueError(f"--classes: expected none for --data {kind}, got {classes}.")
    if masks is not None and kind != "masks":
        raise ValueError(f"--masks: expected none for --data {kind}, got {masks}.")
    try:
        if kind == "masks":
            instances = None if masks is None else masks == "instances"
            inspection = _inspect_masks(root, splits, classes, instances)
        else:
            listed, (train, test) = _read(kind, root, splits, classes)
            inspection = data.inspect_splits(listed, train, test, boxes=boxes)
    except BadInputError as error:
        print(f"fault: {error}", file=sys.stderr)
        return 1
    for title, (header, rows) in inspection.tables.items():
        print(f"{title}\n{_aligned(header, rows)}\n")
    for line in inspection.problems[:SHOWN]:
        print(f"problem: {line}")
    if len(inspection.problems) > SHOWN:
        print(f"problem: and {len(inspection.problems) - SHOWN} more")
    for name, lines in (("fault", inspection.faults), ("warning", inspection.warnings)):
        for line in lines:
            print(f"{name}: {line}", file=sys.stderr)
    if out is not None:
        _write_page(out, root, inspection)
    if not inspection.faults:
        print("No fault: it can be trained on.")
    return 1 if inspection.faults else 0


def _read(
    kind: str, root: Path, names: tuple[str, str] | None, classes: Path | None
) -> tuple[Sequence[str], Any]:
    """The classes and the two splits, without what is faulty."""
    from lectures_jax import data
    from lectures_jax.data.files import class_names, lines_of

    if kind == "images":
        return data.splits_of_class_folders(root)
    if kind == "idx":
        listed = None if classes is None else class_names(lines_of(classes), classes)
        names = ("train", "t10k")
        datasets = data.read_idx_splits(root, classes=listed, strict=False)
    else:
        from lectures_jax.recipes import detection_data

        kind = cast(detection_data.Kind, kind)
        names = names or detection_data.split_names(kind, root)
        datasets = detection_data.read_splits(
            kind, root, splits=names, classes=classes, strict=False
        )
    pairs = zip(names, datasets, strict=True)
    return datasets[0].classes, [data.split_of_dataset(name, dataset) for name, dataset in pairs]


def _inspect_masks(
    root: Path, splits: tuple[str, str] | None, classes: Path | None, instances: bool | None
) -> Any:
    from lectures_jax import data

    train, test, of_objects = data.read_mask_folders(
        root, splits=splits, classes=classes, instances=instances, strict=False
    )
    return data.inspect_masks(train.classes, train, test, instances=of_objects)


def _aligned(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns a table as text, numbers to the right."""
    cells = [[_shown(value) for value in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        first, *others = zip(row, widths, strict=True)
        lines.append("  ".join([first[0].ljust(first[1]), *(c.rjust(n) for c, n in others)]))
    return "\n".join(f"  {line}".rstrip() for line in lines)


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "–" if value is None else str(value)


def _write_page(out: Path, root: Path, inspection: Any) -> None:
    from lectures_jax import report

    out.parent.mkdir(parents=True, exist_ok=True)
    sections = report.dataset(
        inspection.tables,
        faults=inspection.faults,
        warnings=inspection.warnings,
        problems=inspection.problems,
    )
    report.page(out, title=f"The data in {root.resolve().name}", sections=sections)
    print(f"page: {out}")
