"""Times suppression beside torchvision's compiled operator and OpenCV's, on one processor.

    python -m benchmarks.nms [--sizes 100 1000] [--batches 1 8] [--seconds 4]

torchvision's CUDA wheel needs stand-ins for two libraries beside a CPU build of torch:
`TORCHVISION_STUBS` names their folder. Peers that are not installed are left out. The peers return
all boxes kept and take a batch one image after the other, as their users must; ours is timed for
all boxes and for the 300 best. Scenes change from call to call, as images do: on the same scene
again and again a processor predicts all of a peer's branches.
"""

# pyright: reportMissingImports=false
# The peers are an extra of their own.

import argparse
import ctypes
import itertools
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common import compare, save
from lectures_jax import ops

THRESHOLD = 0.5
BEST = 300
SCENES = 4
PATIENCE = 2.0  # seconds that one call of a peer may take; slower peers are left out of a row

Scene = tuple[np.ndarray, np.ndarray, np.ndarray]
Thunk = Callable[[], Any]


def scene(rng: np.random.Generator, kind: str, number: int, classes: int) -> Scene:
    """Boxes in 640×640 pixels: anywhere, or some 50 around each object as a detector gives them."""
    if kind == "random":
        center, size = rng.uniform(0, 640, (number, 2)), rng.uniform(8, 120, (number, 2))
    else:
        objects = max(1, number // 50)
        which = rng.integers(0, objects, number)
        size = rng.uniform(16, 160, (objects, 2))[which]
        center = rng.uniform(0, 640, (objects, 2))[which] + rng.normal(0, 0.08, size.shape) * size
        size = size * np.exp(rng.normal(0, 0.15, size.shape))
    boxes = np.concatenate([center - size / 2, center + size / 2], axis=1).astype(np.float32)
    scores = rng.uniform(0, 1, number).astype(np.float32)
    return boxes, scores, rng.integers(0, classes, number).astype(np.int32)


def ours(batches: list[list[Scene]], classes: int, max_outputs: int) -> Thunk:
    """One call for all images."""
    search = partial(ops.nms, max_outputs=max_outputs, iou_threshold=THRESHOLD)
    parts = 3 if classes > 1 else 2
    if len(batches[0]) == 1:
        inputs = [tuple(jnp.asarray(x) for x in images[0][:parts]) for images in batches]
    else:
        search = jax.jit(jax.vmap(search))
        inputs = [
            tuple(jnp.stack(x) for x in zip(*images, strict=True))[:parts] for images in batches
        ]
    turns = itertools.cycle(inputs)
    return lambda: search(*next(turns))


def torchvision_peer(batches: list[list[Scene]], classes: int) -> Thunk:
    torch, torchvision = load_torchvision()
    inputs = [[tuple(torch.tensor(x) for x in image) for image in images] for images in batches]
    turns = itertools.cycle(inputs)
    if classes > 1:
        return lambda: [torchvision.ops.batched_nms(*image, THRESHOLD) for image in next(turns)]
    return lambda: [torchvision.ops.nms(*image[:2], THRESHOLD) for image in next(turns)]


def opencv_peer(batches: list[list[Scene]], classes: int) -> Thunk:
    import cv2

    cv2.setNumThreads(1)  # its suppression uses one; a pool would only disturb the others

    def convert(image: Scene) -> tuple[np.ndarray, ...]:
        boxes, scores, labels = image
        corner_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        return corner_size.astype(np.float64), scores, labels

    turns = itertools.cycle([[convert(image) for image in images] for images in batches])
    if classes > 1:
        return lambda: [cv2.dnn.NMSBoxesBatched(*image, 0.0, THRESHOLD) for image in next(turns)]
    return lambda: [cv2.dnn.NMSBoxes(*image[:2], 0.0, THRESHOLD) for image in next(turns)]


def load_torchvision() -> tuple[Any, Any]:
    import torch

    if "TORCHVISION_STUBS" in os.environ:
        for library in ("libtorch_cuda.so", "libc10_cuda.so"):
            path = Path(os.environ["TORCHVISION_STUBS"]) / library
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    import torchvision

    return torch, torchvision


def installed_peers() -> dict[str, Callable[[list[list[Scene]], int], Thunk]]:
    peers = {}
    probe = [[scene(np.random.default_rng(0), "random", 10, 1)]]
    for name, peer in (("torchvision", torchvision_peer), ("opencv", opencv_peer)):
        try:
            peer(probe, 1)()
            peers[name] = peer
        except Exception as error:
            print(f"{name} is left out: {type(error).__name__}: {str(error).splitlines()[0]}")
    return peers


def check_equal(mine: Thunk, theirs: Thunk) -> None:
    """Fails if the two, called for the first time, keep different boxes of the first image."""
    selection = jax.tree.map(lambda x: np.asarray(x).reshape(-1, x.shape[-1])[0], mine()[:1])
    expected = theirs()[0].numpy()
    np.testing.assert_array_equal(selection[0][: len(expected)], expected)


def measure(
    kind: str, number: int, classes: int, images: int, peers: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """Returns one row of the table; its calls take about the given time, three rounds at least."""
    rng = np.random.default_rng(number + classes)
    batches = [[scene(rng, kind, number, classes) for _ in range(images)] for _ in range(SCENES)]
    functions = {
        "ours": ours(batches, classes, number),
        f"ours, best {BEST}": ours(batches, classes, min(BEST, number)),
    } | {name: peer(batches, classes) for name, peer in peers.items()}
    if classes == 1 and "torchvision" in peers:
        check_equal(ours(batches, 1, number), peers["torchvision"](batches, 1))
    once = sum(compare(functions, repeats=1).seconds.values())
    repeats = int(np.clip(seconds / once, 3, 300))
    times = compare(functions, repeats=repeats)
    return {
        "boxes": kind,
        "number": number,
        "classes": classes,
        "images": images,
        "repeats": repeats,
        "seconds": times.seconds,
        **times.conditions(),
    }


def describe(row: dict[str, Any]) -> str:
    title = f"{row['boxes']:9} {row['number']:5} boxes, {row['classes']:2} classes"
    times = row["seconds"]
    parts = [f"{name} {1e3 * value:.3f} ms" for name, value in times.items()]
    if "torchvision" in times:
        parts.append(f"ours / torchvision {times['ours'] / times['torchvision']:.2f}")
    return f"{title}, {row['images']:2} images: " + ", ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    sizes, batches = [100, 300, 1000, 3000, 10000, 25200], [1, 8, 32]
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes, help="boxes of an image")
    parser.add_argument("--batches", type=int, nargs="+", default=batches, help="images of a call")
    parser.add_argument("--seconds", type=float, default=4, help="time for each row")
    options = parser.parse_args()
    # Every call is waited for, as the peers' are; handing it to another thread only adds to it.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    peers, rows = installed_peers(), []
    scenes = itertools.product(options.sizes, (1, 80))
    for kind, (number, classes) in itertools.product(("clustered", "random"), scenes):
        per_image = dict.fromkeys(peers, 0.0)
        for images in options.batches:
            patient = {n: p for n, p in peers.items() if per_image[n] * images <= PATIENCE}
            row = measure(kind, number, classes, images, patient, options.seconds)
            per_image |= {name: row["seconds"][name] / images for name in patient}
            rows.append(row)
            print(describe(row), flush=True)
    print(save("nms", rows))


if __name__ == "__main__":
    main()
