"""A U-Net trained on images with masks: crops, training, scores at full resolution, model file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, UInt8

from lectures_jax import data, objectives, optim, weights
from lectures_jax.data.class_table import IGNORE
from lectures_jax.models.fcn import Fcn
from lectures_jax.models.unet import UNet
from lectures_jax.nn.parameters import copy_arrays
from lectures_jax.objectives.segmentation import OverlapLoss, PixelLoss
from lectures_jax.recipes import segmentation_data
from lectures_jax.recipes.overlap_tiles import predict_tiles, tile_of
from lectures_jax.recipes.segmentation_data import Kind, Splits
from lectures_jax.recipes.segmentation_scores import Segmented, measure, with_objects
from lectures_jax.recipes.settings import fill, require
from lectures_jax.train import fit
from lectures_jax.train.history import Row
from lectures_jax.typing import Batch, Key, Objective, check_positive, check_range

GAMMA = (0.6, 1.6)  # exponents of the values of an image
WATCHED = 50  # test images that are measured during the training


@dataclass(frozen=True)
class Settings:
    """How a segmenter is trained."""

    crop: int | None = None
    """rows and columns of the crops that are trained on, in pixels; None: 128 for digits, 96 for
    files"""
    orientation: Literal["fixed", "mirror", "any"] | None = None
    """how images may be turned: not at all, left-right, all eight ways; None: fixed for digits,
    any for files (which suits cells and maps; take mirror for photographs)"""
    scale: tuple[float, float] = (0.75, 1.33)
    """least and largest factor by which images are scaled"""
    elastic: float | None = None
    """standard deviation of an elastic deformation, in pixels; None: 0 for digits, 3 for files"""
    steps: int | None = None
    """training steps; None: 600 for digits, which follow those on small scenes, 1500 for files"""
    batch_size: int = 8
    """crops per step"""
    learning_rate: float = 4e-3
    """of Adam, after warm-up; it then falls along a cosine to zero"""
    weight_decay: float = 0.02
    """decoupled, on kernels only"""
    clip: float = 10.0
    """largest norm of the gradient"""
    ema_decay: float = 0.99
    """of the averaged parameters that are evaluated"""
    pixel_loss: PixelLoss = "cross_entropy"
    """of each pixel; the focal loss counts easy pixels less"""
    overlap_loss: OverlapLoss = "dice"
    """of each class's predicted and true pixels"""
    overlap_weight: float = 1.0
    """of the overlap loss beside that of the pixels"""
    border_weight: float = 10.0
    """of pixels between instances that touch, beside 1 (see data.border_weights); as published"""
    channels: tuple[int, ...] | None = None
    """of each level, from the finest; published: 64 128 256 512 1024. None: 16 32 64 128 128 for
    digits, which are named only by a network that sees the whole of them; 12 24 48 96 for files"""
    padding: Literal["SAME", "VALID"] = "SAME"
    """of the convolutions; published: VALID, whose crops must be larger"""
    batch_norm: bool = True
    """whether batch normalization follows each convolution; published: none"""
    dropout: float = 0.0
    """share of the smallest map's entries that training sets to zero"""


class Trained(NamedTuple):
    """A trained segmenter.

    Attributes:
        model: the network with averaged parameters, in evaluation mode.
        history: the rows of `train.fit`.
    """

    model: UNet
    history: list[Row]


def with_defaults(settings: Settings, kind: Kind) -> Settings:
    """Returns the settings with those that depend on the data filled in.

    Args:
        settings: None in a field stands for its default.
        kind: of the data.
    """
    if kind == "digits":
        channels = (16, 32, 64, 128, 128)
        return fill(
            settings, crop=128, orientation="fixed", elastic=0.0, steps=600, channels=channels
        )
    channels = (12, 24, 48, 96)
    return fill(settings, crop=96, orientation="any", elastic=3.0, steps=1500, channels=channels)


