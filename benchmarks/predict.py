"""`ljx predict` on 500 images from files to files, against its network alone.

Yolo-Fastest at 320×320 and YOLOv3-tiny at 416×416, of random parameters, in batches of 8. The
images are JPEG files of 480×360 pixels that are made here; with all that is around the network:
decoding, fitting, boxes, drawings as JPEG files, JSON.

    LECTURES_JAX_DATA=DATA python -m benchmarks.predict [--images 500] [--repeats 3]

DATA/yolo_fastest holds `yolo-fastest-1.1.cfg` and `.weights`, DATA/darknet_cfg `yolov3-tiny.cfg`.
"""

import argparse
import io
import os
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from PIL import Image

from benchmarks.common import compare, save
from lectures_jax import weights
from lectures_jax.cli.predict.detector import Options, detect
from lectures_jax.data.images import decode_image
from lectures_jax.models.darknet_edit import fold_batch_norm
from lectures_jax.models.darknet_network import DarknetNetwork
from lectures_jax.weights.darknet_image import darknet_stretch

DATA = Path(os.environ.get("LECTURES_JAX_DATA", "../shared/data"))
WIDTH, HEIGHT, BATCH = 480, 360, 8


def make_images(folder: Path, count: int) -> list[Path]:
    """Writes images of colored rectangles on smooth noise, as heavy to decode as photographs."""
    rng, paths = np.random.default_rng(0), []
    for number in range(count):
        coarse = rng.integers(0, 256, (HEIGHT // 20, WIDTH // 20, 3), np.uint8)
        image = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        pixels = np.asarray(image) + rng.normal(0, 6, (HEIGHT, WIDTH, 3))
        for _ in range(6):
            y, x = rng.integers(0, (HEIGHT - 60, WIDTH - 60))
            h, w = rng.integers(20, 60, 2)
            pixels[y : y + h, x : x + w] = rng.integers(0, 256, 3)
        paths.append(folder / f"{number:03d}.jpg")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def networks() -> dict[str, DarknetNetwork]:
    """A small network and a larger one, normalization folded."""
    files = [DATA / "yolo_fastest" / f"yolo-fastest-1.1.{kind}" for kind in ("cfg", "weights")]
    tiny = DarknetNetwork(
        weights.read_darknet_config(DATA / "darknet_cfg" / "yolov3-tiny.cfg"), rngs=nnx.Rngs(0)
    )
    return {
        "Yolo-Fastest": weights.load_darknet(*files, fold=True),
        "YOLOv3-tiny": fold_batch_norm(tiny),
    }


def measured(
    name: str, model: DarknetNetwork, count: int, repeats: int, *, draw: bool
) -> dict[str, Any]:
    """A row of the table: with drawings or without."""
    names = tuple(f"class {number}" for number in range(80))
    size = model.config.height, model.config.width
    detector = weights.Detector(model, names, size, darknet_stretch)
    options = Options(
        score=0.25, suppression="darknet", class_agnostic=False, batch_size=BATCH, draw=draw
    )
    with tempfile.TemporaryDirectory() as scratch:
        source, out = Path(scratch, "images"), Path(scratch, "out")
        source.mkdir()
        paths = make_images(source, count)
        canvases = [darknet_stretch(decode_image(path), size)[0] for path in paths]
        batches = [np.stack(canvases[i : i + BATCH]) for i in range(0, count - BATCH + 1, BATCH)]

        def network() -> None:
            for batch in batches:
                detections = detector.detect(
                    batch,
                    score_threshold=options.score,
                    iou_threshold=options.iou,
                    suppression=options.suppression,
                    class_agnostic=options.class_agnostic,
                )
                jax.device_get(detections)

        def everything() -> None:
            with redirect_stdout(io.StringIO()):
                detect(detector, source, out, options)

        times = compare({"lectures_jax": everything, "network": network}, repeats=repeats)
    ratio = times.seconds["lectures_jax"] / times.seconds["network"]
    case = f"{name}, {count} images, " + ("drawn" if draw else "not drawn")
    return {"case": case, **times.seconds, "ratio": ratio, **times.conditions()}


def main() -> None:
    """Measures, prints and saves."""
    parser = argparse.ArgumentParser(description="ljx predict against its network alone.")
    parser.add_argument("--images", type=int, default=504)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    rows = [
        measured(name, model, arguments.images, arguments.repeats, draw=draw)
        for name, model in networks().items()
        for draw in (True, False)
    ]
    for row in rows:
        print(*(f"{k} {v:.4f}" if isinstance(v, float) else v for k, v in row.items()), sep="  ")
    print(save("predict", rows))


if __name__ == "__main__":
    main()
