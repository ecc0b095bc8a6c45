"""The numbers by which COCO's evaluation knows images and categories."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class Ids(NamedTuple):
    """Numbers for a file of results.

    Attributes:
        images: of each image, by its name.
        categories: of each class, in the order of the labels.
    """

    images: dict[str, int]
    categories: list[int]


def number(names: Sequence[str], classes: Sequence[str], annotations: Path | None) -> Ids:
    """Returns the ids of an annotation file, or ids that are unique.

    Args:
        names: of the images.
        classes: names, in the order of the labels.
        annotations: COCO's JSON file with the true objects, whose images are matched by their
            `file_name` and whose categories by their `name`. None: the images' own numbers where
            each name is another number, as COCO's are, else 1, 2, …; and the labels.

    Raises:
        ValueError: if an image or a class is not in the annotation file.
    """
    if annotations is None:
        stems = [PurePosixPath(name).stem for name in names]
        numbers = [int(stem) if re.fullmatch("[0-9]{1,15}", stem) else -1 for stem in stems]
        if -1 in numbers or len(set(numbers)) < len(numbers):
            numbers = range(1, len(names) + 1)
        return Ids(dict(zip(names, numbers, strict=True)), list(range(len(classes))))
    from lectures_jax import data

    images, categories = data.read_coco_ids(annotations)
    bare = Counter(PurePosixPath(name).name for name in images)
    # Some files give a path in `file_name`.
    short = {PurePosixPath(n).name: i for n, i in images.items() if bare[PurePosixPath(n).name] < 2}
    ids = {name: images.get(name, short.get(PurePosixPath(name).name, -1)) for name in names}
    if missing := [name for name, i in ids.items() if i == -1 and name not in images]:
        raise ValueError(
            f"--annotations: expected each image to be in {annotations}, got {missing[0]} "
            f"({len(missing)} of {len(names)} are not)."
        )
    if unknown := [name for name in classes if name not in categories]:
        raise ValueError(
            f"--annotations: expected a category for each class of the model in {annotations}, "
            f"got none for {unknown[0]!r}."
        )
    return Ids(ids, [categories[name] for name in classes])
