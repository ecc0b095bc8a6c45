"""Classifies small images by a plain, residual or separable network. CPU, 1 min; accuracy 1.00.

By default handwritten digits of 8×8 pixels; `--data idx --root DIR` takes MNIST's format, such as
Fashion-MNIST, `--data images --root DIR` a folder of images per class. Nothing is chosen by the
test images: the last step's averaged model counts.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import data, metrics, report, runtime
from lectures_jax.data.files import class_names, lines_of
from lectures_jax.recipes import classifier
from lectures_jax.recipes.settings import require
from lectures_jax.report.page import Figure, Section

TINY = {"training": classifier.Settings(steps=2, batch_size=4, channels=2)}
EXPECTED = {"accuracy": (0.98, None)}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Literal["digits", "idx", "images"] = "digits"
    """what to train on: the built-in digits, four files in MNIST's format, or a folder of images
    (or a zip file) with a folder per class"""
    root: Path | None = None
    """folder of the files, or the zip file"""
    classes: Path | None = None
    """file of class names, one per line, of a set in MNIST's format; None: classes.txt beside its
    files, else the numbers"""
    image_size: tuple[int, int] | None = None
    """height and width to which a folder's images are brought; None: their own if they have one
    size, else their median, at most 96 pixels"""
    mean_of_shifts: bool | None = None
    """whether the answer to a test image is the mean over itself and its four shifts by a pixel;
    None: if the training shifts its images"""
    seed: int = 0
    """of parameters, order and augmentation"""
    training: classifier.Settings = field(default_factory=classifier.Settings)
    """of the network and its training"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains, measures on the test split, and writes the report."""
    training = classifier.with_defaults(config.training, config.data)
    config = replace(config, training=training)
    if config.mean_of_shifts is None:
        config = replace(config, mean_of_shifts=training.augmentation == "shift")
    classes = class_names(lines_of(config.classes), config.classes) if config.classes else None
    splits = data.read_classified(
        config.data, config.root, classes=classes, image_size=config.image_size
    )
    trained = classifier.train(config.training, splits, out, seed=config.seed)
    return write_report(config, out, splits, trained)


def write_report(
    config: Config, out: Path, splits: data.Splits, trained: classifier.Trained
) -> dict[str, float]:
    """Writes `report.html`; returns the accuracy and its standard error on the test split."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    images, labels = splits.test["image"], splits.test["labels"]
    probabilities, numbers = measure(config, trained, images, labels)
    counts = metrics.confusion_matrix(
        jnp.asarray(probabilities.argmax(axis=1)),
        jnp.asarray(labels),
        num_classes=len(splits.classes),
    )
    report.page(
        out / "report.html",
        title=f"Classification of {config.root.name if config.root else 'digits'}",
        summary=f"A network ({config.training.model}) was trained on "
        f"{len(splits.train['labels'])} images and measured on {len(labels)} that it never saw.",
        numbers={
            "accuracy": numbers["accuracy"],
            "without the mean over shifts": numbers["accuracy_of_one"],
            "steps": config.training.steps,
        },
        sections=[
            report.training(
                trained.history,
                figures,
                losses=[["loss"], ["accuracy"]],
                scores=[["test_accuracy"]],
            ),
            report.confusion(np.asarray(counts), figures / "confusion.svg", classes=splits.classes),
            report.worst_mistakes(images, labels, probabilities, classes=splits.classes),
            training_batch(splits, config),
            *data_set(splits),
            report.timing(trained.history, batch_size=config.training.batch_size),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def measure(
    config: Config, trained: classifier.Trained, images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, dict[str, float]]:
    """The probabilities; the accuracy, its standard error, and the cross-entropy in nats."""
    alone = classifier.probabilities(trained.model, images)
    probabilities = alone
    if config.mean_of_shifts:
        probabilities = classifier.probabilities(trained.model, images, mean_of_shifts=True)
    accuracy = float(np.mean(probabilities.argmax(axis=1) == labels))
    confidence = probabilities[np.arange(len(labels)), labels]
    return probabilities, {
        "accuracy": accuracy,
        "accuracy_of_one": float(np.mean(alone.argmax(axis=1) == labels)),
        "standard_error": (accuracy * (1 - accuracy) / len(labels)) ** 0.5,
        "loss": float(-np.mean(np.log(confidence + 1e-12))),
    }


def data_set(splits: data.Splits) -> list[Section]:
    """What was trained and measured on."""
    both = (("train", splits.train), ("test", splits.test))
    train, test = (data.split_of_examples(name, split) for name, split in both)
    seen = data.inspect_splits(splits.classes, train, test, boxes=False)
    return report.dataset(seen.tables, faults=seen.faults, warnings=seen.warnings)


def training_batch(splits: data.Splits, config: Config) -> Section:
    """Some images as they are read and as they are trained on."""
    batch = {name: value[:16] for name, value in splits.train.items()}
    kind = require(config.training.augmentation, "augmentation")
    changed = data.augment_classification(jax.random.key(config.seed), batch, kind=kind)
    grids = [
        report.grid(report.enlarge(np.asarray(b["image"]), factor=4), columns=8)
        for b in (batch, changed)
    ]
    return Section(
        "Training images",
        figures=[Figure(grids[0], "As read."), Figure(grids[1], "As trained on.")],
    )
