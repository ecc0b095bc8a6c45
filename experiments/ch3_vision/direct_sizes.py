"""Widths and heights predicted directly. CPU, 3 min; mAP50 of logarithms 0.41, pixels 0.19.

The course's remark: they have unstable gradients, which is why YOLOv3 predicts the logarithm of
their ratio to an anchor. The same small YOLOv3 is trained on the same slots, and only what two of
its numbers mean differs: that logarithm, shares of the image, or pixels. The report has the norm
of the gradient over the training, and average precision.
"""

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import losses, objectives, ops, report, runtime, train
from lectures_jax.models.yolo import Yolo, YoloSize
from lectures_jax.nn.detection import Detections, detect
from lectures_jax.ops.yolo import YoloTarget, split_head
from lectures_jax.recipes import detection_data, detector, detector_network
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot
from lectures_jax.typing import Batch, Key, Metrics

SIDE = 96  # rows and columns of a scene
SIZE = YoloSize(8, 2, (16, 32, 64, 128), (1, 1, 1, 1), (64, 32, 24), 0)
ANCHOR_IOU = 0.3  # as in the recipe of a detector
Size = Literal["logarithm", "share of the image", "pixels"]
UNITS: dict[Size, float | None] = {"logarithm": None, "share of the image": SIDE, "pixels": 1.0}
RATES = {"Adam": 3e-3, "SGD": 1e-3}  # the recipe's, and that of Darknet's configuration
TINY = {"sizes": ("logarithm", "pixels"), "steps": 2, "batch_size": 2, "blocks": (0, 0, 0, 0)}
TINY |= {"scenes": 2, "evaluated": 2}
EXPECTED = {"Adam_logarithm_mAP50": (0.35, None), "Adam_pixels_mAP50": (None, 0.25)}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    sizes: tuple[Size, ...] = get_args(Size)
    """predicted of width and height: the logarithm is that of their ratio to the anchor"""
    optimizers: tuple[Literal["Adam", "SGD"], ...] = ("Adam",)
    """by which each is trained: Adam, SGD (with a momentum of 0.9), or both"""
    blocks: tuple[int, ...] = SIZE.blocks
    """residual blocks of the network's stages"""
    scenes: int = 1500
    """to train on"""
    evaluated: int = 200
    """scenes to measure on"""
    steps: int = 300
    """of each training"""
    batch_size: int = 8
    """scenes per step"""
    seeds: int = 1
    """trainings of each kind; the spread of a score needs three"""
    seed: int = 0
    """the first of them: of parameters, order and augmentation"""


class Direct(nnx.Module):
    """A YOLOv3 whose third and fourth numbers are sizes, in units of so many pixels."""

    def __init__(self, network: Yolo, unit: float):
        self.network = network
        self.unit = nnx.Variable(jnp.float32(unit))  # one program for all units
        self.num_classes = network.num_classes
        self.anchors = network.anchors
        self.strides = network.strides

    def __call__(
        self, images: Float[Array, "b h w 3"], *, key: Key | None = None
    ) -> tuple[Float[Array, "b _ _ f"], ...]:
        """Returns the raw heads."""
        return self.network(images)

    def predict(self, images: Array) -> Detections:
        """Returns the objects in each image; a size below a pixel counts as one."""
        return _predict(*nnx.split(self), images)


@partial(jax.jit, static_argnums=0)
def _predict(structure: Any, state: Any, images: Array) -> Detections:
    model = nnx.merge(structure, state)
    heads = [
        as_logarithms(raw, jnp.asarray(anchors), unit=model.unit[...])
        for raw, anchors in zip(model(images), model.anchors, strict=True)
    ]
    return detect(heads, model.anchors, model.strides, image_size=(SIDE, SIDE))


def as_logarithms(
    raw: Float[Array, "b h w f"], anchors: Float[Array, "a 2"], *, unit: Float[Array, ""]
) -> Float[Array, "b h w f"]:
    """The head as YOLOv3 reads it: sizes become logarithms of their ratio to the anchor.

    No gradient passes through them.
    """
    slots = split_head(raw, num_anchors=len(anchors))
    size = jnp.maximum(unit * jax.lax.stop_gradient(slots[..., 2:4]), 1)
    logarithms = jnp.log(size / anchors[None, None, None])
    return slots.at[..., 2:4].set(logarithms).reshape(raw.shape)


