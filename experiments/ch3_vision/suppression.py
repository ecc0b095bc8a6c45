"""Of boxes that overlap the best stays, step by step. Two CPU cores, 3 min; AP50 0.70.

A detector of digits, of whatever class, is trained on scenes so crowded that boxes of neighbors
overlap as much as two boxes of one digit do. Which box belongs to whom is then a guess, and three
ways of suppression guess differently: by the IoU, by the IoU less the distance of the centers, and
softly, by lowering the scores of boxes that overlap a better one.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import data, metrics, ops, report, runtime
from lectures_jax.data.records import Dataset
from lectures_jax.models.yolo import Yolo, YoloSize
from lectures_jax.nn.detection import detect
from lectures_jax.recipes import detection_data, detector
from lectures_jax.report.boxes import BoxGroup
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.suppression import KEPT, SUPPRESSED
from lectures_jax.report.theme import color, plot
from lectures_jax.train import predict as predict_batches

TINY = {
    "scenes": 2,
    "evaluated": 2,
    "sets": 1,
    "training": detector.Settings(
        steps=2,
        batch_size=2,
        image_size=(64, 64),
        size=YoloSize(4, 4, (4, 4, 4), (1, 0, 0), (4, 4, 4), 0),
    ),
}
EXPECTED = {
    "AP50_hard": (0.64, None),
    "AP50_soft": (0.66, None),
    "crowded_hard": (None, 0.85),
    "crowded_by_distance": (0.8, None),
    "crowded_soft": (0.86, None),
}
WAYS = {
    "hard": {"suppression": "hard", "iou_threshold": 0.5},
    "by distance": {"suppression": "diou", "iou_threshold": 0.5},
    "soft": {"suppression": "soft", "sigma": 0.5},
}
"""The three ways with their usual parameters."""

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
SIGMAS = (0.1, 0.2, 0.3, 0.5, 0.8)
NARROW = YoloSize(8, 2, (16, 32, 64, 96), (1, 1, 1, 0), (48, 32, 24), 0)
CROWDED = 0.4  # IoU with another digit from which one counts as crowded
CONFIDENT = 0.3  # least score of a box that is drawn


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    scenes: int = 2000
    """crowded scenes to train on"""
    evaluated: int = 200
    """crowded scenes to measure on"""
    digits: tuple[int, int] = (5, 12)
    """least and largest number of digits that are placed in a scene"""
    overlap: float = 0.8
    """largest share of a digit's box that another may cover"""
    training: detector.Settings = field(
        default_factory=lambda: detector.Settings(steps=1200, image_size=(96, 96), size=NARROW)
    )
    """of the detector"""
    sets: int = 3
    """sets of so many test scenes, whose scores differ by chance"""
    seed: int = 0
    """of scenes, parameters and order"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains, suppresses in three ways, and writes the report."""
    config = replace(config, training=detector.with_defaults(config.training, "digits"))
    splits = read(config)
    model = detector.train(config.training, splits[0], out, seed=config.seed).model
    raws = [predict(model, of_set) for of_set in splits]
    scores = [{way: score(suppress(raw, **WAYS[way])) for way in WAYS} for raw in raws]
    by_way = {way: {k: [s[way][k] for s in scores] for k in scores[0][way]} for way in WAYS}
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    detected = {
        way: suppress(raws[0], score_threshold=CONFIDENT, **options)
        for way, options in (WAYS | {"none": {"iou_threshold": 1.0}}).items()
    }
    scene, every = best_example(detected), detected["none"]
    image = np.asarray(splits[0].test[scene].image)
    valid = every.valid[scene]
    boxes = every.boxes[scene][valid]
    overlap = ops.pairwise_iou(jnp.asarray(boxes), jnp.asarray(boxes))
    numbers = {
        f"{name}_{way.replace(' ', '_')}": float(np.mean(values))
        for way, of_way in by_way.items()
        for name, values in of_way.items()
    }
    report.page(
        out / "report.html",
        title="Suppression, step by step",
        summary="A detector proposes several boxes for one object. Suppression keeps the best, and "
        "in a crowd may take a neighbor for one box too many.",
        numbers={f"AP50, {way}": float(np.mean(by_way[way]["AP50"])) for way in WAYS},
        sections=[
            report.suppression_rounds(
                image, boxes, every.scores[scene][valid], np.asarray(overlap), threshold=0.5
            ),
            ways_section(image, scene, detected),
            scores_section(by_way, [sweep(raw) for raw in raws], figures / "sweep.svg"),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def read(config: Config) -> list[detection_data.Splits]:
    """The scenes to train on, beside each set of scenes to measure on."""
    key_train, key_test = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 3))
    train = scenes(config, key_train, config.scenes, "train")
    tests = [
        scenes(config, jax.random.fold_in(key_test, i), config.evaluated, "test")
        for i in range(config.sets)
    ]
    size = config.training.image_size or (96, 96)
    splits = [detection_data.keep_in_memory(train, test, image_size=size) for test in tests]
    return [of_set._replace(max_boxes=config.digits[1]) for of_set in splits]


