"""Writes `nms.npz`: what torchvision's compiled operators keep of scenes with every known trap.

    python tests/golden/make_nms.py

Needs torch and torchvision, which the tests do not. A CUDA build of torchvision beside a CPU build
of torch needs stand-ins for two libraries: `TORCHVISION_STUBS` names their folder.
"""

import ctypes
import os
from pathlib import Path

import numpy as np
import torch

if "TORCHVISION_STUBS" in os.environ:
    for library in ("libtorch_cuda.so", "libc10_cuda.so"):
        path = Path(os.environ["TORCHVISION_STUBS"]) / library
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)

import torchvision  # after the stand-ins


def scene(rng: np.random.Generator, kind: str, count: int) -> tuple[np.ndarray, ...]:
    low = rng.uniform(-40, 60, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 60, (count, 2))], axis=1)
    scores = rng.uniform(0, 1, count)
    if kind in ("grid", "ties"):
        boxes = np.round(boxes / 10) * 10  # many IoUs are simple fractions, many areas are 0
    if kind == "ties":
        scores = np.round(scores * 4) / 4
    if kind == "swapped":
        boxes = rng.uniform(-40, 60, (count, 4))
    if kind == "broken":
        boxes[rng.random(boxes.shape) < 0.03] = np.nan
        boxes[rng.random(boxes.shape) < 0.03] = np.inf
    if kind == "negative":
        boxes -= 200
    return boxes.astype(np.float32), scores.astype(np.float32), rng.integers(0, 3, count)


def main() -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for kind in ("plain", "grid", "ties", "swapped", "broken", "negative"):
        for count, threshold in ((40, 0.3), (40, 0.5), (300, 0.1), (300, 0.6)):
            boxes, scores, labels = scene(rng, kind, count)
            kept = torchvision.ops.nms(torch.tensor(boxes), torch.tensor(scores), threshold)
            arrays |= {
                f"{kind}-{count}-{threshold}-{name}": value
                for name, value in (
                    ("boxes", boxes),
                    ("scores", scores),
                    ("labels", labels.astype(np.int32)),
                    ("kept", kept.numpy().astype(np.int32)),
                    ("kept_by_class", by_class(boxes, scores, labels, threshold)),
                )
            }
    np.savez_compressed(Path(__file__).parent / "nms.npz", **arrays)


def by_class(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float
) -> np.ndarray:
    """Class after class: `batched_nms` shifts small sets by class, which rounds the boxes."""
    kept = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen = torchvision.ops.nms(
            torch.tensor(boxes[rows]), torch.tensor(scores[rows]), threshold
        )
        kept.append(rows[chosen.numpy()])
    rows = np.sort(np.concatenate(kept))
    return rows[np.argsort(-scores[rows], kind="stable")].astype(np.int32)


if __name__ == "__main__":
    main()
