"""YOLOv3 from annotated images to a report. Two CPU cores, 5 min; mAP50 0.96, mAP50-95 0.68.

By default it looks for handwritten digits in scenes; `--data voc --root DIR` trains on one's own
images. The network is the course's, made small; an object is assigned to its best anchor, as the
course says, and to every other anchor of similar shape (`--anchor-iou`), which trains far faster.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx
from PIL import Image

from lectures_jax import data, metrics, objectives, ops, report, runtime, train, weights
from lectures_jax.data.records import Dataset
from lectures_jax.models.yolo import SMALL, Yolo
from lectures_jax.report.detection import Boxes
from lectures_jax.report.page import Figure, Section, Table

TINY = {"steps": 2, "scenes": 8, "evaluated": 4, "batch_size": 2}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Literal["digits", "voc", "coco", "yolo"] = "digits"
    """what to learn from: built-in digit scenes, or images with VOC, COCO or YOLO annotations"""
    root: Path | None = None
    """folder of one's own images and annotations; see the readers in lectures_jax.data"""
    splits: tuple[str, str] | None = None
    """names of the splits to learn from and to be measured on; None: train and test, or VOC's own
    trainval and test. Nothing is chosen by the measured split: the last step's model counts"""
    strict: bool = True
    """stop at the first faulty record; otherwise leave it out and list it in the report"""
    image_size: tuple[int, int] | None = None
    """height and width in pixels, multiples of 32; None: 160x160, or 256 on the longer side"""
    orientation: Literal["fixed", "mirror", "any"] | None = None
    """how images may be turned: not at all, left-right, all eight ways; None: fixed for digits,
    any for files (which suits cells and maps; take mirror for photographs)"""
    steps: int | None = None
    """training steps; None: 4000 for digits, 6000 for files"""
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
    scenes: int = 6000
    """digit scenes to learn from"""
    evaluated: int = 500
    """digit scenes to be measured on"""
    seed: int = 0
    """of scenes, parameters, order and augmentation"""


DIGITS = {"steps": 4000, "overlap_weight": 3.0, "orientation": "fixed"}
VOC = {"steps": 6000, "overlap_weight": 0.0, "orientation": "any", "splits": ("trainval", "test")}
FILES = VOC | {"splits": ("train", "test")}
"""What a `Config` leaves to the data."""


class Splits(NamedTuple):
    """The images, brought to one size and kept in memory."""

    train: Dataset
    test: Dataset
    image_size: tuple[int, int]
    max_boxes: int


