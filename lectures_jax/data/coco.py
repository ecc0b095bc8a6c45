"""COCO: one JSON file for a whole split."""

import json
from collections import defaultdict
from collections.abc import Container, Sequence
from pathlib import Path

from lectures_jax.data.files import (
    at_most,
    class_names,
    limit,
    resolve_in_root,
    text_of,
)
from lectures_jax.data.images import verify
from lectures_jax.data.problems import (
    Annotation,
    BadInputError,
    ErrorLog,
    build_dataset,
    four_numbers,
    validate_boxes,
)
from lectures_jax.data.records import Dataset, Record

MAX_VALUES = 4_000_000  # in one file, each up to 100 bytes in memory; COCO's val2017 has 2 million
MAX_IMAGES = 200_000


def read_coco(
    annotations: Path | str,
    images: Path | str,
    *,
    classes: Sequence[str] | None = None,
    strict: bool = True,
) -> Dataset:
    """Reads boxes from COCO's JSON; `bbox` is (x, y, width, height), segmentations are not read.

    Labels follow the rising category ids, without gaps, and categories of one name are one class; a
    record's id is its image id. Objects with `iscrowd` become `crowd`. Every image is decoded once,
    on several cores, so that none fails later. Boxes are in the image as people see it, turned by
    its EXIF orientation.

    Args:
        annotations: the JSON file.
        images: folder that each `file_name` is relative to.
        classes: class names in order, by default the file's. The other splits need the training
            set's, since each file numbers its categories as it likes.
        strict: raise at the first problem; otherwise leave out what is wrong (an object, or the
            image), clip boxes that stick out, and list it in `Dataset.problems`.

    Raises:
        ValueError: with file, field, expected and got; also without `strict` if the JSON cannot be
            read, or no image or no box is left.

    Source:
        Lin et al. (2014); format at https://cocodataset.org/#format-data.
    """
    file, images, problems = Path(annotations), Path(images), ErrorLog(strict)
    tables = _tables(file)
    names = _category_names(tables["categories"], file, problems)
    if classes is None:
        classes = class_names(dict.fromkeys(names.values()), file)
    index: dict[object, int] = {name: i for i, name in enumerate(classes)}
    rows = _rows(tables["images"], "images", {"id": int, "file_name": str}, file, problems)
    objects = _annotations(tables["annotations"], rows, names, file, problems)
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
    return build_dataset(records, classes, problems, file, objects="annotations")


def read_coco_ids(annotations: Path | str) -> tuple[dict[str, int], dict[str, int]]:
    """Returns the ids of images by their file name, and of categories by their name.

    Args:
        annotations: COCO's JSON file.

    Raises:
        ValueError: with file, field, expected and got.
    """
    file, problems = Path(annotations), ErrorLog(strict=True)
    tables = _tables(file)
    rows = _rows(tables["images"], "images", {"id": int, "file_name": str}, file, problems)
    names = _category_names(tables["categories"], file, problems)
    used = {row.get("category_id") for row in tables["annotations"] if isinstance(row, dict)}
    # Of categories with one name (Roboflow adds one for the whole set), the one that has objects.
    ordered = sorted(names.items(), key=lambda item: item[0] in used)
    return {row["file_name"]: id_ for id_, row in rows.items()}, {n: id_ for id_, n in ordered}


def _category_names(rows: list, file: Path, problems: ErrorLog) -> dict[int, str]:
    """The names of the categories by their rising ids."""
    good = _rows(rows, "categories", {"id": int, "name": str}, file, problems)
    return dict(sorted((id_, row["name"].strip()) for id_, row in good.items()))


def _tables(file: Path) -> dict[str, list]:
    """Returns the three lists of the file."""
    text = text_of(file, kind="JSON")
    count = sum(text.count(mark) for mark in ",[{")
    if count > limit(MAX_VALUES):
        raise BadInputError(file, "content", at_most(MAX_VALUES, "values"), str(count))
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
    if len(tables["images"]) > limit(MAX_IMAGES):
        got = str(len(tables["images"]))
        raise BadInputError(file, "images", at_most(MAX_IMAGES, "images"), got)
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
    rows: list, images: Container[int], names: dict[int, str], file: Path, problems: ErrorLog
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
            name = names.get(row["category_id"], row["category_id"])
            objects[row["image_id"]].append(Annotation(name, box, f"{where} bbox", crowd))
    return objects
