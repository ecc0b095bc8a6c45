"""A mask file per image: the number of a class or of an instance at each pixel."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lectures_jax.data.files import class_names, lines_of, list_files, resolve_in_root
from lectures_jax.data.images import SUFFIXES, decode_mask, verify
from lectures_jax.data.problems import ErrorLog, build_dataset, deduplicate
from lectures_jax.data.records import Dataset, Record


def read_masks(
    images: Path | str,
    masks: Path | str,
    *,
    names: Path | str | None = None,
    classes: Sequence[str] = ("object",),
    strict: bool = True,
) -> Dataset:
    """Reads images with their masks, PNG files of the same name; 0 is background.

    `loader` puts the masks into its batches, which is how a segmentation network gets them.

    The numbers are those of the file (for a palette its indices): class ids from 1, or instance
    ids, whichever the set holds. Every image and mask is decoded once, on several cores, so that
    none fails later.

    Args:
        images: folder of the images.
        masks: folder of the masks.
        names: file that lists the split's images without suffix; by default all images are read.
        classes: names of the classes without the background.
        strict: raise at the first problem; otherwise leave out the image and list it in
            `Dataset.problems`.

    Raises:
        ValueError: with file, field, expected and got; also without `strict` if the list cannot be
            read or nothing is left.
    """
    images, masks, problems = Path(images), Path(masks), ErrorLog(strict)
    source = images if names is None else Path(names)
    classes = class_names(classes, images)
    names_of = file_stems(images) if names is None else lines_of(source)
    pairs = pair_files(images, masks, names_of, source, problems)
    sizes = verify([image for image, _ in pairs.values()], problems)
    mask_sizes = verify([mask for _, mask in pairs.values()], problems, decode_mask)
    records = []
    for stem, (image, mask) in pairs.items():
        size, mask_size = sizes.get(image), mask_sizes.get(mask)
        if size is None or mask_size is None:
            continue
        if size != mask_size:
            problems.add(mask, "height, width", f"those of the image, {size}", mask_size)
        else:
            records.append(Record(stem, image, mask=mask))
    return build_dataset(records, classes, problems, source)


def file_stems(folder: Path) -> list[str]:
    """Returns the names of the images in a folder, without their suffixes.

    Args:
        folder: where to look, not below it.
    """
    return [path.stem for path in list_files(folder, SUFFIXES)]


def pair_files(
    images: Path, masks: Path, stems: Sequence[str], source: Path, problems: ErrorLog
) -> dict[str, tuple[Path, Path]]:
    """Returns image and mask of each name; what has not both is a problem.

    Args:
        images: folder of the images.
        masks: folder of the masks, PNG files.
        stems: names without suffix.
        source: file or folder that lists the names, for messages.
        problems: receives a line for each name that is there twice, lacks a file, or is listed and
            that of several images.
    """
    image_names: dict[str, list[str]] = {}
    for path in list_files(images, SUFFIXES):
        image_names.setdefault(path.stem, []).append(path.name)
    mask_names = {path.stem: path.name for path in list_files(masks, (".png",))}
    pairs, counts = {}, Counter(stems)
    for stem in deduplicate(stems, source, problems):
        name, *more = image_names.get(stem, [f"{stem}.png"])
        if more and counts[stem] == 1:  # it is listed, and may mean either
            problems.add(images, "image", f"one file named {stem}", ", ".join((name, *more)))
            continue
        image = resolve_in_root(images, name, source, "image", problems)
        name = mask_names.get(stem, f"{stem}.png")
        mask = resolve_in_root(masks, name, source, "mask", problems)
        if image is not None and mask is not None:
            pairs[stem] = image, mask
    return pairs
