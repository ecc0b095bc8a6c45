"""The loss that the course prints against YOLOv3's. CPU, 2 min; mAP50 printed 0.40, version 3 0.51.

Both losses, once with each object given to its best anchor alone, and once also to every anchor of
a similar shape, train the same small YOLOv3 from the same first weights for equally many steps.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import data, losses, ops, report, runtime
from lectures_jax.models.yolo import Yolo, YoloSize
from lectures_jax.recipes import detection_data, detector, detector_network
from lectures_jax.recipes.detection_data import Splits
from lectures_jax.recipes.seeds import train_seeds
from lectures_jax.report.boxes import draw_boxes
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot
from lectures_jax.typing import Batch, Key, Metrics

SIDE = 96  # rows and columns of a scene
Loss = Literal["printed", "version 3"]
LOSSES = {"printed": losses.yolo_v1_style, "version 3": losses.yolo_v3}
SCORES = {"mAP50": "mAP50", "mAP50_95": "mAP50-95"}
CONFIDENT, SHOWN = 0.3, 3  # least score of a box that is drawn, and scenes in the report
TINY = dict.fromkeys(("scenes", "evaluated", "batch_size"), 2) | {"steps": 1, "seeds": 1}
TINY |= {"anchor_ious": (0.3,), "blocks": (0, 0, 0, 0)}
EXPECTED = {
    "printed_0.3_mAP50": (0.3, 0.46),
    "version_3_0.3_mAP50": (0.47, None),
    "gain_of_similar_anchors": (0.15, None),
}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    losses: tuple[Loss, ...] = get_args(Loss)
    """that are compared: the course's, which is version 1's, and version 3's"""
    anchor_ious: tuple[float, ...] = (1.0, 0.3)
    """an object is given to its best anchor, and to those whose shape IoU with it is higher than
    this; 1: to the best alone"""
    blocks: tuple[int, ...] = (1, 1, 1, 1)
    """residual blocks of the network's stages"""
    scenes: int = 1500
    """of digits, to train on"""
    evaluated: int = 200
    """scenes to measure on, of other digits"""
    steps: int = 400
    """of each training"""
    batch_size: int = 8
    """scenes per step"""
    learning_rate: float = 3e-3
    """of Adam, after warm-up; it then falls along a cosine to zero"""
    seeds: int = 1
    """trainings by each loss; the spread of a score needs three"""
    seed: int = 0
    """the first of them: of parameters and order"""