def scenes(config: Config, key: jax.Array, count: int, split: Any) -> Dataset:
    """Crowded scenes in which every digit is of the one class "digit"."""
    least, most = config.digits
    dataset = data.digit_scenes(
        key,
        count=count,
        split=split,
        size=96,
        min_digits=least,
        max_digits=most,
        min_size=20.0,
        max_size=34.0,
        max_overlap=config.overlap,
    )
    return detection_data.as_one_class(dataset)


class Raw(NamedTuple):
    """What a detector gives for the test scenes before suppression, beside the truth."""

    model: Yolo
    heads: tuple[np.ndarray, ...]
    truth: detector.Detected


def predict(model: Yolo, splits: detection_data.Splits) -> Raw:
    """The raw heads for the test scenes."""
    images = np.stack([np.asarray(record.image) for record in splits.test])
    heads = predict_batches(model, images.astype(np.float32) / 255, batch_size=50)
    return Raw(model, heads, detector.detect(model, splits))


def suppress(raw: Raw, **options: Any) -> detector.Detected:
    """The detections after suppression."""
    height, width = (raw.model.strides[0] * cells for cells in raw.heads[0].shape[1:3])
    heads = [jnp.asarray(head) for head in raw.heads]
    size, anchors, strides = (height, width), raw.model.anchors, raw.model.strides
    detections = detect(heads, anchors, strides, image_size=size, **options)
    boxes, scores, labels, valid = map(np.asarray, detections)
    return raw.truth._replace(boxes=boxes, scores=scores, labels=labels, valid=valid)


def score(detected: detector.Detected) -> dict[str, float]:
    """COCO's scores, and the share of the crowded digits that are detected at all."""
    named = detector.coco(detected, num_classes=1).named()
    truth = jnp.asarray(detected.true_boxes)
    overlap = np.asarray(jax.vmap(ops.pairwise_iou)(truth, truth))
    both = detected.true_valid[:, :, None] & detected.true_valid[:, None]
    other = ~np.eye(overlap.shape[1], dtype=bool)
    crowded = np.any(both & other & (overlap > CROWDED), axis=2)
    missed = np.asarray(matches(detected).missed)
    share = 1 - np.sum(missed & crowded) / max(np.sum(crowded), 1)
    return {"AP50": named["AP50"], "AP": named["AP"], "recall": named["AR100"], "crowded": share}


def sweep(raw: Raw) -> dict[str, list[float]]:
    """AP at IoU 0.5 of each way by its parameter."""
    values = {"soft": ("sigma", SIGMAS)}
    usual = ("iou_threshold", THRESHOLDS)
    return {
        way: [
            score(suppress(raw, **options | {name: value}))["AP50"]
            for name, of_name in [values.get(way, usual)]
            for value in of_name
        ]
        for way, options in WAYS.items()
    }


def best_example(detected: dict[str, detector.Detected]) -> int:
    """The scene in which hard suppression misses the most digits that another way detects."""
    missed = {way: np.asarray(matches(detected[way]).missed).sum(axis=1) for way in WAYS}
    return int(np.argmax(missed["hard"] - missed["by distance"]))


