"""YOLOv3 from annotated images to a report. Two CPU cores, 5 min; mAP50 0.96, mAP50-95 0.68.

By default it looks for handwritten digits in scenes; `--data voc --root DIR` trains on one's own
images. The network is the course's, made small; an object is assigned to its best anchor, as the
course says, and to every other anchor of similar shape (`--anchor-iou`), which trains far faster.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from tyro.conf import arg

from lectures_jax import data, metrics, ops, report, runtime
from lectures_jax.models.yolo import Yolo, YoloSize
from lectures_jax.nn.parameters import count_parameters
from lectures_jax.recipes import detection_data, detector, detector_network, detector_report
from lectures_jax.report.detection import PaddedBoxes
from lectures_jax.report.page import Figure, Section

TINY = {
    "scenes": 2,
    "evaluated": 2,
    "training": detector.Settings(
        steps=2,
        batch_size=2,
        image_size=(64, 64),
        size=YoloSize(4, 4, (4, 4, 4), (1, 0, 0), (4, 4, 4), 0),
    ),
}
KMEANS = "Typical shapes of the training boxes, by k-means with distance 1 − IoU"
EXPECTED = {"AP50": (0.945, None), "AP": (0.66, None)}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Literal["digits", "voc", "coco", "yolo"] = "digits"
    """what to train on: built-in digit scenes, or images with VOC, COCO or YOLO annotations"""
    root: Path | None = None
    """folder of one's own images and annotations; see the readers in lectures_jax.data"""
    splits: tuple[str, str] | None = None
    """names of the splits to train on and to measure on; None: train and test, or VOC's own
    trainval and test. Nothing is chosen by the measured split: the last step's model counts"""
    classes: Path | None = None
    """file of class names, one per line, of VOC or COCO annotations: their order, and all there
    are; None: the names in the training split, sorted, or the COCO file's"""
    strict: bool = True
    """stop at the first faulty record; otherwise leave it out and list it in the report"""
    scenes: int = 6000
    """digit scenes to train on"""
    evaluated: int = 500
    """digit scenes to measure on"""
    seed: int = 0
    """of scenes, parameters, order and augmentation"""
    start: Annotated[Path | None, arg(name="from")] = None
    """an earlier run's folder, or a model.safetensors: its detector is trained further on these
    images; or the .cfg of a network of Darknet; None: a new network"""
    start_weights: Annotated[Path | None, arg(name="from-weights")] = None
    """the .weights beside a .cfg"""
    training: detector.Settings = field(default_factory=detector.Settings)
    """of the network and its training"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains, measures on the test split, and writes the report."""
    config = with_defaults(config)
    if config.start_weights and not config.start:
        raise ValueError(f"--from: expected the .cfg of {config.start_weights}, got none.")
    earlier = config.start and detector_network.read_network(config.start, config.start_weights)
    splits = read(config)
    trained = detector.train(config.training, splits, out, seed=config.seed, earlier=earlier)
    detected = detector.detect(trained.model, splits)
    return write_report(config, out, splits, trained, detected, earlier)


def with_defaults(config: Config) -> Config:
    """The configuration with what depends on the data."""
    names = (
        None if config.data == "digits" else detection_data.split_names(config.data, config.root)
    )
    return replace(
        config,
        splits=config.splits or names,
        training=detector.with_defaults(config.training, config.data),
    )


def read(config: Config) -> detection_data.Splits:
    """The images, brought to one size."""
    image_size = config.training.image_size
    if config.data == "digits":
        if config.classes:
            raise ValueError(f"--classes: expected none for --data digits, got {config.classes}.")
        key = jax.random.split(jax.random.key(config.seed), 4)[0]  # the others: `detector.train`
        return detection_data.draw_scenes(
            key, count=config.scenes, test_count=config.evaluated, image_size=image_size
        )
    return detection_data.read_files(
        config.data,
        config.root,
        splits=config.splits,
        classes=config.classes,
        strict=config.strict,
        image_size=image_size,
    )


