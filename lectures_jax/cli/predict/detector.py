"""A detector's boxes, drawn and in COCO's result format."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lectures_jax import report
from lectures_jax.cli.predict.ids import Ids, number
from lectures_jax.cli.predict.images import Inputs, Reader
from lectures_jax.data.images import decode_image
from lectures_jax.runtime import atomic_write, write_json
from lectures_jax.weights import SavedModel
from lectures_jax.weights.detector import Detector, Objects


def detect(
    saved: SavedModel,
    inputs: Inputs,
    out: Path,
    *,
    score: float,
    annotations: Path | None = None,
    draw: bool = True,
) -> int:
    """Draws the objects of each image, and writes them to `predictions.json`.

    A box is kept with its best class only, so that a drawing can be read.

    Args:
        saved: the detector.
        inputs: the images.
        out: folder for the drawings and `predictions.json`.
        score: least score of a box.
        annotations: COCO's file of the true objects, whose ids of images and categories are used.
        draw: whether each image is drawn.

    Returns:
        The exit code: 0, or 2 if an image could not be read.

    Raises:
        ValueError: if an image or a class is not in the annotation file.
    """
    classes = saved.settings["classes"]
    height, width = saved.settings["image_size"]
    detector = Detector(saved.model, tuple(classes), (height, width))
    ids = number([inputs.name(file) for file in inputs.files], classes, annotations)
    out.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    reader = Reader(inputs.files, decode_image)
    for file, image in reader:
        objects = detector(image, score_threshold=score)
        name = inputs.name(file)
        if draw:
            _draw(inputs.drawing(out, file), image, objects, classes)
        results += _coco(name, objects, ids)
        counts = Counter(objects.names).most_common()
        print(f"{name}: {', '.join(f'{n} {what}' for what, n in counts) or 'nothing'}")
    write_json(out / "predictions.json", results, indent=None)
    print(f"{len(results)} objects: {out / 'predictions.json'}")
    return 2 if reader.failed else 0


def _draw(path: Path, image: np.ndarray, objects: Objects, classes: Sequence[str]) -> None:
    # Small images are drawn larger, up to 4 times, so that labels have room.
    scale = min(4, max(1, 400 // image.shape[1]))
    drawn = report.draw_boxes(
        image, objects.boxes, objects.labels, objects.scores, classes=classes, scale=scale
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as scratch:
        Image.fromarray(drawn).save(scratch, format="PNG")


def _coco(name: str, objects: Objects, ids: Ids) -> list[dict[str, Any]]:
    """The objects of one image, as COCO's evaluation takes them."""
    return [
        {
            "image_id": ids.images[name],
            "file_name": name,
            "category_id": ids.categories[int(label)],
            "category_name": category,
            "bbox": [round(float(v), 2) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(float(score), 5),
        }
        for (x1, y1, x2, y2), score, label, category in zip(*objects, strict=True)
    ]