def size_loss(
    raw: Float[Array, "b h w f"], target: YoloTarget, *, num_anchors: int, unit: Float[Array, ""]
) -> Float[Array, " b"]:
    """`Σ (2 − w h) ½ [(t_w − width / unit)² + (t_h − height / unit)²]`, as YOLOv3's but direct."""
    slots = split_head(raw, num_anchors=num_anchors)
    size = target.boxes[..., 2:] - target.boxes[..., :2]
    weight = target.responsible * (2 - jnp.prod(size / SIDE, axis=-1))
    error = 0.5 * jnp.sum((slots[..., 2:4] - size / unit) ** 2, axis=-1)
    return jnp.sum(weight * error, axis=(1, 2, 3))


def direct(model: Direct, batch: Batch, key: Key) -> tuple[Float[Array, ""], Metrics]:
    """YOLOv3's loss, but for the sizes, whose squared errors are in the model's unit."""
    encode = partial(
        ops.yolo_encode,
        anchors=jnp.asarray(model.anchors),
        image_size=batch["image"].shape[1:3],
        strides=model.strides,
        num_classes=model.num_classes,
        anchor_iou=ANCHOR_IOU,
    )
    targets = jax.vmap(encode)(batch["boxes"], batch["labels"], batch["valid"])
    total = jnp.zeros(len(batch["image"]))
    for raw, target, shapes, stride in zip(
        model(batch["image"]), targets, model.anchors, model.strides, strict=True
    ):
        anchors = jnp.asarray(shapes)
        # Its term of the sizes has no gradient: they have a loss of their own.
        total += losses.yolo_v3(
            as_logarithms(raw, anchors, unit=model.unit[...]), target, anchors, stride=stride
        )
        total += size_loss(raw, target, num_anchors=len(anchors), unit=model.unit[...])
    return total.mean(), {"loss": total.mean()}


class Trained(NamedTuple):
    """What a training left.

    Attributes:
        rows: of its steps, up to the last one that was finite.
        precision: mAP50 and mAP50-95; 0 where it ended at what is not finite.
        ended: whether it did so.
    """

    rows: list[Any]
    precision: tuple[float, float]
    ended: bool


