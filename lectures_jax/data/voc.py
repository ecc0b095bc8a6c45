"""Pascal VOC: an XML file per image, lists of names per split."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from lectures_jax.data.pictures import SUFFIXES, verify
from lectures_jax.data.problems import (
    Annotation,
    ErrorLog,
    finish,
    four_numbers,
    inside,
    lines_of,
    objects,
    once,
)
from lectures_jax.data.records import Dataset, Record


class _Annotation(NamedTuple):
    name: str
    image: Path
    file: Path
    things: list[Annotation]
    size: tuple[int, int] | None


def read_voc(
    root: Path | str, *, split: str, classes: Sequence[str] | None = None, strict: bool = True
) -> Dataset:
    """Reads `Annotations/*.xml`, `JPEGImages` and `ImageSets/Main/<split>.txt`.

    VOC counts pixels from 1 and includes both ends, so that `xmin = 1, xmax = w` is the whole
    width. In continuous coordinates this is `[xmin − 1, xmax]`, which is what the boxes hold.
    Objects marked `difficult` become `crowd`: neither to be found nor to be missed. Every image
    is decoded once, on all cores, so that none fails later.

    Args:
        root: folder of the data set.
        split: name of the list, such as `"train"`.
        classes: class names in order; those of this split, sorted, if not given. Give the training
            set's to the other splits.
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
    listed = once(lines_of(file), file, problems)
    read = [_annotation(root, name, file, problems) for name in listed]
    annotations = [annotation for annotation in read if annotation]
    if classes is None:
        names = {thing.name for annotation in annotations for thing in annotation.things}
        classes = sorted(str(name) for name in names if name)
    index: dict[object, int] = {name: i for i, name in enumerate(classes)}
    sizes = verify([annotation.image for annotation in annotations], problems)
    records = []
    for annotation in annotations:
        size = sizes.get(annotation.image)
        if size is None:
            continue
        if annotation.size not in (None, size):
            problems.add(annotation.file, "size", f"(height, width) {size}", annotation.size)
            continue
        boxes, labels, crowd = objects(annotation.things, size, index, annotation.file, problems)
        records.append(Record(annotation.name, annotation.image, boxes, labels, crowd))
    return finish(records, classes, problems, file)


def _annotation(root: Path, name: str, file: Path, problems: ErrorLog) -> _Annotation | None:
    """Reads one XML file and finds its image."""
    xml = inside(root, f"Annotations/{name}.xml", file, "list", problems)
    if xml is None:
        return None
    candidates = [f"JPEGImages/{name}{suffix}" for suffix in SUFFIXES]
    found = [path for path in candidates if (root / path).is_file()]
    image = inside(root, found[0] if found else f"JPEGImages/{name}.jpg", file, "list", problems)
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
    things = [thing for i, element in elements if (thing := _thing(element, i, xml, problems))]
    return _Annotation(name, image, xml, things, declared)


def _integer(element: Element, tag: str) -> int:
    return int(element.findtext(tag) or "")


def _thing(element: Element, i: int, xml: Path, problems: ErrorLog) -> Annotation | None:
    corners = [element.findtext(f"bndbox/{tag}") for tag in ("xmin", "ymin", "xmax", "ymax")]
    numbers = four_numbers(corners, xml, f"object {i} bndbox", problems)
    if numbers is None:
        return None
    x0, y0, x1, y1 = numbers
    name = (element.findtext("name") or "").strip()
    difficult = (element.findtext("difficult") or "").strip() == "1"
    return Annotation(name, (x0 - 1, y0 - 1, x1, y1), f"object {i}", difficult)