def matches(detected: detector.Detected) -> metrics.Matches:
    """Which boxes are right and which digits are missed, at IoU 0.5."""
    return metrics.match_detections(*detected[:-1])


def drawing(image: np.ndarray, groups: list[BoxGroup], caption: str) -> Figure:
    """A scene with its boxes, three times as large."""
    return Figure(report.draw_box_groups(image, groups, scale=3), caption)


def texts(scores: np.ndarray) -> list[str]:
    """Scores as they are written on boxes."""
    return [f"{score:.2f}".removeprefix("0") for score in scores]


def ways_section(image: np.ndarray, scene: int, detected: dict[str, detector.Detected]) -> Section:
    """The same scene after each of the three ways, beside the truth."""
    truth = detected["hard"].true_boxes[scene][detected["hard"].true_valid[scene]]
    dashes = BoxGroup(truth, "#ffffff", dashed=True)
    figures = [drawing(image, [dashes], f"The truth: {len(truth)} digits.")]
    for way in WAYS:
        boxes, scores, of_way = (
            detected[way].boxes[scene],
            detected[way].scores[scene],
            matches(detected[way]),
        )
        right, wrong = (np.asarray(x)[scene] for x in (of_way.true_positive, of_way.false_positive))
        missed = np.asarray(of_way.missed)[scene]
        groups = [
            BoxGroup(detected[way].true_boxes[scene][missed], "#ffffff", dashed=True),
            BoxGroup(boxes[wrong], SUPPRESSED, labels=texts(scores[wrong])),
            BoxGroup(boxes[right], KEPT, labels=texts(scores[right])),
        ]
        text = f"{way.capitalize()}: {right.sum()} of {len(truth)} digits detected, "
        figures.append(drawing(image, groups, text + f"{wrong.sum()} boxes too many."))
    return Section(
        "Three ways in a crowd",
        f"Boxes of a score above {CONFIDENT} after suppression: green ones are right, red ones are "
        "wrong, and dashes are digits that no box matches. Of all test scenes this is the one with "
        "the most digits that hard suppression loses and suppression by distance keeps.",
        figures=figures,
    )


def scores_section(
    by_way: dict[str, dict[str, list[float]]], sweeps: list[dict[str, list[float]]], path: Path
) -> Section:
    """What the three ways are worth on all test scenes, and how much their parameter matters."""
    with plot(path, columns=2, height=2.3) as (left, right):
        for i, way in enumerate(WAYS):
            ax, x = (right, SIGMAS) if way == "soft" else (left, THRESHOLDS)
            values = np.array([of_set[way] for of_set in sweeps])
            ax.plot(x, values.mean(axis=0), "o-", ms=3, color=color(i), label=way)
            ax.fill_between(x, values.min(axis=0), values.max(axis=0), color=color(i), alpha=0.15)
        every = [value for of_set in sweeps for of_way in of_set.values() for value in of_way]
        for ax, text in ((left, "threshold"), (right, "σ")):
            ax.set(xlabel=text, ylim=(min(every) - 0.01, max(every) + 0.01))
            ax.legend(loc="lower center")
        right.tick_params(labelleft=False)
        left.set_ylabel("AP at IoU 0.5")
    names = {"AP50": "AP50", "AP": "AP50-95", "recall": "recall", "crowded": "crowded"}
    hard = np.array(by_way["hard"]["AP50"])
    rows = [
        (
            way,
            *(report.mean_and_deviation(of_way[name], digits=3) for name in names),
            report.mean_and_deviation(np.array(of_way["AP50"]) - hard, digits=3),
        )
        for way, of_way in by_way.items()
    ]
    return Section(
        "What they are worth",
        "Mean and standard deviation of the sets of scenes; differences are of the same scenes. "
        "AP is COCO's average precision; recall is its mean over IoU 0.5 to 0.95 with 100 boxes a "
        "scene. Of the crowded digits, which another one overlaps by an IoU of at least "
        f"{CROWDED}, the share counts that any box of a score from 0.01 on matches.",
        figures=[Figure(path, "AP50 by the parameter, mean and range of the sets of scenes.")],
        table=Table(("suppression", *names.values(), "AP50 less that of hard"), rows),
    )
