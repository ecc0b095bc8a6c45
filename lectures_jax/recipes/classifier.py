"""A classifier of small images, trained the usual way; `cached` trains it once and reads it back.

The file depends on all that the training depends on: another setting, another image or another
version of the library means another file.
"""

import dataclasses
import hashlib
import json
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import lectures_jax
from lectures_jax import data, metrics, objectives, optim, weights
from lectures_jax.models import resnet, xception
from lectures_jax.recipes.cache import cache_folder
from lectures_jax.recipes.generator import Kind
from lectures_jax.recipes.settings import fill, require
from lectures_jax.train import fit, predict
from lectures_jax.train.history import Row
from lectures_jax.typing import Batch

CORNERS = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
"""Of the image and its four shifts, in an image with one more pixel on each side."""


@dataclass(frozen=True)
class Settings:
    """How a classifier is built and trained."""

    model: Literal["cnn", "resnet", "xception"] = "cnn"
    """plain, ResNet-20, or a small Xception"""
    channels: int = 32
    """of the plain network's first convolution; two have twice, two four times as many"""
    steps: int | None = None
    """training steps; None: 600 for digits, 3000 for files"""
    batch_size: int = 64
    """images per step"""
    learning_rate: float = 6e-3
    """highest of Adam's one-cycle schedule"""
    weight_decay: float = 0.02
    """decoupled, on kernels only"""
    augmentation: Literal["shift", "flip", "affine"] | None = None
    """by up to a twelfth of the image, as in a mirror, or both with rotation and noise; None: flip
    for a folder of images, shift for the others, which may be letters or digits"""
    smoothing: float = 0.0
    """share of the label spread over all classes"""
    dropout: float = 0.0
    """of the plain network's last layer"""
    ema_decay: float = 0.998
    """of the averaged parameters that are evaluated"""


class Trained(NamedTuple):
    """A trained classifier.

    Attributes:
        model: the network with averaged parameters, in evaluation mode.
        history: the rows of `train.fit`.
    """

    model: Any
    history: list[Row]


def with_defaults(settings: Settings, kind: Kind) -> Settings:
    """Returns the settings with those that depend on the data.

    Args:
        settings: None in a field stands for its default.
        kind: of the data set, as `data.read_classified` takes it.
    """
    return fill(
        settings,
        steps=600 if kind == "digits" else 3000,
        augmentation="flip" if kind == "images" else "shift",
    )


