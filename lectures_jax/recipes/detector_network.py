"""The network that a detector's training begins with: a new one, or one that was trained before."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from lectures_jax import ops, weights
from lectures_jax.data.records import Dataset
from lectures_jax.models.yolo import SMALL, Yolo, YoloSize
from lectures_jax.recipes.detection_data import Splits
from lectures_jax.typing import Key


class Network(NamedTuple):
    """A detector's network, and what `weights.save_model` needs to write it.

    Attributes:
        model: the network.
        settings: those that build it, with the names of its classes.
    """

    model: Yolo
    settings: dict[str, Any]


def new_network(key_anchors: Key, key: Key, splits: Splits, size: YoloSize) -> Network:
    """Returns a network with fresh parameters, and anchors of the training boxes' shapes.

    Args:
        key_anchors: for the anchors.
        key: for the parameters.
        splits: annotated images.
        size: width and depth.
    """
    return _build(key, splits, size, fit_anchors(key_anchors, splits.train))


def read_network(path: Path) -> Network:
    """Returns the detector that a run has trained.

    Args:
        path: folder of the run, or its `model.safetensors`.

    Raises:
        ValueError: if there is no model, or it is no detector.
    """
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        expected = "the folder of a finished run, or a model.safetensors"
        raise ValueError(f"--from: expected {expected}, got {path}.")
    saved = weights.load_model(file)
    if saved.kind != "detector":
        raise ValueError(
            f"--from: expected a detector, got a model of kind {saved.kind!r}: {file}."
        )
    return Network(saved.model, saved.settings)


def common_classes(earlier: Network, classes: Sequence[str]) -> list[str]:
    """Returns the names of classes that a trained detector knows already.

    Args:
        earlier: the trained detector.
        classes: names to be found.
    """
    return [name for name in classes if name in earlier.settings["classes"]]


def fine_tuned_network(
    key_anchors: Key, key: Key, splits: Splits, earlier: Network, *, size: YoloSize = SMALL
) -> Network:
    """Returns a network with the arrays of an earlier one, for the classes of these images.

    All but the last convolution of each head is the same whatever the classes are. Of the last one,
    the outputs of each class that both know are kept, and with them those of boxes and objectness.
    They depend on the anchors, so that these are kept, too. Where no class is known, the last
    convolutions are new, and the anchors are fitted to the new boxes.

    Args:
        key_anchors: for new anchors.
        key: for the new parameters.
        splits: annotated images.
        earlier: a trained detector.
        size: that was asked for: the earlier network's, or the default.

    Raises:
        ValueError: if the earlier network has another size.

    Source:
        Girshick et al. (2014), sec. 2.3: for other classes, all but the last layer is kept.
    """
    if size not in (SMALL, earlier.model.size):
        raise ValueError(
            f"--from: expected no other size of network than the earlier one's, "
            f"{earlier.model.size}, got {size}."
        )
    known = common_classes(earlier, splits.train.classes)
    anchors = earlier.settings["anchors"] if known else fit_anchors(key_anchors, splits.train)
    network = _build(key, splits, earlier.model.size, anchors)
    nnx.update(network.model, nnx.state(earlier.model, lambda path, _: "predict" not in path))
    if known:
        _copy_outputs(earlier, network, known)
    return network


def fit_anchors(key: Key, dataset: Dataset) -> list[list[list[float]]]:
    """Returns nine typical shapes of the boxes by k-means, three to a head, the coarsest first.

    Args:
        key: for the first centers.
        dataset: records on the canvas of the network.
    """
    shapes = ops.kmeans_anchors(key, jnp.asarray(box_sizes(dataset)), k=9)
    return np.asarray(shapes).reshape(3, 3, 2)[::-1].tolist()


def box_sizes(dataset: Dataset) -> np.ndarray:
    """Returns width and height of all boxes, in pixels of the canvas.

    Args:
        dataset: records on the canvas of the network.
    """
    return np.concatenate([record.boxes[:, 2:] - record.boxes[:, :2] for record in dataset])


def _build(key: Key, splits: Splits, size: YoloSize, anchors: Any) -> Network:
    settings = {
        "classes": list(splits.train.classes),
        "image_size": list(splits.image_size),
        "anchors": anchors,
        "size": dataclasses.asdict(size),
    }
    return Network(weights.build_model("detector", settings, rngs=nnx.Rngs(key)), settings)


def _copy_outputs(old: Network, new: Network, names: Sequence[str]) -> None:
    """Copies what the heads say of boxes, objectness and these classes."""
    source, target = (
        np.array([*range(5), *(5 + network.settings["classes"].index(name) for name in names)])
        for network in (old, new)
    )
    for before, after in zip(old.model.heads, new.model.heads, strict=True):
        for x, y in zip(_outputs(before), _outputs(after), strict=True):
            shape = (*y[...].shape[:-1], len(new.model.anchors[0]), -1)  # by anchor
            kept = x[...].reshape(shape)[..., source]
            y[...] = y[...].reshape(shape).at[..., target].set(kept).reshape(y[...].shape)


def _outputs(head: Any) -> tuple[Any, Any]:
    """The arrays of a head's last convolution."""
    return head.predict.kernel, head.predict.bias