class Found(NamedTuple):
    """All detections and all objects of a split, padded to the same numbers per image."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    valid: np.ndarray
    true_boxes: np.ndarray
    true_labels: np.ndarray
    true_valid: np.ndarray
    crowd: np.ndarray


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains, measures on the test split, and writes the report."""
    config = complete(config)
    key_data, key_anchors, key_init, key_train = jax.random.split(jax.random.key(config.seed), 4)
    splits = read(key_data, config)
    shapes = ops.kmeans_anchors(key_anchors, jax.numpy.asarray(box_sizes(splits.train)), k=9)
    heads = np.asarray(shapes).reshape(3, 3, 2)[::-1]  # the largest for the coarsest head
    classes = splits.train.classes
    model = Yolo(len(classes), anchors=heads.tolist(), size=SMALL, rngs=nnx.Rngs(key_init))
    objective = partial(
        objectives.yolo, anchor_iou=config.anchor_iou, overlap_weight=config.overlap_weight
    )
    model, history = train.fit(
        key_train,
        model,
        objective,
        optimizer(config),
        batches(splits, config),
        steps=config.steps,
        out=out,
        ema_decay=config.ema_decay,
        augment=partial(augment, config=config),
        evaluate=lambda model: score(model, splits.test, splits),
        evaluate_every=max(config.steps // 6, 1),
    )
    weights.save_yolo(
        out / "model.safetensors", model, classes=classes, image_size=splits.image_size
    )
    return write_report(config, out, splits, history, model, detect(model, splits.test, splits))


def complete(config: Config) -> Config:
    """Fills in what was left to the data."""
    fields = {"digits": DIGITS, "voc": VOC}.get(config.data, FILES)
    return replace(config, **{n: v for n, v in fields.items() if getattr(config, n) is None})


def read(key: jax.Array, config: Config) -> Splits:
    """Reads the two splits and brings every image to one size."""
    if config.data == "digits":
        keys = jax.random.split(key)
        splits = [
            data.digit_scenes(keys[0], count=config.scenes, split="train"),
            data.digit_scenes(keys[1], count=config.evaluated, split="test"),
        ]
        image_size = config.image_size or (160, 160)
    else:
        splits = read_files(config)
        image_size = config.image_size or common_size(splits[0])
    splits = [data.in_memory(split, image_size=image_size) for split in splits]
    most = max(len(record.boxes) for split in splits for record in split)
    return Splits(*splits, image_size, most)


def read_files(config: Config) -> list[Dataset]:
    """Reads one's own images; the classes are those of the first split."""
    if config.root is None:
        raise ValueError(f"--root must name a folder for --data {config.data}, got none.")
    root, strict = config.root, config.strict
    if config.data == "voc":
        learnt, measured = config.splits
        first = data.read_voc(root, split=learnt, strict=strict)
        return [first, data.read_voc(root, split=measured, classes=first.classes, strict=strict)]
    if config.data == "coco":
        return [
            data.read_coco(root / "annotations" / f"instances_{s}.json", root / s, strict=strict)
            for s in config.splits
        ]
    return [data.read_yolo(root, split=split, strict=strict) for split in config.splits]


def common_size(dataset: Dataset) -> tuple[int, int]:
    """256 pixels on the longer side of the usual shape, the shorter one a multiple of 32."""
    width, height = np.median([Image.open(record.image).size for record in dataset], axis=0)
    longer = max(height, width)
    return tuple(max(32, round(256 * side / longer / 32) * 32) for side in (height, width))


def box_sizes(dataset: Dataset) -> np.ndarray:
    """Width and height of all boxes, in pixels of the canvas."""
    return np.concatenate([record.boxes[:, 2:] - record.boxes[:, :2] for record in dataset])


def batches(splits: Splits, config: Config) -> Iterator[dict[str, np.ndarray]]:
    """Batches to learn from, without end."""
    return data.loader(
        splits.train,
        image_size=splits.image_size,
        batch_size=config.batch_size,
        max_boxes=splits.max_boxes,
        seed=config.seed,
    )


def augment(key: jax.Array, batch: dict[str, jax.Array], *, config: Config):
    """Changes each image of a batch at random."""
    one = partial(
        data.augment_detection,
        flip=0.0 if config.orientation == "fixed" else 0.5,
        flip_vertical=0.5 if config.orientation == "any" else 0.0,
        turn=0.5 if config.orientation == "any" else 0.0,
        scale=(0.8, 1.25) if config.data == "digits" else (0.75, 1.5),
    )
    keys = jax.random.split(key, batch["image"].shape[0])
    return jax.vmap(one)(keys, batch)


def optimizer(config: Config) -> optax.GradientTransformation:
    """Adam with decoupled decay on the kernels, warm-up and a cosine."""
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, min(200, config.steps // 2), config.steps
    )
    kernels = partial(jax.tree.map, lambda parameter: parameter.ndim > 1)
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(rate, weight_decay=config.weight_decay, mask=kernels),
    )


def detect(model: Yolo, dataset: Dataset, splits: Splits) -> Found:
    """Lets the model look at every image of a split."""
    rows = []
    for batch in data.loader(
        dataset,
        image_size=splits.image_size,
        batch_size=min(50, len(dataset)),
        max_boxes=splits.max_boxes,
        shuffle=False,
        repeat=False,
    ):
        names = "boxes", "labels", "valid", "crowd"
        row = *model.predict(batch["image"]), *(batch[name] for name in names)
        rows.append([np.asarray(array)[batch["present"]] for array in row])
    return Found(*(np.concatenate(arrays) for arrays in zip(*rows, strict=True)))


def score(model: Yolo, dataset: Dataset, splits: Splits) -> dict[str, float]:
    """COCO's two headline numbers on a split."""
    found = detect(model, dataset, splits)
    classes = len(dataset.classes)
    named = metrics.coco_map(*found[:-1], num_classes=classes, crowd=found.crowd).named()
    return {"mAP50": named["AP50"], "mAP50_95": named["AP"]}


