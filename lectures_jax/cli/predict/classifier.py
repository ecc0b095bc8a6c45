"""A classifier's five best classes of each image."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lectures_jax.cli.predict.images import Inputs, Reader
from lectures_jax.cli.predict.use import Use
from lectures_jax.data.images import decode_on_black
from lectures_jax.runtime import atomic_write, write_json

BEST = 5


def classify(use: Use, inputs: Inputs, out: Path) -> int:
    """Prints the best classes of each image; writes `predictions.csv` and `predictions.json`.

    Args:
        use: the classifier; answers with the probabilities of a batch of images.
        inputs: the images.
        out: folder for the two files.

    Returns:
        The exit code: 0, or 2 if an image could not be read.
    """
    classes = use.settings["classes"]
    out.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    reader = Reader(inputs.files, decode_on_black)
    for file, pixels in reader:
        image = preprocess(pixels, use.settings)
        (probabilities,) = use.answer(image[None])
        best = np.argsort(-probabilities, kind="stable")[:BEST]
        results.append(
            {
                "file_name": inputs.name(file),
                "classes": [
                    {
                        "label": int(label),
                        "name": classes[label],
                        "probability": round(float(probabilities[label]), 5),
                    }
                    for label in best
                ],
            }
        )
        shown = (f"{classes[label]} {probabilities[label]:.3f}" for label in best)
        print(f"{inputs.name(file)}: {', '.join(shown)}")
    if not results:
        return 2
    write_json(out / "predictions.json", results, indent=None)
    _write_csv(out / "predictions.csv", results)
    print(f"{len(results)} images: {out / 'predictions.csv'}")
    return 2 if reader.failed else 0


def preprocess(pixels: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """Returns an image as the classifier was trained on it, float32 [h, w, c] in [0, 1].

    Args:
        pixels: uint8 RGB of any size, which is changed to that of training, whatever its aspect.
        settings: `image_size`, and `inputs`: 1 for gray images, 3 for RGB.
    """
    height, width = settings["image_size"]
    image = Image.fromarray(pixels)
    if settings["inputs"] == 1:
        image = image.convert("L")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32).reshape(height, width, settings["inputs"]) / 255


def _write_csv(path: Path, results: Sequence[dict[str, Any]]) -> None:
    """A row for each image and each of its best classes."""
    with (
        atomic_write(path) as scratch,
        scratch.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(("file_name", "rank", "label", "name", "probability"))
        for result in results:
            for rank, row in enumerate(result["classes"], 1):
                writer.writerow((result["file_name"], rank, *row.values()))