def train(
    settings: Settings,
    splits: Splits,
    out: Path | None = None,
    *,
    seed: int = 0,
    start: UNet | None = None,
) -> Trained:
    """Trains a segmenter, and measures it on the first images of the test split on the way.

    Args:
        settings: from `with_defaults`.
        splits: images with masks. Nothing is chosen by the test split: the last step's averaged
            parameters count.
        out: folder of the run, in which it resumes (see `train.fit`) and where
            `model.safetensors` is written; None leaves no files.
        seed: of parameters, order, crops and augmentation.
        start: a network of the same settings and classes to begin with, such as one that was
            trained on smaller images; None draws the parameters.

    Raises:
        ValueError: if a setting is None that `with_defaults` sets, or out of its range, the
            network takes no crops of this size, or `start` has other arrays.
    """
    check_positive(learning_rate=settings.learning_rate, clip=settings.clip)
    check_range(weight_decay=settings.weight_decay, border_weight=settings.border_weight, low=0)
    steps = require(settings.steps, "steps")
    # The first key is that of drawn data, such as scenes of digits.
    _, key_init, key_train = jax.random.split(jax.random.key(seed), 3)
    architecture = describe(settings, splits)
    model = weights.build_model("segmenter", architecture, rngs=nnx.Rngs(key_init))
    if start is not None:
        copy_arrays(start, model)
    crop = require(settings.crop, "crop")
    model.sizes.check(crop, crop, name="crop")
    model, history = fit(
        key_train,
        model,
        _objective(settings),
        _optimizer(settings, steps),
        batches(settings, splits, seed=seed),
        steps=steps,
        out=out,
        ema_decay=settings.ema_decay,
        augment=augmentation(settings),
        evaluate=partial(score, splits=splits._replace(test=splits.test[:WATCHED])),
        evaluate_every=max(steps // 5, 1),
    )
    if out is not None:
        weights.save_model(
            out / "model.safetensors", model, kind="segmenter", settings=architecture
        )
    return Trained(model, history)


def describe(settings: Settings, splits: Splits) -> dict[str, Any]:
    """Returns what a saved file says about the network and its classes.

    Args:
        settings: from `with_defaults`.
        splits: for the names of the classes.
    """
    crop = require(settings.crop, "crop")
    return {
        "network": "unet",
        "classes": list(splits.classes),
        "instances": splits.instances,
        "image_size": [crop, crop],
        "inputs": 3,
        "channels": list(require(settings.channels, "channels")),
        "padding": settings.padding,
        "batch_norm": settings.batch_norm,
        "dropout": settings.dropout,
    }


def batches(settings: Settings, splits: Splits, *, seed: int = 0) -> Iterator[Batch]:
    """Returns batches of crops of the training split without end.

    Args:
        settings: for the sizes, from `with_defaults`.
        splits: images with masks.
        seed: of order and places.
    """
    cut = segmentation_data.examples(
        splits.train, instances=splits.instances, border_weight=settings.border_weight
    )
    crop = require(settings.crop, "crop")
    return data.crops(cut, size=crop, batch_size=settings.batch_size, seed=seed)


def augmentation(settings: Settings) -> Callable[[Key, Batch], Batch]:
    """Returns the function that changes each image of a batch at random.

    Args:
        settings: for `orientation`, `scale` and `elastic`, from `with_defaults`.

    Raises:
        ValueError: if one of them is None.
    """
    orientation = require(settings.orientation, "orientation")
    one = partial(
        data.augment_segmentation,
        flip=0.0 if orientation == "fixed" else 0.5,
        flip_vertical=0.5 if orientation == "any" else 0.0,
        rotate90=0.5 if orientation == "any" else 0.0,
        scale=settings.scale,
        elastic=require(settings.elastic, "elastic"),
        brightness=0.0,  # it would cut off what is dark, and much of a micrograph is
        contrast=0.0,
        gamma=GAMMA,
        outside=None if orientation == "any" else IGNORE,
    )

    def augment(key: Key, batch: Batch) -> Batch:
        return jax.vmap(one)(jax.random.split(key, batch["image"].shape[0]), batch)

    return augment


def predict(
    model: UNet | Fcn,
    image: UInt8[np.ndarray, "h w 3"],
    *,
    instances: bool = False,
    min_area: int = 8,
) -> Segmented:
    """Returns the class of each pixel of an image of any size, and its objects.

    Large images are computed in overlapping tiles, in memory for one of them.

    Args:
        model: in evaluation mode.
        image: RGB.
        instances: whether the classes are background, object and border, of which objects are
            made: connected components of the second, to which the pixels of the third go.
        min_area: pixels of the smallest object.
    """
    side = tile_of(image.shape[:2], model.sizes)
    pixels = np.divide(image, 255, dtype=np.float32)
    classes = predict_tiles(model, pixels, tile=side, output=_labels)
    return with_objects(classes, instances=instances, min_area=min_area)


def segment(model: UNet | Fcn, splits: Splits) -> list[Segmented]:
    """Returns what a segmenter predicts for each image of the test split.

    Args:
        model: in evaluation mode.
        splits: images with masks.
    """
    images = (np.asarray(record.image) for record in splits.test)
    return [predict(model, image, instances=splits.instances) for image in images]


def score(model: UNet | Fcn, splits: Splits) -> dict[str, float]:
    """Returns the scores of the test split; see `measure`.

    Args:
        model: in evaluation mode.
        splits: images with masks.
    """
    return measure(segment(model, splits), splits)


def _labels(logits: Float[Array, "b h w k"]) -> Array:
    return jnp.argmax(logits, axis=-1).astype(jnp.uint8)


def _objective(settings: Settings) -> Objective:
    """The losses of the settings, weighted."""
    return partial(
        objectives.segmentation,
        pixel_loss=settings.pixel_loss,
        overlap_loss=settings.overlap_loss,
        overlap_weight=settings.overlap_weight,
    )


def _optimizer(settings: Settings, steps: int) -> optax.GradientTransformation:
    """Adam with decoupled decay on the kernels, warm-up and a cosine."""
    rate = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, min(50, steps // 2), steps
    )
    return optax.chain(
        optax.clip_by_global_norm(settings.clip),
        optim.adamw_on_kernels(rate, weight_decay=settings.weight_decay),
    )
