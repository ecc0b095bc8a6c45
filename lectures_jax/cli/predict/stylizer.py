"""A stylizer's images, repainted."""

from pathlib import Path

import numpy as np
from PIL import Image

from lectures_jax import report
from lectures_jax.cli.predict.images import Inputs, Reader
from lectures_jax.cli.predict.use import Use
from lectures_jax.data.images import decode_image
from lectures_jax.runtime import atomic_write

STRIP = 256  # rows that are converted at a time: a large image is not copied as floats


def repaint(use: Use, inputs: Inputs, out: Path) -> int:
    """Writes each image as the stylizer repaints it, in its own size, as PNG.

    Large ones are repainted in tiles without seams, in memory for one tile besides the image.

    Args:
        use: the stylizer; answers with the repainted image, in [0, 1].
        inputs: the images.
        out: folder for the results.

    Returns:
        The exit code: 0, or 2 if an image could not be read.
    """
    reader, count = Reader(inputs.files, decode_image), 0
    for file, image in reader:
        painted = use.answer(np.divide(image, 255, dtype=np.float32))
        strips = np.array_split(painted, -(-len(painted) // STRIP))
        pixels = np.concatenate([report.grid([strip]) for strip in strips])
        path = inputs.drawing(out, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as scratch:
            Image.fromarray(pixels).save(scratch, format="PNG")
        print(f"{inputs.name(file)}: {path}")
        count += 1
    print(f"{count} images: {out}")
    return 2 if reader.failed else 0