def write_report(
    config: Config,
    out: Path,
    splits: detection_data.Splits,
    trained: detector.Trained,
    detected: detector.Detected,
    earlier: detector_network.Network | None = None,
) -> dict[str, float]:
    """Writes `report.html`; returns the numbers of `scores`."""
    model, history = trained.model, trained.history
    known = detector_network.common_classes(earlier, splits.test.classes) if earlier else []
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    numbers, sections = scores(splits, detected, figures)
    report.page(
        out / "report.html",
        title="YOLOv3 on " + (config.root.name if config.root else "digit scenes"),
        summary=f"A detector of {count_parameters(model) / 1e6:.2f} million parameters, "
        f"{origin(config, known)} on {len(splits.train)} images and measured on "
        f"{len(splits.test)} that it never saw.",
        numbers={
            "mAP50": numbers.get("AP50"),
            "mAP50-95": numbers.get("AP"),
            "best threshold": numbers["best_threshold"],
            "steps": config.training.steps,
        },
        sections=[
            report.training(
                history,
                figures,
                losses=[["loss"], ["box", "overlap", "objectness", "classes"]],
                scores=[["mAP50", "mAP50_95"]],
            ),
            *detections(model, splits, detected),
            *sections,
            training_batch(splits, config),
            anchors(model, splits, figures, earlier=bool(known)),
            report.timing(history, batch_size=config.training.batch_size),
            *data_set(splits),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def scores(
    splits: detection_data.Splits, detected: detector.Detected, figures: Path
) -> tuple[dict[str, float], list[Section]]:
    """COCO's twelve numbers on the test split and the best threshold, and sections on both.

    Numbers of sizes that no object has, which COCO gives as −1, are left out.
    """
    classes = splits.test.classes
    coco = detector.coco(detected, num_classes=len(classes))
    numbers = {name: value for name, value in coco.named().items() if value >= 0}
    best, errors = detector_report.errors(splits.test, detected, figures)
    precision = np.asarray(coco.precision)[..., 0, 2]
    path = figures / "precision_recall.svg"
    curves = report.precision_recall_by_class(precision, path, classes=classes)
    return numbers | best, [curves, *errors]


def origin(config: Config, known: list[str]) -> str:
    """Where the training began, in words."""
    if config.start is None:
        return "trained from scratch"
    kept = f"its outputs of {', '.join(known)} kept" if known else "the outputs of its heads new"
    return f"fine-tuned from {config.start} ({kept})"


def detections(
    model: Yolo, splits: detection_data.Splits, detected: detector.Detected
) -> list[Section]:
    """The first test images, and the worst ones."""
    test = splits.test
    shown = len(test[:8])
    images = [np.asarray(record.image) for record in test]
    options = {"names": [record.id for record in test], "classes": test.classes}
    boxes, scores, labels, valid = map(
        np.asarray,
        model.predict(
            jnp.asarray(np.stack(images[:shown]), jnp.float32) / 255,
            score_threshold=0.3,
            iou_threshold=0.45,
            class_agnostic=True,
        ),
    )
    truth = PaddedBoxes(detected.true_boxes, detected.true_labels, detected.true_valid)
    confident = detected._replace(valid=detected.valid & (detected.scores > 0.5))
    matches = metrics.match_detections(*confident[:-1], crowd=detected.crowd)
    missed = truth._replace(valid=np.asarray(matches.missed))
    false_positive = np.asarray(matches.false_positive)
    wrong = PaddedBoxes(detected.boxes, detected.labels, false_positive, detected.scores)
    return [
        report.predictions(
            images[:shown], truth, PaddedBoxes(boxes, labels, valid, scores), **options
        ),
        report.worst_errors(images, missed, wrong, **options),
    ]


def training_batch(splits: detection_data.Splits, config: Config) -> Section:
    """One batch as it is read and as it is trained on."""
    batch = next(detector.batches(config.training, splits, seed=config.seed))
    augment = jax.jit(detector.augmentation(config.training))
    names = "image", "boxes", "labels", "valid"
    grids = []
    for examples in (batch, augment(jax.random.key(config.seed), batch)):
        arrays = (np.asarray(examples[name]) for name in names)
        images = [
            report.draw_boxes(image, boxes, labels, valid=valid, classes=splits.train.classes)
            for image, boxes, labels, valid in zip(*arrays, strict=True)
        ]
        grids.append(report.grid(images, columns=4))
    return Section(
        "A training batch",
        "Boxes move along with the images.",
        figures=[Figure(grids[0], "As read."), Figure(grids[1], "As trained on.")],
    )


def anchors(model: Yolo, splits: detection_data.Splits, figures: Path, *, earlier: bool) -> Section:
    """The anchors among the training boxes."""
    sizes = detector_network.box_sizes(splits.train)
    shapes = np.concatenate(model.anchors).astype(np.float32)
    report.anchors(sizes, shapes, figures / "anchors.svg")
    overlap = ops.best_anchor_iou(jnp.asarray(sizes), jnp.asarray(shapes))
    return Section(
        "Anchors",
        f"{'Those of the earlier detector' if earlier else KMEANS}, {len(model.anchors[0])} to "
        f"each head. A box overlaps its best anchor by {np.mean(overlap):.2f} on average.",
        figures=[Figure(figures / "anchors.svg", "Width and height in pixels.")],
    )


def data_set(splits: detection_data.Splits) -> list[Section]:
    """What was trained and measured on, and what was left out of it."""
    both = (("train", splits.train), ("test", splits.test))
    train, test = (data.split_of_dataset(name, split) for name, split in both)
    seen = data.inspect_splits(splits.train.classes, train, test, boxes=True)
    return report.dataset(
        seen.tables, faults=seen.faults, warnings=seen.warnings, problems=seen.problems
    )
