"""Pascal VOC: an XML file per image, lists of names per split."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml import DefusedXmlException

from lectures_jax.data.files import (
    class_names,
    is_plain,
    lines_of,
    list_files,
    read_file,
    resolve_in_root,
    unwrap,
)
from lectures_jax.data.images import SUFFIXES, verify
from lectures_jax.data.problems import (
    Annotation,
    BadInputError,
    ErrorLog,
    build_dataset,
    deduplicate,
    four_numbers,
    validate_boxes,
)
from lectures_jax.data.records import Dataset, Record

TEST_SHARE = 0.2
DRAWN = {"trainval": False, "train": False, "val": True, "test": True}
"""Splits that are drawn where there is no list of any, and whether they are measured on."""
MAX_EQUALS = 2000  # signs in one file: of attributes, of which VOC has none


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

    Without a folder `ImageSets`, a fifth of the images is "test" or "val" and the rest "trainval"
    or "train": a draw that does not change, and that `Dataset.problems` mentions.

    VOC counts pixels from 1 and includes both ends, so that `xmin = 1, xmax = w` is the whole
    width. In continuous coordinates this is `[xmin − 1, xmax]`, which is what the boxes hold.
    Objects marked `difficult` become `crowd`: a detector is not scored on them. Every image
    is decoded once, on several cores, so that none fails later. Boxes are in the image as people
    see it, turned by its EXIF orientation.

    Args:
        root: folder of the data set, or one that holds nothing but it.
        split: name of the list, such as `"train"`.
        classes: class names in order, by default those of this split, sorted. The other splits need
            the training set's.
        strict: raise at the first problem; otherwise leave out what is wrong (an object, or the
            image), clip boxes that stick out, and list it in `Dataset.problems`.

    Raises:
        ValueError: with file, field, expected and got; also without `strict` if the list cannot be
            read, or no image or no box is left.

    Source:
        Everingham et al. (2010), the development kit; the coordinates as in Detectron2's
        `pascal_voc.py`.
    """
    root, problems = unwrap(Path(root)), ErrorLog(strict)
    file = root / "ImageSets" / "Main" / f"{split}.txt"
    listed = deduplicate(_listed(file, root, problems), file, problems)
    suffixes = _Suffixes(root)
    read = [_describe(root, name, suffixes(name), file, problems) for name in listed]
    images = [image for image in read if image]
    if classes is None:
        names = {str(object_.name) for image in images for object_ in image.objects}
        if not any(names):
            got = f"none in {len(images)} files, such as {images[0].file.name if images else '-'}"
            raise BadInputError(root / "Annotations", "objects", "at least one <object>", got)
        classes = class_names(sorted(names - {""}), root / "Annotations")
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
    return build_dataset(records, classes, problems, file, objects="Annotations/*.xml")


def _listed(file: Path, root: Path, problems: ErrorLog) -> list[str]:
    """Returns the names of a split; a list of one class has a second column: 1, 0 or -1."""
    names = [path.stem for path in list_files(root / "Annotations", (".xml",))]
    if file.stem in DRAWN and len(names) > 1 and not (root / "ImageSets").exists():
        count = max(1, round(len(names) * TEST_SHARE))
        test = set(np.random.default_rng(0).permutation(names)[:count].tolist())
        remark = f"{file.parent}: there are no lists of the splits: {count} of {len(names)} images "
        problems.remark(f"{remark}were drawn to be measured on.", kind="splits drawn by the reader")
        return [name for name in names if (name in test) == DRAWN[file.stem]]
    rows = [line.split() for line in lines_of(file, root=root)]
    if all(len(row) == 2 and row[1] in ("1", "0", "-1") for row in rows):
        return [name for name, _ in rows]
    return [" ".join(row) for row in rows]


class _Suffixes:
    """Looks for images by their name without suffix, in either case."""

    def __init__(self, root: Path):
        self.root = root
        self.folders: dict[str, dict[str, str]] = {}

    def __call__(self, name: str) -> str:
        parent = name.rpartition("/")[0]
        if parent not in self.folders and ".." not in parent and is_plain(parent):
            folder = self.root / "JPEGImages" / parent
            files = reversed(list_files(folder, SUFFIXES))
            self.folders[parent] = {path.stem: path.suffix for path in files}
        suffix = self.folders.get(parent, {}).get(name.rpartition("/")[2], ".jpg")
        return f"JPEGImages/{name}{suffix}"


def _describe(
    root: Path, name: str, candidate: str, file: Path, problems: ErrorLog
) -> _Described | None:
    """Reads one XML file and looks for its image."""
    xml = resolve_in_root(root, f"Annotations/{name}.xml", file, "list", problems)
    if xml is None:
        return None
    image = resolve_in_root(root, candidate, file, "list", problems)
    if image is None:
        return None
    try:
        content = read_file(xml, "XML")
        if content.count(b"=") > MAX_EQUALS:
            raise BadInputError(xml, "content", f"at most {MAX_EQUALS} attributes", "more")
        tree = defusedxml.ElementTree.fromstring(content)
        size = tree.find("size")
        declared = None if size is None else (_integer(size, "height"), _integer(size, "width"))
        if tree.tag != "annotation":
            raise BadInputError(xml, "root", "<annotation>, as VOC's files have", f"<{tree.tag}>")
    except BadInputError as error:
        problems.note(error)
        return None
    except (ParseError, DefusedXmlException, ValueError, OSError, LookupError) as error:
        problems.add(
            xml, "content", "plain XML with an integer size", f"{type(error).__name__}: {error}"
        )
        return None
    elements = enumerate(tree.findall("object"))
    parsed = [_parse_object(element, i, xml, problems) for i, element in elements]
    return _Described(name, image, xml, [object_ for object_ in parsed if object_], declared)


def _integer(element: Element, tag: str) -> int:
    return int((element.findtext(tag) or "")[:20])


def _parse_object(element: Element, i: int, xml: Path, problems: ErrorLog) -> Annotation | None:
    corners = [element.findtext(f"bndbox/{tag}") for tag in ("xmin", "ymin", "xmax", "ymax")]
    numbers = four_numbers(corners, xml, f"object {i} bndbox", problems)
    if numbers is None:
        return None
    x0, y0, x1, y1 = numbers
    name = (element.findtext("name") or "").strip()
    difficult = (element.findtext("difficult") or "").strip() == "1"
    return Annotation(name, (x0 - 1, y0 - 1, x1, y1), f"object {i}", difficult)