Results = dict[tuple[str, str], list[Trained]]
"""By optimizer and what the network predicts, one for each seed."""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains all, and writes the report."""
    splits = scenes(config)
    anchors = detector_network.fit_anchors(jax.random.key(config.seed), splits.train)
    seeds = range(config.seed, config.seed + config.seeds)
    results: Results = {
        (optimizer, size): [
            fit(config, size, optimizer, splits, anchors, seed, out) for seed in seeds
        ]
        for optimizer in config.optimizers
        for size in config.sizes
    }
    numbers, scores = {}, {}
    for (optimizer, size), trainings in results.items():
        name = f"{optimizer}_{size.replace(' ', '_')}"
        score = float(np.mean([x.precision[0] for x in trainings]))
        numbers[f"{name}_mAP50"] = scores[f"mAP50, {size}, {optimizer}"] = score
        numbers[f"{name}_ended"] = float(sum(x.ended for x in trainings))
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    report.page(
        out / "report.html",
        title="Widths and heights without anchors",
        summary="A small YOLOv3 whose sizes are logarithms of a ratio to an anchor, shares of the "
        f"image, or pixels; scenes of {SIDE} pixels; seeds: {config.seeds}.",
        numbers=scores,
        sections=[
            results_section(results, figures / "gradients.svg"),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def scenes(config: Config) -> detection_data.Splits:
    """Small scenes of digits, all of one class: what is compared is where they are."""
    return detection_data.draw_scenes(
        jax.random.key(config.seed),
        count=config.scenes,
        test_count=config.evaluated,
        size=SIDE,
        max_digits=5,
        one_class=True,
    )


def untrained(key: Key, anchors: Any, size: YoloSize, unit: float | None) -> Yolo | Direct:
    """A network that predicts logarithms, or sizes in units of so many pixels."""
    network = Yolo(1, anchors=anchors, size=size, rngs=nnx.Rngs(key))
    return network if unit is None else Direct(network, unit)


def fit(
    config: Config,
    size: Size,
    optimizer: str,
    splits: detection_data.Splits,
    anchors: Any,
    seed: int,
    out: Path,
) -> Trained:
    """One training, and its precision on the test scenes."""
    key_init, key_train = jax.random.split(jax.random.key(seed))
    unit = UNITS[size]
    model = untrained(key_init, anchors, replace(SIZE, blocks=config.blocks), unit)
    objective = partial(objectives.yolo, anchor_iou=ANCHOR_IOU) if unit is None else direct
    rate = optax.warmup_cosine_decay_schedule(0, RATES[optimizer], config.steps // 5, config.steps)
    update = optax.adam(rate) if optimizer == "Adam" else optax.sgd(rate, momentum=0.9)
    settings = detector.with_defaults(detector.Settings(batch_size=config.batch_size), "digits")
    folder = out / optimizer / size.replace(" ", "_") / str(seed)
    try:
        _, rows = train.fit(
            key_train,
            model,
            objective,
            update,
            detector.batches(settings, splits, seed=seed),
            steps=config.steps,
            out=folder,
            ema_decay=0.99,
            augment=detector.augmentation(settings),
            evaluate=partial(detector.score, splits=splits),
            log_every=5,
        )
    except train.NonFiniteError:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return Trained([json.loads(line) for line in lines], (0.0, 0.0), ended=True)
    return Trained(rows, (rows[-1]["mAP50"], rows[-1]["mAP50_95"]), ended=False)


def results_section(results: Results, path: Path) -> Section:
    """The norm of the gradient over the training, and what became of it."""
    optimizers, sizes = (list(dict.fromkeys(names)) for names in zip(*results, strict=True))
    with plot(path, rows=len(optimizers), height=0.8 + 1.9 * len(optimizers)) as axes:
        for ax, optimizer in zip(axes, optimizers, strict=True):
            for number, size in enumerate(sizes):
                for seed, training in enumerate(results[optimizer, size]):
                    steps, norms = norms_of(training)
                    ax.plot(steps, norms, color=color(number), lw=1, label=None if seed else size)
                    if training.ended and steps.size:
                        ax.plot(steps[-1], norms[-1], "x", color=color(number), ms=7, mew=2)
            ax.set(yscale="log", ylabel=f"gradient norm, {optimizer}")
        axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        axes[-1].set_xlabel("step")
    rows = []
    for (optimizer, size), trainings in results.items():
        norms = [norms_of(training)[1] for training in trainings]
        medians = [np.median(x) if x.size else np.nan for x in norms]
        peaks = [x.max() / np.median(x) if x.size else np.nan for x in norms]
        precision = np.array([training.precision for training in trainings])
        rows.append(
            (
                f"{optimizer}, {size}",
                f"{np.median(medians):,.0f}",
                f"{np.median(peaks):.1f}",
                sum(training.ended for training in trainings),
                report.mean_and_deviation(precision[:, 0], digits=3),
                report.mean_and_deviation(precision[:, 1], digits=3),
            )
        )
    header = ("sizes", "median norm", "largest / median", "not finite", "mAP50", "mAP50-95")
    sgd = "Adam divides a gradient by its own size, SGD does not. " if "SGD" in optimizers else ""
    return Section(
        "Gradients and precision",
        "The three see the same scenes, assign objects to the same slots of the same anchors, and "
        "weigh the squared error of the two numbers alike; only the numbers' meaning differs. "
        f"{sgd}A cross marks the end of a training that was not finite: its precision counts as 0.",
        figures=[Figure(path, "Means over five steps, a line for each seed.")],
        table=Table(header, rows),
    )


def norms_of(training: Trained) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The steps of the rows, and the norm of the gradient there."""
    kept = [row for row in training.rows if row.get("grad_norm") is not None]
    pairs = np.array([(row["step"], row["grad_norm"]) for row in kept], float).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
