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
from lectures_jax.models.darknet_edit import with_classes
from lectures_jax.models.darknet_layers import Head
from lectures_jax.models.darknet_network import DarknetNetwork
from lectures_jax.models.yolo import SMALL, STRIDES, Yolo, YoloSize
from lectures_jax.recipes.detection_data import Splits
from lectures_jax.typing import Key


class Network(NamedTuple):
    """A detector's network, and what `weights.save_model` needs to write it.

    Attributes:
        model: the network.
        settings: those that build it, with the names of its classes; none where the file of an
            imported network does not say them.
        kind: "detector" for a `Yolo`, "darknet" for an imported network.
    """

    model: Yolo | DarknetNetwork
    settings: dict[str, Any]
    kind: str = "detector"


def new_network(key_anchors: Key, key: Key, splits: Splits, size: YoloSize) -> Network:
    """Returns a network with fresh parameters, and anchors of the training boxes' shapes.

    Args:
        key_anchors: for the anchors.
        key: for the parameters.
        splits: annotated images.
        size: width and depth.
    """
    return _build(key, splits, size, fit_anchors(key_anchors, splits.train))


def read_network(path: Path, weights_path: Path | None = None) -> Network:
    """Returns the detector that a run has trained, or that Darknet has.

    Args:
        path: folder of the run, or its `model.safetensors`; or Darknet's `.cfg`.
        weights_path: Darknet's `.weights`, beside a `.cfg`.

    Raises:
        ValueError: if there is no model, it is no detector, or the files are not Darknet's.
    """
    if path.suffix == ".cfg" or weights_path is not None:
        return _read_darknet(path, weights_path)
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        expected = "the folder of a finished run, a model.safetensors, or a .cfg"
        raise ValueError(f"--from: expected {expected}, got {path}.")
    saved = weights.load_model(file)
    if saved.kind not in ("detector", "darknet"):
        raise ValueError(
            f"--from: expected a detector, got a model of kind {saved.kind!r}: {file}."
        )
    return Network(saved.model, saved.settings, saved.kind)


def _read_darknet(path: Path, weights_path: Path | None) -> Network:
    """The network of two files of Darknet."""
    if weights_path is None:
        raise ValueError(f"--from-weights: expected the .weights of {path}, got none.")
    if path.suffix != ".cfg":
        raise ValueError(f"--from: expected the .cfg of {weights_path}, got {path}.")
    model = weights.load_darknet(path, weights_path)
    if not model.config.heads:
        raise ValueError(f"--from: expected a detector, got a network without a head: {path}.")
    if model.config.channels != 3:
        raise ValueError(f"{path}: channels: expected 3, got {model.config.channels}.")
    return Network(model, {"classes": []}, "darknet")


def common_classes(earlier: Network, classes: Sequence[str]) -> list[str]:
    """Returns the names of classes whose outputs of a trained detector can be trained further.

    There are none where the numbers of its heads are read otherwise than YOLOv3's: by a softmax, or
    as Scaled-YOLOv4's.

    Args:
        earlier: the trained detector.
        classes: names to look for.
    """
    model = earlier.model
    if isinstance(model, DarknetNetwork) and any(
        head.softmax or head.new_coords for head in model.config.heads.values()
    ):
        return []
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
        ValueError: if the earlier network has another size, or heads of different numbers of
            anchors, which the objective does not take.

    Source:
        Girshick et al. (2014), sec. 2.3: for other classes, all but the last layer is kept.
    """
    model = earlier.model
    own = model.size if isinstance(model, Yolo) else SMALL
    if size not in (SMALL, own):
        expected = f"the earlier network's size, {own}" if isinstance(model, Yolo) else "no size"
        raise ValueError(f"--from: expected {expected}, got {size}.")
    counts = [len(head) for head in model.anchors]
    if len(set(counts)) > 1:
        raise ValueError(f"--from: expected heads of equally many anchors, got {counts}.")
    known = common_classes(earlier, splits.train.classes)
    anchors = [[list(shape) for shape in head] for head in model.anchors]
    if not known:
        anchors = fit_anchors(key_anchors, splits.train, strides=model.strides, count=counts[0])
    if isinstance(model, Yolo):
        network = _build(key, splits, model.size, anchors)
        nnx.update(network.model, nnx.state(model, lambda path, _: "predict" not in path))
    else:
        network = _darknet(key, splits, model, anchors)
    if known:
        _copy_outputs(earlier, network, known)
    return network


def fit_anchors(
    key: Key, dataset: Dataset, *, strides: Sequence[int] = STRIDES, count: int = 3
) -> list[list[list[float]]]:
    """Returns typical shapes of the boxes by k-means, those of each head; coarse heads have large.

    Args:
        key: for the first centers.
        dataset: records on the canvas of the network.
        strides: pixels per cell of the heads.
        count: anchors of a head.
    """
    sizes = jnp.asarray(box_sizes(dataset))
    shapes = ops.kmeans_anchors(key, sizes, k=len(strides) * count)
    rank = np.argsort(np.argsort(strides))  # 0 for the finest head
    return np.asarray(shapes).reshape(len(strides), count, 2)[rank].tolist()


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


def _darknet(key: Key, splits: Splits, earlier: DarknetNetwork, anchors: Any) -> Network:
    model = with_classes(earlier, len(splits.train.classes), rngs=nnx.Rngs(key))
    shapes = iter([tuple(map(tuple, head)) for head in anchors])
    layers = tuple(
        dataclasses.replace(layer, anchors=next(shapes)) if isinstance(layer, Head) else layer
        for layer in model.config.layers
    )
    model.config = dataclasses.replace(model.config, layers=layers)
    model.anchors = tuple(head.anchors for head in model.config.heads.values())
    settings = {
        "classes": list(splits.train.classes),
        "image_size": list(splits.image_size),
        "cfg": weights.darknet_config_text(model.config),
        "epsilon": model.epsilon,
    }
    return Network(model, settings, "darknet")


def _copy_outputs(old: Network, new: Network, names: Sequence[str]) -> None:
    """Copies what the heads say of boxes, objectness and these classes."""
    source, target = (
        np.array([*range(5), *(5 + network.settings["classes"].index(name) for name in names)])
        for network in (old, new)
    )
    for before, after in zip(_last_layers(old.model), _last_layers(new.model), strict=True):
        for name in ("kernel", "bias"):
            x, y = getattr(before, name)[...], getattr(after, name)
            shape = (*x.shape[:-1], len(new.model.anchors[0]), -1)  # by anchor
            changed = y[...].reshape(shape).at[..., target].set(x.reshape(shape)[..., source])
            y[...] = changed.reshape(*x.shape[:-1], -1)


def _last_layers(model: Yolo | DarknetNetwork) -> list[Any]:
    """The last convolution of each head."""
    if isinstance(model, Yolo):
        return [head.predict for head in model.heads]
    numbers = list(model.config.convolutions)
    return [model.convolutions[numbers.index(index - 1)].conv for index in model.config.heads]
