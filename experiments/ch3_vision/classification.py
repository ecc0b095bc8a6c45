"""Classifies small images by a plain, residual or separable network. CPU, 1 min; accuracy 1.00.

By default handwritten digits of 8×8 pixels; `--data idx --root DIR` takes MNIST's format, such as
Fashion-MNIST. Nothing is chosen by the test images: the last step's averaged model counts.
"""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, metrics, objectives, report, runtime, train
from lectures_jax.models import resnet, xception
from lectures_jax.models.cnn import Cnn
from lectures_jax.models.resnet import ResNet
from lectures_jax.models.xception import Xception
from lectures_jax.report.page import Figure, Section

TINY = {"steps": 2, "batch_size": 4}
FASHION = (
    "T-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "boot",
)


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Literal["digits", "idx"] = "digits"
    """what to learn: the built-in digits, or four files in MNIST's format"""
    root: Path | None = None
    """folder of {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz"""
    model: Literal["cnn", "resnet", "xception"] = "cnn"
    """plain (32, 64, 64, 128, 128 channels), ResNet-20, or a small Xception"""
    steps: int | None = None
    """training steps; None: 600 for digits, 3000 for files"""
    batch_size: int = 64
    """images per step"""
    learning_rate: float = 6e-3
    """highest of Adam's one-cycle schedule"""
    weight_decay: float = 0.02
    """decoupled, on kernels only"""
    augmentation: Literal["shift", "flip"] | None = None
    """by up to a twelfth of the image, or as in a mirror; None: shift for digits, flip for files,
    whose images are often centered"""
    smoothing: float = 0.0
    """share of the label spread over all classes"""
    dropout: float = 0.0
    """of the plain network's last layer"""
    ema_decay: float = 0.998
    """of the averaged parameters that are evaluated"""
    seed: int = 0
    """of parameters, order and augmentation"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains, measures on the test split, and writes the report."""
    default = config == Config()
    config = filled(config)
    splits = data.read_classified(config.data, config.root, classes=FASHION)
    key_init, key_train = jax.random.split(jax.random.key(config.seed))
    model = build(config, splits, nnx.Rngs(key_init))
    model, history = train.fit(
        key_train,
        model,
        partial(objectives.classification, smoothing=config.smoothing),
        optimizer(config),
        data.batches(splits.train, batch_size=config.batch_size, seed=config.seed),
        steps=config.steps,
        out=out,
        ema_decay=config.ema_decay,
        augment=partial(augment, kind=config.augmentation),
        evaluate=lambda model: {"test_accuracy": accuracy(model, splits.test)},
        evaluate_every=max(config.steps // 6, 1),
    )
    numbers = write_report(config, out, splits, history, probabilities(model, splits.test))
    if default and numbers["accuracy"] < 0.97:
        raise RuntimeError(f"expected an accuracy of 0.97 on the digits, got {numbers}.")
    return numbers


def filled(config: Config) -> Config:
    """The defaults that depend on the data."""
    small = config.data == "digits"
    return replace(
        config,
        steps=config.steps or (600 if small else 3000),
        augmentation=config.augmentation or ("shift" if small else "flip"),
    )


def build(config: Config, splits: data.Splits, rngs: nnx.Rngs) -> nnx.Module:
    """The network that the configuration names."""
    classes, inputs = len(splits.classes), splits.train["image"].shape[-1]
    match config.model:
        case "resnet":
            return ResNet(classes, size=resnet.CIFAR20, inputs=inputs, rngs=rngs)
        case "xception":
            return Xception(classes, size=xception.SMALL, inputs=inputs, rngs=rngs)
    return Cnn(classes, inputs=inputs, dropout=config.dropout, rngs=rngs)


def optimizer(config: Config) -> optax.GradientTransformation:
    """Adam with decoupled decay on the kernels and a one-cycle schedule."""
    rate = optax.cosine_onecycle_schedule(config.steps, config.learning_rate)
    kernels = partial(jax.tree.map, lambda parameter: parameter.ndim > 1)
    return optax.adamw(rate, weight_decay=config.weight_decay, mask=kernels)


def augment(key: jax.Array, batch: dict[str, jax.Array], *, kind: str) -> dict[str, jax.Array]:
    """Moves each image by up to a twelfth of its size, or mirrors half of them."""
    images = jnp.asarray(batch["image"])
    if kind == "flip":
        mirrored = jax.random.bernoulli(key, shape=(len(images), 1, 1, 1))
        return {**batch, "image": jnp.where(mirrored, images[:, :, ::-1], images)}
    reach = max(1, images.shape[1] // 12)
    padded = jnp.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    places = jax.random.randint(key, (len(images), 2), 0, 2 * reach + 1)
    cut = jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (*at, 0), images.shape[1:]))
    return {**batch, "image": cut(padded, places)}


def probabilities(model: nnx.Module, examples: dict[str, np.ndarray]) -> np.ndarray:
    """The model's answer to every image."""
    return np.asarray(jax.nn.softmax(train.predict(model, examples["image"])))


def accuracy(model: nnx.Module, examples: dict[str, np.ndarray]) -> float:
    """The share of right answers."""
    found = jnp.asarray(train.predict(model, examples["image"]))
    return float(metrics.accuracy(found, jnp.asarray(examples["labels"])))


def write_report(
    config: Config, out: Path, splits: data.Splits, history: list, found: np.ndarray
) -> dict[str, float]:
    """Writes `report.html`; returns the accuracy and its standard error on the test split."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    images, labels = splits.test["image"], splits.test["labels"]
    counts = metrics.confusion_matrix(
        jnp.asarray(found.argmax(axis=1)), jnp.asarray(labels), num_classes=len(splits.classes)
    )
    right = float(jnp.trace(counts)) / len(labels)
    numbers = {
        "accuracy": right,
        "standard_error": (right * (1 - right) / len(labels)) ** 0.5,
        "loss": float(-np.mean(np.log(found[np.arange(len(labels)), labels] + 1e-12))),
    }
    name = config.root.name if config.root else "digits"
    report.page(
        out / "report.html",
        title=f"Classification of {name}",
        summary=f"A network ({config.model}) learnt from {len(splits.train['labels'])} images "
        f"and was measured on {len(labels)} that it never saw.",
        numbers={"accuracy": right, "steps": config.steps},
        sections=[
            report.training(
                history, figures, losses=[["loss"], ["accuracy"]], scores=[["test_accuracy"]]
            ),
            report.confusion(np.asarray(counts), figures / "confusion.svg", classes=splits.classes),
            report.worst_mistakes(images, labels, found, classes=splits.classes),
            training_batch(splits, config),
            report.timing(history, batch_size=config.batch_size),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def training_batch(splits: data.Splits, config: Config) -> Section:
    """Some images as they are read and as they are learnt from."""
    batch = {name: value[:16] for name, value in splits.train.items()}
    changed = augment(jax.random.key(config.seed), batch, kind=config.augmentation)
    grids = [
        report.grid(np.asarray(b["image"]).repeat(4, axis=1).repeat(4, axis=2), columns=8)
        for b in (batch, changed)
    ]
    return Section(
        "Training images",
        figures=[Figure(grids[0], "As read."), Figure(grids[1], "As learnt from.")],
    )