def write_report(
    config: Config,
    out: Path,
    splits: Splits,
    history: list[dict[str, float]],
    model: Yolo,
    found: Found,
) -> dict[str, float]:
    """Writes `report.html`; returns COCO's twelve numbers on the test split."""
    classes = splits.test.classes
    result = metrics.coco_map(*found[:-1], num_classes=len(classes), crowd=found.crowd)
    precision = np.asarray(result.precision)[..., 0, 2]
    parameters = sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))
    problems = [(p,) for s in (splits.train, splits.test) for p in s.problems]
    left_out = f"{len(problems)} faulty records were left out while reading."
    numbers = result.named()
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    report.page(
        out / "report.html",
        title="YOLOv3 on " + (config.root.name if config.root else "digit scenes"),
        summary=f"A detector of {parameters / 1e6:.2f} million parameters, trained from scratch on "
        f"{len(splits.train)} images and measured on {len(splits.test)} that it never saw.",
        numbers={"mAP50": numbers["AP50"], "mAP50-95": numbers["AP"], "steps": config.steps},
        sections=[
            report.training(
                history,
                figures,
                losses=[["loss"], ["box", "overlap", "objectness", "classes"]],
                scores=[["mAP50", "mAP50_95"]],
            ),
            *detections(model, splits, found),
            report.precision_recall_by_class(
                precision, figures / "precision_recall.svg", classes=classes
            ),
            training_batch(splits, config),
            anchors(model, splits, figures),
            report.timing(history, batch_size=config.batch_size),
            Section("Left out", left_out, table=Table(("record",), problems) if problems else None),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def detections(model: Yolo, splits: Splits, found: Found) -> list[Section]:
    """The first test images, and the worst ones."""
    test = splits.test
    shown = len(test[:8])
    images = [record.image for record in test]
    options = {"names": [record.id for record in test], "classes": test.classes}
    drawn = model.predict(
        jax.numpy.asarray(np.stack(images[:shown]), jax.numpy.float32) / 255,
        score_threshold=0.3,
        iou_threshold=0.45,
        class_agnostic=True,
    )
    boxes, scores, labels, valid = map(np.asarray, drawn)
    truth = Boxes(found.true_boxes, found.true_labels, found.true_valid)
    confident = found._replace(valid=found.valid & (found.scores > 0.5))
    matches = metrics.match_detections(*confident[:-1], crowd=found.crowd)
    missed = truth._replace(valid=np.asarray(matches.missed))
    wrong = Boxes(found.boxes, found.labels, np.asarray(matches.false_positive), found.scores)
    return [
        report.predictions(images[:shown], truth, Boxes(boxes, labels, valid, scores), **options),
        report.worst_errors(images, missed, wrong, **options),
    ]


def training_batch(splits: Splits, config: Config) -> Section:
    """One batch as it is read and as it is learnt from."""
    batch = next(batches(splits, config))
    changed = jax.jit(partial(augment, config=config))(jax.random.key(config.seed), batch)
    names = "image", "boxes", "labels", "valid"
    grids = []
    for b in (batch, changed):
        pictures = [
            report.draw_boxes(image, boxes, labels, valid=valid, classes=splits.train.classes)
            for image, boxes, labels, valid in zip(*(np.asarray(b[n]) for n in names), strict=True)
        ]
        grids.append(report.grid(pictures, columns=4))
    return Section(
        "A training batch",
        "Boxes move along with the images.",
        figures=[Figure(grids[0], "As read."), Figure(grids[1], "As learnt from.")],
    )


def anchors(model: Yolo, splits: Splits, figures: Path) -> Section:
    """The nine anchors among the training boxes."""
    sizes = box_sizes(splits.train)
    shapes = np.concatenate(model.anchors).astype(np.float32)
    report.anchors(sizes, shapes, figures / "anchors.svg")
    overlap = ops.best_anchor_iou(jax.numpy.asarray(sizes), jax.numpy.asarray(shapes))
    return Section(
        "Anchors",
        "Nine typical shapes of the training boxes, by k-means with distance 1 − IoU, three to "
        f"each head. A box overlaps its best anchor by {np.mean(overlap):.2f} on average.",
        figures=[Figure(figures / "anchors.svg", "Width and height in pixels.")],
    )
