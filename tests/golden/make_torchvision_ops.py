"""Writes torchvision_ops.npz: what torchvision's operators on boxes give, and their gradients.

    python tests/golden/make_torchvision_ops.py

with torch 2.13 and torchvision 0.28 on the CPU. A CUDA build of torchvision beside a CPU build of
torch needs stand-ins for two libraries: `TORCHVISION_STUBS` names their folder.
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

from torchvision import ops

RNG = np.random.default_rng(0)
LOSSES = {
    "giou": ops.generalized_box_iou_loss,
    "diou": ops.distance_box_iou_loss,
    "ciou": ops.complete_box_iou_loss,
}
FORMS = {"upright": ("xyxy", "xywh", "cxcywh"), "rotated": ("xywhr", "cxcywhr", "xyxyxyxy")}
FOCAL = {"usual": (0.25, 2.0), "no alpha": (-1, 2.0), "gamma 0": (0.5, 0.0), "root": (0.75, 0.5)}
ALIGN = {
    "fixed": {"sampling_ratio": 2, "aligned": True},
    "legacy": {"sampling_ratio": 2, "aligned": False},
    "three": {"sampling_ratio": 3, "aligned": True, "spatial_scale": 0.5},
    "adaptive": {"sampling_ratio": -1, "aligned": True},
    "adaptive legacy": {"sampling_ratio": -1, "aligned": False, "spatial_scale": 0.5},
}
POOL = {"one": {}, "half": {"spatial_scale": 0.5}}
REGIONS = [
    [1.2, 0.7, 9.1, 8.3],
    [0, 0, 14, 11],
    [3.3, 4.1, 3.9, 4.6],  # smaller than a cell
    [5, 5, 5, 5],  # a point
    [-6, -5, 4, 3],  # beyond the upper left corner
    [8.5, 6.5, 20, 17],  # beyond the lower right one
    [-20, -20, -12, -13],  # outside
    [40, 30, 50, 41],
    [-9.4, -8.7, 30, 25],  # around the map
    [9, 8, 4, 2],  # corners swapped
    [6, 2, 6, 9],  # a line
]


def boxes(number: int) -> np.ndarray:
    low = RNG.uniform(0, 60, (number, 2))
    return np.concatenate([low, low + RNG.uniform(2, 40, (number, 2))], 1).astype(np.float32)


def backward(y: torch.Tensor, *leaves: torch.Tensor, grad: torch.Tensor) -> list[np.ndarray]:
    return [g.numpy() for g in torch.autograd.grad(y, leaves, grad)]


def conversions(arrays: dict[str, np.ndarray]) -> None:
    upright = torch.tensor(boxes(7))
    turned = ops.box_convert(upright, "xyxy", "cxcywh")
    angle = torch.tensor([0, 30, 90, -45, 180, 270, -123.0])[:, None]
    starts = {"upright": ("xyxy", upright), "rotated": ("cxcywhr", torch.cat([turned, angle], 1))}
    for kind, (source, start) in starts.items():
        for first in FORMS[kind]:
            x = ops.box_convert(start, source, first)
            arrays[f"convert/{first}"] = x.numpy()
            for second in FORMS[kind]:
                y = ops.box_convert(x, first, second)
                arrays[f"convert/{first}/{second}"] = y.numpy()


def small_and_masks(arrays: dict[str, np.ndarray]) -> None:
    x = boxes(12)
    x[3, 2:] = x[3, :2]  # a point
    x[5, [0, 2]] = x[5, [2, 0]]  # swapped
    keep = np.zeros(12, bool)
    keep[ops.remove_small_boxes(torch.tensor(x), 12.5).numpy()] = True
    masks = RNG.random((5, 9, 12)) > 0.93
    masks[1] = False
    masks[2] = False
    masks[2, 4, 7] = True
    masks[3] = True
    arrays |= {"small/boxes": x, "small/keep": keep, "masks/masks": masks}
    arrays["masks/boxes"] = ops.masks_to_boxes(torch.tensor(masks)).numpy()


def losses(arrays: dict[str, np.ndarray]) -> None:
    a, b = (boxes(10) for _ in range(2))
    b[0] = a[0]
    b[1] = a[1] + [3, -2, 3, -2]
    b[2] = a[2] + 200
    arrays |= {"loss/a": a, "loss/b": b}
    g = torch.tensor(RNG.normal(size=10).astype(np.float32))
    arrays["loss/g"] = g.numpy()
    for name, loss in LOSSES.items():
        leaves = [torch.tensor(x, requires_grad=True) for x in (a, b)]
        y = loss(*leaves)
        arrays[f"loss/{name}"] = y.detach().numpy()
        arrays[f"loss/{name}/da"], arrays[f"loss/{name}/db"] = backward(y, *leaves, grad=g)
    logits = np.float32([-30, -4, -1, 0, 0.5, 2, 8, 30] * 3)
    targets = np.repeat(np.float32([0, 1, 0.3]), 8)
    arrays |= {"focal/logits": logits, "focal/targets": targets}
    for name, (alpha, gamma) in FOCAL.items():
        x = torch.tensor(logits, requires_grad=True)
        y = ops.sigmoid_focal_loss(x, torch.tensor(targets), alpha, gamma)
        arrays[f"focal/{name}"] = y.detach().numpy()
        arrays[f"focal/{name}/dx"] = backward(y, x, grad=torch.ones_like(y))[0]


def regions(arrays: dict[str, np.ndarray]) -> None:
    features = RNG.normal(size=(11, 14, 5)).astype(np.float32)
    x = torch.tensor(features.transpose(2, 0, 1)[None].copy(), requires_grad=True)
    rois = [torch.tensor(REGIONS, dtype=torch.float32)]
    g = RNG.normal(size=(len(REGIONS), 3, 4, 5)).astype(np.float32)
    grad = torch.tensor(g.transpose(0, 3, 1, 2).copy())
    arrays |= {"roi/x": features, "roi/boxes": np.float32(REGIONS), "roi/g": g}
    cases = {f"align {n}": (ops.roi_align, o) for n, o in ALIGN.items()}
    cases |= {f"pool {n}": (ops.roi_pool, o) for n, o in POOL.items()}
    for name, (op, options) in cases.items():
        y = op(x, rois, (3, 4), **options)
        arrays[f"roi/{name}"] = y.detach().numpy().transpose(0, 2, 3, 1)
        arrays[f"roi/{name}/dx"] = backward(y, x, grad=grad)[0][0].transpose(1, 2, 0)


def main() -> None:
    arrays = {"names": np.array(ops.__all__)}
    conversions(arrays)
    small_and_masks(arrays)
    losses(arrays)
    regions(arrays)
    np.savez_compressed(Path(__file__).with_name("torchvision_ops.npz"), **arrays)


if __name__ == "__main__":
    main()
