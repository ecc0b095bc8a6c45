"""Yolo-Fastest at 320×320, from images to raw heads, against OpenCV's DNN module.

Both read the same two files, and their heads must agree. Ours is folded, as `ljx predict` uses it.

    LECTURES_JAX_DATA=DATA python -m benchmarks.darknet [--repeats 50]

Beside what `make bench` installs it needs, in place of the package without contributions,
`pip install opencv-contrib-python-headless==4.14.0.94`, the last that reads Darknet's files; and
DATA/yolo_fastest with `yolo-fastest-1.1.cfg` and `.weights`.
"""

# pyright: reportMissingImports=false
# The peer is installed by hand.

import argparse
import os
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.common import compare, save
from lectures_jax import weights

DATA = Path(os.environ.get("LECTURES_JAX_DATA", "../shared/data")) / "yolo_fastest"
FILES = [DATA / f"yolo-fastest-1.1.{kind}" for kind in ("cfg", "weights")]
SIDE, TOLERANCE = 320, 1e-3


def ours(images: np.ndarray) -> Any:
    """The function that gives our heads, compiled."""
    model = weights.load_darknet(*FILES, epsilon=1e-6, fold=True)  # OpenCV's epsilon
    structure, state = nnx.split(model)
    heads = jax.jit(lambda state, images: nnx.merge(structure, state)(images))
    batch = jnp.asarray(images)
    return lambda: heads(state, batch)


def theirs(images: np.ndarray) -> Any:
    """The function that gives OpenCV's heads, [b, channels, h, w]."""
    network = cv2.dnn.readNetFromDarknet(*map(str, FILES))
    batch = np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    def heads() -> Any:
        network.setInput(batch)
        return network.forward(["conv_120", "conv_129"])

    return heads


def measured(batch_size: int, repeats: int) -> dict[str, Any]:
    """A row of the table: one size of batch."""
    images = np.random.default_rng(0).random((batch_size, SIDE, SIDE, 3), np.float32)
    functions = {"lectures_jax": ours(images), "opencv": theirs(images)}
    for a, b in zip(*(run() for run in functions.values()), strict=True):
        np.testing.assert_allclose(a, b.transpose(0, 2, 3, 1), atol=TOLERANCE)
    times = compare(functions, repeats=repeats)
    ratio = times.seconds["lectures_jax"] / times.seconds["opencv"]
    case = f"batch {batch_size}"
    return {"case": case, **times.seconds, "ratio": ratio, **times.conditions()}


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description="Yolo-Fastest against OpenCV.")
    parser.add_argument("--repeats", type=int, default=50)
    repeats = parser.parse_args().repeats
    rows = [measured(batch_size, repeats) for batch_size in (1, 8)]
    for row in rows:
        print(*(f"{k} {v:.4f}" if isinstance(v, float) else v for k, v in row.items()), sep="  ")
    print(save("darknet", rows))


if __name__ == "__main__":
    main()