def train(
    settings: Settings, splits: data.Splits, out: Path | None = None, *, seed: int = 0
) -> Trained:
    """Trains a classifier, and measures it on the test split on the way.

    Args:
        settings: from `with_defaults`.
        splits: images. Nothing is chosen by the test split: the last step's averaged parameters
            count.
        out: folder of the run, in which it resumes (see `train.fit`) and where
            `model.safetensors` is written; None leaves no files.
        seed: of parameters, order and augmentation.

    Raises:
        ValueError: if a setting is None that `with_defaults` sets.
    """
    steps = require(settings.steps, "steps")
    augmentation = require(settings.augmentation, "augmentation")
    architecture = model_settings(settings, splits)
    key_init, key_train = jax.random.split(jax.random.key(seed))
    rate = optax.cosine_onecycle_schedule(steps, settings.learning_rate)
    model, history = fit(
        key_train,
        weights.build_model("classifier", architecture, rngs=nnx.Rngs(key_init)),
        partial(objectives.classification, smoothing=settings.smoothing),
        optim.adamw_on_kernels(rate, weight_decay=settings.weight_decay),
        data.batches(splits.train, batch_size=settings.batch_size, seed=seed),
        steps=steps,
        out=out,
        ema_decay=settings.ema_decay,
        augment=partial(data.augment_classification, kind=augmentation),
        evaluate=lambda model: {"test_accuracy": accuracy(model, splits.test)},
        evaluate_every=max(steps // 6, 1),
    )
    if out is not None:
        path = out / "model.safetensors"
        weights.save_model(path, model, kind="classifier", settings=architecture)
    return Trained(model, history)


def cached(
    settings: Settings, splits: data.Splits, *, seed: int = 0, folder: Path | None = None
) -> Any:
    """Returns a classifier that is trained the first time, and read from a file from then on.

    Args:
        settings: from `with_defaults`.
        splits: images.
        seed: of parameters, order and augmentation.
        folder: where trained classifiers are kept; None: `recipes.cache.cache_folder("models")`.

    Returns:
        The network in evaluation mode, the same the first time and later.

    Warns:
        RuntimeWarning: if the file is damaged, so that the network is trained again, or cannot be
            written, so that it will be.
    """
    folder = folder or cache_folder("models")
    path = folder / f"{fingerprint(settings, splits, seed=seed)}.safetensors"
    if path.is_file():
        try:
            return weights.load_model(path).model
        except ValueError as error:
            warnings.warn(f"trained again: {error}", RuntimeWarning, stacklevel=2)
    model = train(settings, splits, seed=seed).model
    try:
        folder.mkdir(parents=True, exist_ok=True)
        architecture = model_settings(settings, splits)
        weights.save_model(path, model, kind="classifier", settings=architecture)
    except OSError as error:
        warnings.warn(f"the classifier is not kept: {error}", RuntimeWarning, stacklevel=2)
        return model
    return weights.load_model(path).model


def fingerprint(settings: Settings, splits: data.Splits, *, seed: int = 0) -> str:
    """Returns a name for all that a training depends on: settings, seed, images, library version.

    Args:
        settings: from `with_defaults`.
        splits: images.
        seed: of the training.

    Returns:
        64 hexadecimal digits.
    """
    content = {
        "settings": dataclasses.asdict(settings),
        "seed": seed,
        "classes": splits.classes,
        "version": lectures_jax.__version__,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name in sorted(splits.train):
        array = np.ascontiguousarray(splits.train[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def model_settings(settings: Settings, splits: data.Splits) -> dict[str, Any]:
    """Returns what `weights.build_model` needs for a classifier of these images.

    Args:
        settings: for the network and its size.
        splits: images.
    """
    height, width, inputs = splits.train["image"].shape[1:]
    common = {
        "network": settings.model,
        "classes": list(splits.classes),
        "image_size": [height, width],
        "inputs": inputs,
    }
    match settings.model:
        case "resnet":
            return {**common, "size": dataclasses.asdict(resnet.CIFAR20)}
        case "xception":
            return {**common, "size": dataclasses.asdict(xception.SMALL)}
    n = settings.channels
    channels = [[n], [2 * n, 2 * n], [4 * n, 4 * n]]
    return {**common, "channels": channels, "dropout": settings.dropout}


def probabilities(model: Any, images: np.ndarray, *, mean_of_shifts: bool = False) -> np.ndarray:
    """Returns the probability of each class for each image, [n, classes].

    Args:
        model: in evaluation mode.
        images: float32 [n, h, w, c] in [0, 1].
        mean_of_shifts: takes the mean over the image and its shifts by a pixel up, down, left and
            right, filled with 0, in five times the time.

    Source:
        Krizhevsky et al. (2012), sec. 4.1: a mean over parts of an image at test time.
    """
    if not mean_of_shifts:
        return np.asarray(jax.nn.softmax(predict(model, images)))
    _, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + height, j : j + width] for i, j in CORNERS]
    return np.mean([probabilities(model, some) for some in shifted], axis=0)


def accuracy(model: Any, examples: Batch) -> float:
    """Returns the share of correct predictions.

    Args:
        model: in evaluation mode.
        examples: `image` and `labels`.
    """
    logits = jnp.asarray(predict(model, examples["image"]))
    return float(metrics.accuracy(logits, jnp.asarray(examples["labels"])))
