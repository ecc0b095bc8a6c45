"""Random scenes, and COCO's own program to evaluate them."""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NUM_CLASSES = 3


def pycocotools(case, ranges=None):
    """Precision, recall and stats of COCO's own program; boxes become x, y, w, h in float64.

    The four ranges of areas are COCO's unless others are given.
    """
    true_boxes = xywh(case["true_boxes"])
    objects = [
        {
            "image_id": int(i),
            "category_id": int(case["true_labels"][i, g]),
            "bbox": true_boxes[i, g].tolist(),
            "area": float(case["area"][i, g]),
            "iscrowd": int(case["crowd"][i, g]),
        }
        for i, g in np.argwhere(case["true_valid"])
    ]
    boxes = xywh(case["boxes"])
    detections = [
        {
            "image_id": int(i),
            "category_id": int(case["labels"][i, d]),
            "bbox": boxes[i, d].tolist(),
            "area": float(boxes[i, d, 2] * boxes[i, d, 3]),
            "score": float(case["scores"][i, d]),
            "iscrowd": 0,
        }
        for i, d in np.argwhere(case["valid"])
    ]
    num_images = len(case["scores"])
    return run(_coco(objects, num_images), _coco(detections, num_images), ranges)


def xywh(boxes):
    boxes = boxes.astype(np.float64)
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def _coco(annotations, num_images):
    coco = COCO()
    # COCO's own program takes an object with the id 0 for unmatched.
    coco.dataset = {
        "images": [{"id": i} for i in range(num_images)],
        "categories": [{"id": c} for c in range(NUM_CLASSES)],
        "annotations": [{**x, "id": i} for i, x in enumerate(annotations, start=1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def run(objects, detections, ranges=None):
    """Precision, recall and stats of `COCO` objects."""
    with contextlib.redirect_stdout(io.StringIO()):
        program = COCOeval(objects, detections, "bbox")
        program.params.areaRng = ranges or program.params.areaRng
        program.evaluate()
        program.accumulate()
        program.summarize()
    return program.eval["precision"], program.eval["recall"], program.stats


def scene(seed, *, images=6, detections=24, objects=8, dtype=np.float32):
    """Detections near objects, on a grid so coarse that equal IoU, IoU at a threshold, equal scores
    and areas at a border are common."""
    rng = np.random.default_rng(seed)
    step = rng.choice([1, 2, 4])
    low = rng.integers(0, 40, (images, objects, 2)) * step
    true_boxes = np.concatenate([low, low + rng.integers(1, 33, low.shape) * step], -1)
    source = rng.integers(0, objects, (images, detections))
    shifted = rng.random((*source.shape, 1)) < 0.7
    boxes = np.take_along_axis(true_boxes, source[..., None], 1)
    boxes = boxes + rng.integers(-3, 4, boxes.shape) * step * shifted
    true_labels = rng.integers(0, NUM_CLASSES, (images, objects))
    confused = rng.random(source.shape) < 0.1
    labels = np.where(confused, 0, np.take_along_axis(true_labels, source, 1))
    # Sixths, so that x + w and w * h are rounded in float32 and in float64.
    boxes, true_boxes = (boxes / 6 * 4).astype(dtype), (true_boxes / 6 * 4).astype(dtype)
    width, height = np.moveaxis(xywh(true_boxes)[..., 2:], -1, 0)
    return {
        "boxes": boxes,
        "scores": (rng.integers(0, 12, source.shape) / 12).astype(dtype),
        "labels": labels.astype(np.int32),
        "valid": rng.random(source.shape) < 0.9,
        "true_boxes": true_boxes,
        "true_labels": true_labels.astype(np.int32),
        "true_valid": rng.random((images, objects)) < 0.8,
        "crowd": rng.random((images, objects)) < 0.15,
        "area": width * height * rng.choice([0.5, 1], (images, objects)),
    }
