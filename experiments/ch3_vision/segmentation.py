"""A U-Net from images with masks to a report. CPU, 26 min; mean IoU at least 0.88.

By default it gives each pixel of a scene the handwritten digit that it belongs to, or background;
`--data masks --root DIR` trains on one's own images and PNG masks: of class ids, of colors, or of
the ids of objects, such as cells, which are then kept apart where they touch. Then
`ljx predict RUN_DIR IMAGES` writes the masks of images of any size.
"""

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from lectures_jax import data, report, runtime
from lectures_jax.models.unet import UNet
from lectures_jax.nn.parameters import count_parameters
from lectures_jax.recipes import segmentation_data, segmentation_scores, segmenter
from lectures_jax.recipes.segmentation_data import Splits
from lectures_jax.recipes.segmentation_scores import Segmented
from lectures_jax.report.page import Figure, Section

TINY = {
    "scenes": 2,
    "evaluated": 2,
    "size": 32,
    "small_size": 16,
    "small_steps": 2,
    "training": segmenter.Settings(steps=2, batch_size=2, crop=16, channels=(4, 4)),
}
EXPECTED = {"mean_iou": (0.88, None)}
SHOWN = 6
NAMES = {
    "mean_iou": "mean IoU",
    "mean_dice": "mean Dice",
    "pixel_accuracy": "pixel accuracy",
    "boundary_f1": "boundary F1",
    "object_dice": "Dice of the objects",
    "AP50_95": "AP50-95",
}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Literal["digits", "masks"] = "digits"
    """what to train on: built-in digit scenes, or images with PNG masks"""
    root: Path | None = None
    """folder of one's own images and masks; see data.read_mask_folders"""
    splits: tuple[str, str] | None = None
    """names of the splits to train on and to measure on; None: those that are there, or a fifth
    is drawn. Nothing is chosen by the measured split: the last step's model counts"""
    classes: Path | None = None
    """file with a class per line, the background first, and maybe its color in the masks; None:
    classes.txt in the root, or else the ids that are there"""
    masks: Literal["classes", "instances"] | None = None
    """what the numbers in the masks are; None: what they look like"""
    strict: bool = True
    """stop at the first faulty file; otherwise leave it out and list it in the report"""
    scenes: int = 2000
    """digit scenes to train on"""
    evaluated: int = 200
    """digit scenes to measure on"""
    size: int = 128
    """rows and columns of a digit scene, in pixels"""
    small_steps: int = 2000
    """of a first training on small scenes with digits of the same sizes, before that on scenes of
    the full size, which then has half the learning rate: it names the digits in less time. Files do
    without"""
    small_size: int = 64
    """rows and columns of a small scene"""
    small_batch_size: int = 16
    """small scenes per step"""
    seed: int = 0
    """of scenes, parameters, order, crops and augmentation"""
    training: segmenter.Settings = field(default_factory=segmenter.Settings)
    """of the network and its training"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains, measures on the test split, and writes the report."""
    config = replace(config, training=segmenter.with_defaults(config.training, config.data))
    splits = read(config)
    start = train_small(config, out / "small") if config.data == "digits" else None
    settings = config.training
    if start is not None:
        settings = replace(settings, learning_rate=settings.learning_rate / 2)
    trained = segmenter.train(settings, splits, out, seed=config.seed, start=start)
    segmented = segmenter.segment(trained.model, splits)
    numbers = segmentation_scores.measure(segmented, splits)
    boundaries = segmentation_scores.boundary_f1(segmented, splits)
    numbers |= {"boundary_f1": boundaries} if math.isfinite(boundaries) else {}
    write_report(config, out, splits, trained, segmented, numbers)
    return numbers


def train_small(config: Config, out: Path) -> UNet:
    """A network that names the digits of small scenes.

    In scenes of the full size a network spends hundreds of steps on telling digits from background
    before it names the first one. The small scenes are other ones, of the same handwritten digits:
    those to train on.
    """
    out.mkdir(exist_ok=True)
    settings = replace(
        config.training,
        crop=config.small_size,
        steps=config.small_steps,
        batch_size=config.small_batch_size,
    )
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    splits = segmentation_data.draw_scenes(
        key,
        count=config.scenes,
        test_count=config.evaluated,
        size=config.small_size,
        largest=min(segmentation_data.largest_digit(config.size), config.small_size),
    )
    return segmenter.train(settings, splits, out, seed=config.seed).model


