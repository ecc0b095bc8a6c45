"""`ljx predict`: a trained detector looks at images."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lectures_jax.runtime import write_json


def predict(run_dir: Path, images: Path, out: Path, *, score: float) -> int:
    """Draws what a detector finds, and writes it in COCO's result format.

    A box is kept with its best class only, as is readable in a drawing.

    Args:
        run_dir: folder of a finished run, with `model.safetensors`.
        images: an image, or a folder of them (its subfolders are left out).
        out: folder for the drawings and `predictions.json`.
        score: least score of a box.

    Returns:
        The exit code: 0, or 2 if an image could not be read; the others are done all the same.
    """
    weights = run_dir / "model.safetensors"
    if not weights.is_file():
        raise ValueError(
            f"RUN_DIR: expected a finished detector's model.safetensors, got {run_dir}."
        )
    files = _files(images)
    if out.resolve() == files[0].parent.resolve():
        raise ValueError(f"--out: expected another folder than that of the images, got {out}.")
    from lectures_jax.data.images import decode_picture
    from lectures_jax.weights import load_yolo

    model, classes, image_size = load_yolo(weights)
    out.mkdir(parents=True, exist_ok=True)
    stems = Counter(file.stem for file in files)
    results: list[dict[str, Any]] = []
    failed = False
    for file in files:
        try:
            image = decode_picture(file)
        except ValueError as error:
            print(f"ljx: {error}", file=sys.stderr)
            failed = True
            continue
        found = _detect(model, image, image_size, score=score)
        name = file.stem if stems[file.stem] == 1 else file.name
        _draw(out / f"{name}.png", image, found, classes)
        results += _coco(file, found, classes)
        counts = Counter(classes[label] for label in found.labels).most_common()
        print(f"{file.name}: {', '.join(f'{n} {what}' for what, n in counts) or 'nothing'}")
    write_json(out / "predictions.json", results, indent=None)
    print(f"{len(results)} objects: {out / 'predictions.json'}")
    return 2 if failed else 0


class _Found(NamedTuple):
    """The objects of one image, boxes in its pixels."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def _files(images: Path) -> list[Path]:
    from lectures_jax.data.images import SUFFIXES

    if images.is_file():
        return [images]
    if not images.is_dir():
        raise ValueError(f"IMAGE_OR_FOLDER: expected an image or a folder, got {images}.")
    files = sorted(file for file in images.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"IMAGE_OR_FOLDER: expected images ({' '.join(SUFFIXES)}) in {images}.")
    return files


def _detect(model: Any, image: np.ndarray, image_size: tuple[int, int], *, score: float) -> _Found:
    """Compiled once: every image is brought to the size of the canvas."""
    import jax.numpy as jnp

    from lectures_jax import data

    canvas, transform = data.letterbox(image, image_size=image_size)
    detections = model.predict(
        jnp.asarray(canvas[None], jnp.float32) / 255,
        score_threshold=score,
        iou_threshold=0.45,
        class_agnostic=True,
    )
    boxes, scores, labels, valid = (np.asarray(array)[0] for array in detections)
    boxes = data.unletterbox_boxes(boxes[valid], transform)
    height, width = image.shape[:2]
    return _Found(np.clip(boxes, 0, (width, height) * 2), scores[valid], labels[valid])


def _draw(path: Path, image: np.ndarray, found: _Found, classes: Sequence[str]) -> None:
    from PIL import Image

    from lectures_jax import report

    # Small images are drawn larger, up to 4 times, so that labels find room.
    scale = min(4, max(1, 400 // image.shape[1]))
    drawn = report.draw_boxes(
        image, found.boxes, found.labels, found.scores, classes=classes, scale=scale
    )
    Image.fromarray(drawn).save(path)


def _coco(file: Path, found: _Found, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of one image; its id is its name, as a number where it is one."""
    return [
        {
            "image_id": int(file.stem) if file.stem.isdecimal() else file.stem,
            "file_name": file.name,
            "category_id": int(label),
            "category_name": classes[label],
            "bbox": [round(float(v), 2) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(float(score), 5),
        }
        for (x1, y1, x2, y2), score, label in zip(*found, strict=True)
    ]
