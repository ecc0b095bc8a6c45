"""Small images in one folder per class, on disk or in a zip file, read into memory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lectures_jax.data.class_folders import Source, open_class_folders
from lectures_jax.data.files import at_most, limit
from lectures_jax.data.images import decode_on_black, upright_size
from lectures_jax.data.problems import BadInputError
from lectures_jax.typing import Batch

MAX_VALUES = 200_000_000  # of all images together: 0.8 GB in memory
MAX_SIDE = 96  # of images of several sizes, in pixels


def classified_images(
    root: Path, *, image_size: tuple[int, int] | None = None
) -> tuple[Batch, Batch, tuple[str, ...]]:
    """Returns the training and the test images, and the classes; see `read_classified`.

    Args:
        root: folder or zip file.
        image_size: height and width; None: see `read_classified`.

    Raises:
        ValueError: with file, field, expected and got.
    """
    with open_class_folders(root) as (classes, sources):
        size = image_size or _common_size(sources)
        images = _decoded(root, sources, size)
    labels = np.array([source.label for source in sources], np.int32)
    test = np.array([source.test for source in sources])
    # So that the first images are of all classes.
    order = np.random.default_rng(0).permutation(len(sources))
    train, others = (
        {"image": images[chosen], "labels": labels[chosen]}
        for chosen in (order[~test[order]], order[test[order]])
    )
    return train, others, classes


def _common_size(sources: Sequence[Source]) -> tuple[int, int]:
    """The size of all, or the median of height and width, at most `MAX_SIDE`."""
    sizes = [upright_size(source.file, source.read()) for source in sources]
    if len(set(sizes)) == 1:
        return sizes[0]
    height, width = np.median(sizes, axis=0)
    factor = min(1, MAX_SIDE / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _decoded(root: Path, sources: Sequence[Source], size: tuple[int, int]) -> np.ndarray:
    h, w = size
    if len(sources) * h * w * 3 > limit(MAX_VALUES):
        got = f"{len(sources)} of {w}×{h}"
        raise BadInputError(root, "images", at_most(MAX_VALUES, "values"), got)
    images = np.empty((len(sources), h, w, 3), np.float32)
    for i, source in enumerate(sources):
        pixels = decode_on_black(source.file, source.read())
        if pixels.shape[:2] != size:
            image = Image.fromarray(pixels).resize((w, h), Image.Resampling.BILINEAR)
            pixels = np.asarray(image)
        images[i] = pixels / np.float32(255)
    return images