def read(config: Config) -> Splits:
    """The images and masks, in memory."""
    if config.data == "digits":
        names = ("root", "splits", "classes", "masks")
        given = {name: getattr(config, name) for name in names}
        for name, value in given.items():
            if value is not None:
                raise ValueError(f"--{name}: expected none for --data digits, got {value}.")
        key = jax.random.split(jax.random.key(config.seed), 3)[0]  # the others: `segmenter.train`
        return segmentation_data.draw_scenes(
            key, count=config.scenes, test_count=config.evaluated, size=config.size
        )
    return segmentation_data.read_files(
        config.root,
        splits=config.splits,
        classes=config.classes,
        instances=None if config.masks is None else config.masks == "instances",
        strict=config.strict,
    )


def write_report(
    config: Config,
    out: Path,
    splits: Splits,
    trained: segmenter.Trained,
    segmented: list[Segmented],
    numbers: dict[str, float],
) -> None:
    """Writes `report.html`."""
    model, history = trained
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    shown = {NAMES.get(name, name): value for name, value in numbers.items()}
    counts = segmentation_scores.confusion(segmented, splits)
    scores = [["mean_iou", "mean_dice"], *([["AP50", "AP50_95"]] if splits.instances else [])]
    terms = [config.training.pixel_loss, config.training.overlap_loss]
    report.page(
        out / "report.html",
        title="U-Net on " + (config.root.name if config.root else "digit scenes"),
        summary=f"A segmenter of {count_parameters(model) / 1e6:.2f} million parameters, trained "
        f"from scratch on {len(splits.train)} images and measured on {len(splits.test)} that it "
        "never saw.",
        numbers=shown | {"steps": config.training.steps},
        sections=[
            *best_and_worst(splits, segmented),
            report.pixel_classes(counts, figures / "confusion.svg", classes=splits.classes),
            report.training(history, figures, losses=[["loss"], terms], scores=scores),
            training_batch(splits, config),
            report.timing(history, batch_size=config.training.batch_size),
            *data_set(splits),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def best_and_worst(splits: Splits, segmented: list[Segmented]) -> list[Section]:
    """The first test images, then the worst and the best of all."""
    scores = [
        segmentation_scores.measure([result], splits._replace(test=splits.test[i : i + 1]))
        for i, result in enumerate(segmented)
    ]
    name = "AP50_95" if splits.instances else "mean_iou"
    order = np.argsort([score[name] for score in scores], kind="stable").tolist()
    legend = [] if splits.instances else [Figure(report.mask_legend(splits.classes), "Classes.")]
    chosen = {
        "Predictions": list(range(len(order)))[:SHOWN],
        "The worst images": order[:SHOWN],
        "The best images": order[: -SHOWN - 1 : -1],
    }
    sections = []
    for title, rows in chosen.items():
        records = [splits.test[i] for i in rows]
        captions = [
            f"{splits.test[i].id}: mean IoU {scores[i]['mean_iou']:.3f}"
            + (f", AP50 {scores[i]['AP50']:.2f}." if splits.instances else ".")
            for i in rows
        ]
        section = report.segmentations(
            title,
            "",
            [np.asarray(record.image) for record in records],
            [np.asarray(record.mask) for record in records],
            [shown_mask(segmented[i]) for i in rows],
            captions=captions,
            num_classes=None if splits.instances else len(splits.classes),
        )
        sections.append(replace(section, figures=[*legend, *section.figures]))
    return sections


def shown_mask(result: Segmented) -> np.ndarray:
    """The objects where there are any, else the classes."""
    return result.classes if result.instances is None else result.instances


def training_batch(splits: Splits, config: Config) -> Section:
    """One batch as it is read and as it is trained on."""
    batch: Any = next(segmenter.batches(config.training, splits, seed=config.seed))
    augment = jax.jit(segmenter.augmentation(config.training))
    grids = []
    for examples in (batch, augment(jax.random.key(config.seed), batch)):
        cells = []
        for image, mask in zip(*(np.asarray(examples[n]) for n in ("image", "mask")), strict=True):
            cells += [image, report.draw_mask(image, mask, num_classes=len(splits.classes))]
        grids.append(report.grid(cells, columns=4))
    return Section(
        "A training batch",
        "Crops and their masks, which move along with them. White pixels do not count.",
        figures=[Figure(grids[0], "As read."), Figure(grids[1], "As trained on.")],
    )


def data_set(splits: Splits) -> list[Section]:
    """What was trained and measured on, and what was left out of it."""
    seen = data.inspect_masks(splits.classes, splits.train, splits.test, instances=splits.instances)
    return report.dataset(
        seen.tables, faults=seen.faults, warnings=seen.warnings, problems=seen.problems
    )
