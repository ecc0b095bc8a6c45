"""YOLOv3 trained on annotated images: anchors, training, COCO's scores, one model file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, metrics, objectives, optim, weights
from lectures_jax.metrics.coco import CocoResult
from lectures_jax.models.yolo import SMALL, YoloSize
from lectures_jax.recipes.detection_data import Kind, Splits
from lectures_jax.recipes.detector_network import Network, fine_tuned_network, new_network
from lectures_jax.recipes.settings import fill, require
from lectures_jax.train import fit
from lectures_jax.train.history import Row
from lectures_jax.typing import Batch, Key


@dataclass(frozen=True)
class Settings:
    """How a detector is trained."""

    image_size: tuple[int, int] | None = None
    """height and width in pixels, multiples of 32; None: 160x160 for digits, and for files 256 on
    the longer side of their median shape"""
    orientation: Literal["fixed", "mirror", "any"] | None = None
    """how images may be turned: not at all, left-right, all eight ways; None: fixed for digits,
    any for files (which suits cells and maps; take mirror for photographs)"""
    scale: tuple[float, float] | None = None
    """least and largest factor by which images are scaled; None: 0.8 to 1.25 for digits, 0.75 to
    1.5 for files"""
    steps: int | None = None
    """training steps; None: 4000 for digits, 6000 for files. A finished run goes on if it is given
    more, at the learning rates of the longer run: higher again than at its end"""
    batch_size: int = 8
    """images per step"""
    learning_rate: float = 3e-3
    """of Adam, after warm-up; it then falls along a cosine to zero"""
    weight_decay: float = 0.02
    """decoupled, on kernels only"""
    clip: float = 1000.0
    """largest norm of the gradient"""
    ema_decay: float = 0.998
    """of the averaged parameters that are evaluated"""
    anchor_iou: float = 0.3
    """an object goes also to the anchors whose shape overlaps it more; 1: its best anchor only"""
    overlap_weight: float | None = None
    """of 1 - CIoU beside YOLOv3's own loss; 0: YOLOv3's alone; None: 3 for digits, whose edges are
    sharp, 0 for files"""
    size: YoloSize = SMALL
    """width and depth of the network"""


class Trained(NamedTuple):
    """A trained detector.

    Attributes:
        model: the network with averaged parameters, in evaluation mode.
        history: the rows of `train.fit`.
    """

    model: Any
    history: list[Row]


class Detected(NamedTuple):
    """All detections and all objects of a split, padded to the same numbers per image."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    true_boxes: np.ndarray
    true_labels: np.ndarray
    true_valid: np.ndarray
    crowd: np.ndarray


def with_defaults(settings: Settings, kind: Kind) -> Settings:
    """Returns the settings with those that depend on the data filled in, but for `image_size`.

    Args:
        settings: None in a field stands for its default.
        kind: of the data.
    """
    if kind == "digits":
        defaults = Settings(steps=4000, overlap_weight=3.0, orientation="fixed", scale=(0.8, 1.25))
    else:
        defaults = Settings(steps=6000, overlap_weight=0.0, orientation="any", scale=(0.75, 1.5))
    names = ("steps", "overlap_weight", "orientation", "scale")
    return fill(settings, **{name: getattr(defaults, name) for name in names})


def train(
    settings: Settings,
    splits: Splits,
    out: Path | None = None,
    *,
    seed: int = 0,
    earlier: Network | None = None,
) -> Trained:
    """Trains a detector, and measures it on the test split on the way.

    Args:
        settings: from `with_defaults`.
        splits: images of one size. Nothing is chosen by the test split: the last step's averaged
            parameters count.
        out: folder of the run, in which it resumes (see `train.fit`) and where
            `model.safetensors` is written; None leaves no files.
        seed: of anchors, parameters, order and augmentation.
        earlier: a trained detector to begin with, see `fine_tuned_network`; None begins anew.

    Raises:
        ValueError: if a setting is None that `with_defaults` sets, or the earlier network has
            another size.
    """
    # The first key is that of drawn data, such as scenes of digits.
    _, key_anchors, key_init, key_train = jax.random.split(jax.random.key(seed), 4)
    if earlier is None:
        network = new_network(key_anchors, key_init, splits, settings.size)
    else:
        network = fine_tuned_network(key_anchors, key_init, splits, earlier, size=settings.size)
    trained = train_network(key_train, network.model, settings, splits, out, seed=seed)
    if out is not None:
        path = out / "model.safetensors"
        weights.save_model(path, trained.model, kind=network.kind, settings=network.settings)
    return trained


