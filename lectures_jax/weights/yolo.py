"""A trained detector as one file: its parameters, and what is needed to use them."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from flax import nnx

from lectures_jax.models.yolo import FULL, Size, Yolo
from lectures_jax.weights.safetensors_io import load_safetensors, save_safetensors


class Detector(NamedTuple):
    """A detector that is ready to look at images."""

    model: Yolo
    classes: tuple[str, ...]
    image_size: tuple[int, int]


def save_yolo(
    path: Path, model: Yolo, *, classes: Sequence[str], image_size: tuple[int, int]
) -> None:
    """Writes a detector to a safetensors file.

    Args:
        path: of the file.
        model: its parameters and moving averages are written.
        classes: names, in the order of the labels.
        image_size: height and width of the images that it was trained on, in pixels.
    """
    config = {
        "classes": list(classes),
        "image_size": list(image_size),
        "anchors": model.anchors,
        "size": dataclasses.asdict(model.size),
    }
    tree = nnx.to_pure_dict(nnx.state(model))
    save_safetensors(path, tree, metadata={"yolo": json.dumps(config)})


def load_yolo(path: Path) -> Detector:
    """Returns the detector that `save_yolo` wrote, in evaluation mode.

    Args:
        path: of the file.

    Raises:
        ValueError: if the file is damaged, or holds something else.
    """
    tree, metadata = load_safetensors(path)
    if "yolo" not in metadata:
        raise ValueError(f"{path}: expected a detector saved by save_yolo, got other weights.")
    config = json.loads(metadata["yolo"])
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in config["size"].items()}
    size: Size = dataclasses.replace(FULL, **fields)
    model = Yolo(len(config["classes"]), anchors=config["anchors"], size=size, rngs=nnx.Rngs(0))
    state = nnx.state(model)
    nnx.replace_by_pure_dict(state, tree)
    nnx.update(model, state)
    height, width = config["image_size"]
    model = nnx.view(model, use_running_average=True)
    return Detector(model, tuple(config["classes"]), (height, width))
