"""COCO: one JSON file for a whole split."""

import json
from collections import defaultdict
from collections.abc import Container
from pathlib import Path

from lectures_jax.data.images import verify
from lectures_jax.data.problems import (
    Annotation,
    BadInputError,
    ErrorLog,
    build_dataset,
    four_numbers,
    resolve_in_root,
    text_of,
    validate_boxes,
)
from lectures_jax.data.records import Dataset, Record


def read_coco(annotations: Path | str, images: Path | str, *, strict: bool = True) -> Dataset:
    """Reads boxes from COCO's JSON; `bbox` is (x, y, width, height), segmentations are not read.

    Labels follow the rising category ids, without gaps; a record's id is its image id. Objects with
    `iscrowd` become `crowd`. Every image is decoded once, on all cores, so that none fails later.

    Args:
        annotations: the JSON file.
        images: folder that each `file_name` is relative to.
        strict: raise at the first problem; otherwise leave out what is wrong (an object, or the
            image) and list it in `Dataset.problems`.

    Raises:
        ValueError: with file, field, expected and got; also without `strict` if the JSON cannot be
            read or nothing is left.

    Source:
        Lin et al. (2014); format at https://cocodataset.org/#format-data.
    """
    file, images, problems = Path(annotations), Path(images), ErrorLog(strict)
    tables = _tables(file)
    names = _rows(tables["categories"], "categories", {"id": int, "name": str}, file, problems)
    names = dict(sorted((row["id"], row["name"]) for row in names.values()))
    index: dict[object, int] = {id_: i for i, id_ in enumerate(names)}
    rows = _rows(tables["images"], "images", {"id": int, "file_name": str}, file, problems)
    objects = _annotations(tables["annotations"], rows, file, problems)
    owners: dict[Path, int] = {}
    for id_, row in rows.items():
        path = resolve_in_root(images, row["file_name"], file, f"image {id_} file_name", problems)
        if path in owners:
            problems.add(file, f"image {id_} file_name", "each image once", f"{path} again")
        elif path is not None:
            owners[path] = id_
    records = []
    for path, size in verify(owners, problems).items():
        id_ = owners[path]
        row = rows[id_]
        declared = (row.get("height", size[0]), row.get("width", size[1]))
        if declared != size:
            problems.add(file, f"image {id_} height, width", f"{size}", declared)
            continue
        boxes, labels, crowd = validate_boxes(objects[id_], size, index, file, problems)
        records.append(Record(str(id_), path, boxes, labels, crowd))
    return build_dataset(records, list(names.values()), problems, file)


def _tables(file: Path) -> dict[str, list]:
    """Returns the three lists of the file."""
    text = text_of(file)
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        got = f"{type(error).__name__}: {error}"
        raise BadInputError(file, "content", "JSON", got) from error
    tables = {}
    for name in ("categories", "images", "annotations"):
        rows = tree.get(name) if isinstance(tree, dict) else None
        if not isinstance(rows, list):
            raise BadInputError(file, name, "a list", rows)
        tables[name] = rows
    return tables


def _rows(
    rows: list, table: str, fields: dict[str, type], file: Path, problems: ErrorLog
) -> dict[int, dict]:
    """The rows of a table that have the fields, by their id."""
    good: dict[int, dict] = {}
    for i, row in enumerate(rows):
        for name, kind in fields.items():
            value = row.get(name) if isinstance(row, dict) else None
            if type(value) is not kind:  # a bool is no id
                problems.add(file, f"{table}[{i}].{name}", f"{kind.__name__}", value)
                break
        else:
            if row["id"] in good:
                problems.add(file, f"{table}[{i}].id", "each id once", row["id"])
            else:
                good[row["id"]] = row
    return good


def _annotations(
    rows: list, images: Container[int], file: Path, problems: ErrorLog
) -> defaultdict[int, list[Annotation]]:
    """The objects of each image, by the image's id, with corners in place of sizes."""
    fields = {"id": int, "image_id": int, "category_id": int, "bbox": list}
    objects = defaultdict(list)
    for id_, row in _rows(rows, "annotations", fields, file, problems).items():
        where = f"annotation {id_}"
        if row["image_id"] not in images:
            problems.add(file, f"{where} image_id", "the id of an image", row["image_id"])
            continue
        numbers = four_numbers(row["bbox"], file, f"{where} bbox", problems)
        if numbers is not None:
            x, y, w, h = numbers
            box, crowd = (x, y, x + w, y + h), row.get("iscrowd", 0) == 1
            objects[row["image_id"]].append(
                Annotation(row["category_id"], box, f"{where} bbox", crowd)
            )
    return objects
