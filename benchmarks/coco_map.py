"""COCO's average precision: `metrics.coco_map` against pycocotools and faster-coco-eval.

Our time is from padded arrays, the peers' from finished `COCO` objects, to the twelve numbers
(evaluate, accumulate, summarize). The time of a peer from the same arrays to its objects
(dictionaries, index) stands in an entry of its own and is in no ratio. Every precision and recall
must equal pycocotools' first. Compilation is not timed: each is called once before.
"""

# pyright: reportMissingImports=false
# The peers are an extra of their own.

import contextlib
import io
import sys
import time
from typing import Any, NamedTuple

import faster_coco_eval
import numpy as np
import pycocotools.coco
import pycocotools.cocoeval

from benchmarks.common import compare, save
from lectures_jax import metrics

CLASSES, DETECTIONS, OBJECTS = 80, 100, 32


class Case(NamedTuple):
    """The arrays that `coco_map` takes, all boxes in float32."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    true_boxes: np.ndarray
    true_labels: np.ndarray
    true_valid: np.ndarray


def synthetic(images: int) -> Case:
    """Images like COCO's: 7 objects on average, half of the 100 detections near one of them."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 500, (images, OBJECTS, 2))
    true_boxes = np.concatenate([low, low + rng.lognormal(4, 1, low.shape)], axis=-1)
    true_labels = rng.integers(0, CLASSES, (images, OBJECTS), np.int32)
    count = np.clip(rng.geometric(1 / 7, images), 1, OBJECTS)
    source = rng.integers(0, count[:, None], (images, DETECTIONS))
    size = np.take_along_axis(true_boxes[..., 2:] - low, source[..., None], axis=1)
    near = np.take_along_axis(true_boxes, source[..., None], axis=1)
    near = near + rng.normal(0, 0.1, near.shape) * np.tile(size, 2)
    corner = rng.uniform(0, 500, (images, DETECTIONS, 2))
    far = np.concatenate([corner, corner + rng.lognormal(4, 1, corner.shape)], axis=-1)
    hit = rng.random(source.shape) < 0.5
    return Case(
        np.where(hit[..., None], near, far).astype(np.float32),
        (rng.random(source.shape) * np.where(hit, 1, 0.5)).astype(np.float32),
        np.where(
            hit,
            np.take_along_axis(true_labels, source, axis=1),
            rng.integers(0, CLASSES, source.shape),
        ).astype(np.int32),
        np.ones(source.shape, bool),
        true_boxes.astype(np.float32),
        true_labels,
        np.arange(OBJECTS)[None] < count[:, None],
    )


def annotations(boxes, labels, valid, scores=None) -> list[dict[str, Any]]:
    """The arrays as COCO's dictionaries."""
    boxes = boxes.astype(np.float64)
    boxes = np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)
    image, slot = np.nonzero(valid)
    rows = {
        "image_id": image.tolist(),
        "category_id": labels[image, slot].tolist(),
        "bbox": boxes[image, slot].tolist(),
        "area": boxes[image, slot, 2:].prod(axis=-1).tolist(),
        "score": (np.ones(valid.shape) if scores is None else scores)[image, slot].tolist(),
    }
    return [
        {"id": i, "iscrowd": 0, **dict(zip(rows, row, strict=True))}
        for i, row in enumerate(zip(*rows.values(), strict=True), start=1)
    ]


def build_coco(case: Case, coco: Any) -> Any:
    """The true boxes as a peer's `COCO` object."""
    dataset = {
        "images": [{"id": i} for i in range(len(case.scores))],
        "categories": [{"id": i, "name": str(i)} for i in range(CLASSES)],
        "annotations": annotations(case.true_boxes, case.true_labels, case.true_valid),
    }
    truth = coco()
    truth.dataset = dataset
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth


def detections(case: Case, truth: Any) -> Any:
    """The detections as a peer's `COCO` object."""
    with contextlib.redirect_stdout(io.StringIO()):
        return truth.loadRes(annotations(case.boxes, case.labels, case.valid, case.scores))


def run(evaluator: Any, truth: Any, predicted: Any) -> Any:
    """What a peer does from its objects to the twelve numbers."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = evaluator(truth, predicted, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def measure(images: int, *, repeats: int) -> dict[str, Any]:
    """Returns a row of seconds for a synthetic set."""
    case = synthetic(images)
    peers = {
        "pycocotools": (pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval),
        "faster-coco-eval": (faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster),
    }
    prepared, preparation = {}, {}
    for name, (coco, _) in peers.items():
        start = time.perf_counter()
        truth = build_coco(case, coco)
        prepared[name] = truth, detections(case, truth)
        preparation[f"{name}, to dictionaries"] = time.perf_counter() - start

    functions = {
        name: lambda evaluator=evaluator, name=name: run(evaluator, *prepared[name])
        for name, (_, evaluator) in peers.items()
    }
    expected = functions["pycocotools"]().eval
    result = metrics.coco_map(*case, num_classes=CLASSES)
    for name in ("precision", "recall"):
        if not np.array_equal(getattr(result, name), expected[name]):
            raise RuntimeError(f"{name} differs from pycocotools'")

    def ours():
        return metrics.coco_map(*case, num_classes=CLASSES).stats

    times = compare({"lectures_jax": ours, **functions}, repeats=repeats)
    seconds = times.seconds
    return {
        "case": f"{images} images, {CLASSES} classes, {case.valid.sum()} detections",
        **seconds,
        **preparation,
        "ratio": seconds["lectures_jax"] / seconds["pycocotools"],
        "ratio to faster-coco-eval": seconds["lectures_jax"] / seconds["faster-coco-eval"],
        **times.conditions(),
    }


def main() -> None:
    """Measures, prints and saves; `--quick` leaves the set of 5000 images out."""
    sizes = {500: 5} if "--quick" in sys.argv else {500: 5, 5000: 3}
    rows = []
    for images, repeats in sizes.items():
        rows.append(measure(images, repeats=repeats))
        for name, value in rows[-1].items():
            print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")
    print(save("coco_map", rows))


if __name__ == "__main__":
    main()
