"""A segmenter's masks of images, as PNG files and drawn over the images."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lectures_jax import report
from lectures_jax.cli.predict.images import Inputs, Reader
from lectures_jax.cli.predict.use import Use
from lectures_jax.data.images import decode_image
from lectures_jax.recipes.segmentation_scores import Segmented
from lectures_jax.runtime import atomic_write, write_json

MOST = 2**16 - 1  # objects of an image whose ids 16 bits hold
SIDE = 400  # pixels up to which a small image is enlarged to be drawn


def segment(use: Use, inputs: Inputs, out: Path, *, draw: bool = True) -> int:
    """Writes the mask of each image in its own size, and `classes.json` with names and colors.

    `masks` has a PNG file per image with class ids and a palette that shows their colors; of a
    model of objects `instances` has one with their ids, in 16 bits. `overlays` has the drawings.
    Large images are computed in tiles without seams.

    Args:
        use: the segmenter; answers with the `Segmented` of an image.
        inputs: the images.
        out: folder for what is written.
        draw: whether the masks are drawn over the images.

    Returns:
        The exit code: 0, or 2 if an image could not be read; if none could, nothing is written.

    Raises:
        ValueError: if an image has more objects than 16 bits count.
    """
    classes = use.settings["classes"]
    colors = report.mask_colors(len(classes))
    results: list[dict[str, Any]] = []
    reader = Reader(inputs.files, decode_image)
    for file, image in reader:
        result = use.answer(image)
        _write(inputs.drawing(out / "masks", file), _with_palette(result.classes, colors))
        if result.instances is not None:
            if (count := int(result.instances.max())) > MOST:
                raise ValueError(f"{file}: objects: expected at most {MOST:,}, got {count:,}.")
            ids = Image.fromarray(result.instances.astype(np.uint16))
            _write(inputs.drawing(out / "instances", file), ids)
        if draw:
            _write(inputs.drawing(out / "overlays", file), _drawn(image, result, len(classes)))
        counts = np.bincount(result.classes.ravel(), minlength=len(classes))
        shares = {name: float(n / counts.sum()) for name, n in zip(classes, counts, strict=True)}
        row: dict[str, Any] = {"file_name": inputs.name(file), "shares": shares}
        if result.instances is not None:
            row["objects"] = int(result.instances.max())
        results.append(row)
        print(f"{inputs.name(file)}: {_described(row, classes[0])}")
    if not results:
        return 2
    legend = [
        {"id": i, "name": name, "color": colors[i].tolist()} for i, name in enumerate(classes)
    ]
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "classes.json", legend)
    write_json(out / "predictions.json", results, indent=None)
    if draw:
        _write(out / "legend.png", Image.fromarray(report.mask_legend(classes)))
    print(f"{len(results)} images: {out}")
    return 2 if reader.failed else 0


def _described(row: dict[str, Any], background: str) -> str:
    if "objects" in row:
        return f"{row['objects']} objects"
    shares = sorted(row["shares"].items(), key=lambda item: -item[1])
    shown = [f"{share:.1%} {name}" for name, share in shares if share and name != background]
    return ", ".join(shown[:5]) or f"{background} only"


def _with_palette(classes: np.ndarray, colors: np.ndarray) -> Image.Image:
    image = Image.frombytes("P", classes.shape[::-1], classes.tobytes())
    image.putpalette(colors.ravel().tolist())
    return image


def _drawn(image: np.ndarray, result: Segmented, num_classes: int) -> Image.Image:
    scale = min(4, max(1, SIDE // max(image.shape[:2])))
    if result.instances is not None:
        return Image.fromarray(report.draw_instances(image, result.instances, scale=scale))
    drawn = report.draw_mask(image, result.classes, num_classes=num_classes, scale=scale)
    return Image.fromarray(drawn)


def _write(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch:
        image.save(scratch, format="PNG")