Kind = tuple[Loss, float]
"""A loss, and the IoU from which an anchor is similar."""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains all, and writes the report."""
    splits = scenes(config)
    anchors = detector_network.fit_anchors(jax.random.key(config.seed), splits.train)
    kinds: list[Kind] = list(product(config.losses, config.anchor_ious))
    trained = {kind: networks(config, kind, splits, anchors) for kind in kinds}
    measured = {kind: [detector.score(x, splits) for x in trained[kind]] for kind in kinds}
    detected = {kind: detector.detect(trained[kind][0], splits) for kind in kinds}
    scores = {
        kind: {name: np.array([x[name] for x in measured[kind]]) for name in SCORES}
        for kind in kinds
    }
    numbers = {
        f"{loss.replace(' ', '_')}_{iou:g}_{name}": float(x.mean())
        for (loss, iou), each in scores.items()
        for name, x in each.items()
    }
    numbers["gain_of_similar_anchors"] = gain(config, scores)
    report.page(
        out / "report.html",
        title="The printed loss and that of YOLOv3",
        summary=f"One small YOLOv3, {config.steps} steps for each loss and each way to assign "
        f"objects, on scenes of {SIDE} pixels; seeds: {config.seeds}.",
        numbers={f"mAP50, {name_of(kind)}": float(x["mAP50"].mean()) for kind, x in scores.items()},
        sections=[
            precision_section(scores, slots(config, splits, anchors), out / "precision.svg"),
            derivative_section(out / "derivatives.svg"),
            scenes_section(splits, detected),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def gain(config: Config, scores: dict[Kind, dict[str, np.ndarray]]) -> float:
    """mAP50 with the most anchors for an object less that with the fewest, mean of the losses."""
    ends = min(config.anchor_ious), max(config.anchor_ious)
    pairs = [[scores[loss, iou]["mAP50"].mean() for iou in ends] for loss in config.losses]
    return float(np.mean([most - fewest for most, fewest in pairs]))


def name_of(kind: Kind) -> str:
    """What a row of the report is called."""
    similar = f"anchors from an IoU of {kind[1]:g}"
    return f"{kind[0]}, {similar if kind[1] < 1 else 'the best anchor'}"


def scenes(config: Config) -> Splits:
    """Small scenes of digits, all of one class: few steps tell no digits apart."""
    return detection_data.draw_scenes(
        jax.random.key(config.seed),
        count=config.scenes,
        test_count=config.evaluated,
        size=SIDE,
        max_digits=5,
        one_class=True,
    )


def networks(config: Config, kind: Kind, splits: Splits, anchors: Any) -> list[Yolo]:
    """A network from each seed by one loss."""
    rate = optax.warmup_cosine_decay_schedule(
        0, config.learning_rate, config.steps // 5, config.steps
    )
    return train_seeds(
        partial(network, config, splits, anchors),
        partial(objective, loss=LOSSES[kind[0]], anchor_iou=kind[1]),
        optax.adam(rate),
        all_of(splits),
        seeds=range(config.seed, config.seed + config.seeds),
        steps=config.steps,
        batch_size=config.batch_size,
    )


def network(config: Config, splits: Splits, anchors: Any, rngs: nnx.Rngs) -> Yolo:
    """An untrained network."""
    size = YoloSize(8, 2, (16, 32, 64, 128), config.blocks, (64, 32, 24), 0)
    return Yolo(len(splits.train.classes), anchors=anchors, size=size, rngs=rngs)


def all_of(splits: Splits) -> Batch:
    """The training scenes as one batch."""
    loaded = data.loader(
        splits.train,
        image_size=splits.image_size,
        batch_size=len(splits.train),
        max_boxes=splits.max_boxes,
        shuffle=False,
    )
    return next(loaded)


def objective(
    model: Yolo, batch: Batch, key: Key, *, loss: Callable[..., Any], anchor_iou: float
) -> tuple[Float[Array, ""], Metrics]:
    """The mean over the images of a loss that each head contributes to."""
    targets = targets_of(model, batch, anchor_iou)
    heads = zip(model(batch["image"], key=key), targets, model.anchors, model.strides, strict=True)
    terms = [loss(raw, x, jnp.asarray(shapes), stride=n) for raw, x, shapes, n in heads]
    total = jnp.stack(terms).sum(axis=0).mean()
    return total, {"loss": total}


def targets_of(model: Any, batch: Batch, anchor_iou: float) -> tuple[Any, ...]:
    """What each head should predict."""
    encode = partial(
        ops.yolo_encode,
        anchors=jnp.asarray(model.anchors),
        image_size=(SIDE, SIDE),
        strides=model.strides,
        num_classes=model.num_classes,
        anchor_iou=anchor_iou,
    )
    return jax.vmap(encode)(batch["boxes"], batch["labels"], batch["valid"])


def slots(config: Config, splits: Splits, anchors: Any) -> dict[float, float]:
    """How many slots an object of the training scenes has, by the IoU of similar anchors."""
    model = nnx.eval_shape(lambda: network(config, splits, anchors, nnx.Rngs(0)))
    batch = all_of(splits)

    def count(batch: Batch, iou: float) -> Array:
        return jnp.stack([x.responsible.sum() for x in targets_of(model, batch, iou)]).sum()

    objects = batch["valid"].sum()
    counts = jax.jit(count, static_argnames="iou")
    return {iou: float(counts(batch, iou=iou) / objects) for iou in config.anchor_ious}


def precision_section(
    scores: dict[Kind, dict[str, np.ndarray]], slots_of: dict[float, float], path: Path
) -> Section:
    """The four in one table, and in one figure."""
    with plot(path, height=0.9 + 0.45 * len(scores)) as axes:
        for row, each in enumerate(scores.values()):
            for number, name in enumerate(SCORES):
                values = each[name]
                label = SCORES[name] if row == 0 else None
                axes[0].plot(values, 0 * values + row, "o", color=color(number), label=label)
        axes[0].set(xlim=(0, 1), xlabel="average precision", ylim=(len(scores) - 0.5, -0.5))
        axes[0].set_yticks(range(len(scores)), [name_of(kind) for kind in scores])
        axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    rows = [
        (
            name_of(kind),
            f"{slots_of[kind[1]]:.2f}",
            *(report.mean_and_deviation(each[name], digits=3) for name in SCORES),
        )
        for kind, each in scores.items()
    ]
    return Section(
        "Precision by loss",
        "The same scenes, first weights and steps, at one rate that was chosen for neither loss. "
        "The printed loss weighs boxes by 5 and empty slots by 0.5; version 3's leaves out empty "
        "slots whose box overlaps an object by more than 0.7.",
        figures=[Figure(path, "A point for each seed.")],
        table=Table(("loss", "slots per object", *SCORES.values()), rows),
    )


@partial(jax.jit, static_argnames="loss")
def derivatives(loss: Callable[..., Any], logits: Float[Array, " n"]) -> Float[Array, " n"]:
    """The derivative of a loss by the logit of the objectness of a slot that has an object."""
    anchors = jnp.array([[16.0, 16.0]])
    (target,) = ops.yolo_encode(
        jnp.array([[8.0, 8, 24, 24]]),
        jnp.array([0]),
        jnp.array([True]),
        anchors=anchors[None],
        image_size=(32, 32),
        strides=(32,),
        num_classes=1,
    )

    def value(logit: Float[Array, ""]) -> Float[Array, ""]:
        raw = jnp.zeros((1, 1, 6)).at[0, 0, 4].set(logit)
        return loss(raw, target, anchors, stride=32)

    return jax.vmap(jax.grad(value))(logits)


def derivative_section(path: Path) -> Section:
    """The gradient that a network gets of an object that it misses."""
    logits = jnp.linspace(-10, 10, 201)
    with plot(path) as (ax,):
        for number, (name, loss) in enumerate(LOSSES.items()):
            ax.plot(logits, derivatives(loss, logits), color=color(number), label=name)
        ax.set(xlabel="logit of the objectness", ylabel="derivative of the loss")
        ax.legend()
    missed = [float(derivatives(loss, logits)[0]) for loss in LOSSES.values()]
    return Section(
        "A missed object",
        "The derivative of each loss by the objectness of a slot that has an object. Where a "
        "network predicts that there is none, that of the logistic loss is still nearly -1, and "
        f"that of a squared sigmoid nearly 0: {missed[1]:.3g}, {missed[0]:.1g} at a logit of -10.",
        figures=[Figure(path, "An object is there: both should be negative.")],
    )


def scenes_section(splits: Splits, detected: dict[Kind, detector.Detected]) -> Section:
    """What the first network of each kind finds in the first test scenes."""
    draw = partial(draw_boxes, classes=splits.test.classes, scale=3)
    figures = []
    for i, record in enumerate(splits.test[:SHOWN]):
        image = np.asarray(record.image)
        cells = [draw(image, record.boxes, record.labels, truth=True)]
        for first in detected.values():
            confident = first.valid[i] & (first.scores[i] >= CONFIDENT)
            cells.append(
                draw(image, first.boxes[i], first.labels[i], first.scores[i], valid=confident)
            )
        figures.append(Figure(report.grid(cells, columns=len(cells)), f"Scene {i + 1}."))
    return Section(
        "Scenes",
        "The objects (dashed), then what a network finds with a score of at least "
        f"{CONFIDENT:g}: by {'; '.join(map(name_of, detected))}.",
        figures=figures,
    )