def train_network(
    key: Key,
    model: nnx.Module,
    settings: Settings,
    splits: Splits,
    out: Path | None = None,
    *,
    seed: int = 0,
    evaluations: int = 6,
) -> Trained:
    """Trains a network with YOLO's heads, and measures it on the test split on the way.

    Args:
        key: source of the training's random numbers.
        model: a network with the heads, `anchors`, `strides`, `num_classes` and `predict` of
            `Yolo`.
        settings: from `with_defaults`; `size` has no effect.
        splits: images of one size.
        out: folder of the run, in which it resumes (see `train.fit`); None leaves no files.
        seed: of the order of the images.
        evaluations: how often it is measured, the last time at the end.

    Raises:
        ValueError: if a setting is None that `with_defaults` sets.
    """
    steps = require(settings.steps, "steps")
    overlap_weight = require(settings.overlap_weight, "overlap_weight")
    return Trained(
        *fit(
            key,
            model,
            partial(objectives.yolo, anchor_iou=settings.anchor_iou, overlap_weight=overlap_weight),
            _optimizer(settings, steps),
            batches(settings, splits, seed=seed),
            steps=steps,
            out=out,
            ema_decay=settings.ema_decay,
            augment=augmentation(settings),
            evaluate=partial(score, splits=splits),
            evaluate_every=max(steps // evaluations, 1),
        )
    )


def batches(settings: Settings, splits: Splits, *, seed: int = 0) -> Iterator[Batch]:
    """Returns batches of the training split without end.

    Args:
        settings: for the batch size.
        splits: annotated images.
        seed: of their order.
    """
    return data.loader(
        splits.train,
        image_size=splits.image_size,
        batch_size=settings.batch_size,
        max_boxes=splits.max_boxes,
        seed=seed,
    )


def augmentation(settings: Settings) -> Callable[[Key, Batch], Batch]:
    """Returns the function that changes each image of a batch at random.

    Args:
        settings: for `orientation` and `scale`, from `with_defaults`.

    Raises:
        ValueError: if one of them is None.
    """
    orientation = require(settings.orientation, "orientation")
    one = partial(
        data.augment_detection,
        flip=0.0 if orientation == "fixed" else 0.5,
        flip_vertical=0.5 if orientation == "any" else 0.0,
        rotate90=0.5 if orientation == "any" else 0.0,
        scale=require(settings.scale, "scale"),
    )

    def augment(key: Key, batch: Batch) -> Batch:
        return jax.vmap(one)(jax.random.split(key, batch["image"].shape[0]), batch)

    return augment


def detect(model: Any, splits: Splits) -> Detected:
    """Returns what a detector predicts on the test split, beside the truth.

    Args:
        model: in evaluation mode.
        splits: annotated images.
    """
    rows = []
    for batch in data.loader(
        splits.test,
        image_size=splits.image_size,
        batch_size=min(50, len(splits.test)),
        max_boxes=splits.max_boxes,
        shuffle=False,
        repeat=False,
    ):
        truth = (batch[name] for name in ("boxes", "labels", "valid", "crowd"))
        row = *model.predict(batch["image"]), *truth
        rows.append([np.asarray(array)[batch["present"]] for array in row])
    return Detected(*(np.concatenate(arrays) for arrays in zip(*rows, strict=True)))


def coco(detected: Detected, *, num_classes: int) -> CocoResult:
    """Returns COCO's scores.

    Args:
        detected: detections and objects of a split.
        num_classes: number of classes.
    """
    return metrics.coco_map(*detected[:-1], num_classes=num_classes, crowd=detected.crowd)


def score(model: Any, splits: Splits) -> dict[str, float]:
    """Returns COCO's two headline numbers on the test split: `mAP50` and `mAP50_95`.

    Args:
        model: in evaluation mode.
        splits: annotated images.
    """
    named = coco(detect(model, splits), num_classes=len(splits.test.classes)).named()
    return {"mAP50": named["AP50"], "mAP50_95": named["AP"]}


def _optimizer(settings: Settings, steps: int) -> optax.GradientTransformation:
    """Adam with decoupled decay on the kernels, warm-up and a cosine."""
    rate = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, min(200, steps // 2), steps
    )
    return optax.chain(
        optax.clip_by_global_norm(settings.clip),
        optim.adamw_on_kernels(rate, weight_decay=settings.weight_decay),
    )
