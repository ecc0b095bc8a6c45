"""Pascal VOC: an XML file per image, lists of names per split."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from lectures_jax.data.images import SUFFIXES, verify
from lectures_jax.data.problems import (
    Annotation,
    ErrorLog,
    build_dataset,
    deduplicate,
    four_numbers,
    lines_of,
    resolve_in_root,
    validate_boxes,
)
from lectures_jax.data.records import Dataset, Record


class _Described(NamedTuple):
    """An image as its XML file describes it; `size` is (height, width), where it is stated."""

    name: str
    image: Path
    file: Path
    objects: list[Annotation]
    size: tuple[int, int] | None


def read_voc(
    root: Path | str, *, split: str, classes: Sequence[str] | None = None, strict: bool = True
) -> Dataset:
    """Reads `Annotations/*.xml`, `JPEGImages` and `ImageSets/Main/<split>.txt`.

    VOC counts pixels from 1 and includes both ends, so that `xmin = 1, xmax = w` is the whole
    width. In continuous coordinates this is `[xmin − 1, xmax]`, which is what the boxes hold.
    Objects marked `difficult` become `crowd`: a detector is not scored on them. Every image
    is decoded once, on all cores, so that none fails later.

    Args:
        root: folder of the data set.
        split: name of the list, such as `"train"`.
        classes: class names in order, by default those of this split, sorted. The other splits need
            the training set's.
        strict: raise at the first problem; otherwise leave out what is wrong (an object, or the
            image) and list it in `Dataset.problems`.

    Raises:
        ValueError: with file, field, expected and got; also without `strict` if the list cannot be
            read or nothing is left.

    Source:
        Everingham et al. (2010), the development kit; the coordinates as in Detectron2's
        `pascal_voc.py`.
    """
    root, problems = Path(root), ErrorLog(strict)
    file = root / "ImageSets" / "Main" / f"{split}.txt"
    listed = deduplicate(lines_of(file), file, problems)
    read = [_describe(root, name, file, problems) for name in listed]
    images = [image for image in read if image]
    if classes is None:
        names = {object_.name for image in images for object_ in image.objects}
        classes = sorted(str(name) for name in names if name)
    index: dict[object, int] = {name: i for i, name in enumerate(classes)}
    sizes = verify([image.image for image in images], problems)
    records = []
    for image in images:
        size = sizes.get(image.image)
        if size is None:
            continue
        if image.size not in (None, size):
            problems.add(image.file, "size", f"(height, width) {size}", image.size)
            continue
        boxes, labels, crowd = validate_boxes(image.objects, size, index, image.file, problems)
        records.append(Record(image.name, image.image, boxes, labels, crowd))
    return build_dataset(records, classes, problems, file)


def _describe(root: Path, name: str, file: Path, problems: ErrorLog) -> _Described | None:
    """Reads one XML file and looks for its image."""
    xml = resolve_in_root(root, f"Annotations/{name}.xml", file, "list", problems)
    if xml is None:
        return None
    candidates = [f"JPEGImages/{name}{suffix}" for suffix in SUFFIXES]
    existing = [path for path in candidates if (root / path).is_file()]
    candidate = existing[0] if existing else f"JPEGImages/{name}.jpg"
    image = resolve_in_root(root, candidate, file, "list", problems)
    if image is None:
        return None
    try:
        tree = defusedxml.ElementTree.fromstring(xml.read_bytes())
        size = tree.find("size")
        declared = None if size is None else (_integer(size, "height"), _integer(size, "width"))
    except (ParseError, DefusedXmlException, ValueError, OSError, LookupError) as error:
        problems.add(
            xml, "content", "plain XML with an integer size", f"{type(error).__name__}: {error}"
        )
        return None
    elements = enumerate(tree.findall("object"))
    parsed = [_parse_object(element, i, xml, problems) for i, element in elements]
    return _Described(name, image, xml, [object_ for object_ in parsed if object_], declared)


def _integer(element: Element, tag: str) -> int:
    return int(element.findtext(tag) or "")


def _parse_object(element: Element, i: int, xml: Path, problems: ErrorLog) -> Annotation | None:
    corners = [element.findtext(f"bndbox/{tag}") for tag in ("xmin", "ymin", "xmax", "ymax")]
    numbers = four_numbers(corners, xml, f"object {i} bndbox", problems)
    if numbers is None:
        return None
    x0, y0, x1, y1 = numbers
    name = (element.findtext("name") or "").strip()
    difficult = (element.findtext("difficult") or "").strip() == "1"
    return Annotation(name, (x0 - 1, y0 - 1, x1, y1), f"object {i}", difficult)
