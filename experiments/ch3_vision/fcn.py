"""FCN-32s, 16s and 8s, each begun from the coarser one. CPU, 3 min; mean IoU 0.51, 0.59, 0.63.

Section 3.11: scores of cells of 32 pixels tell where digits are and miss their outlines; scores of
finer maps, joined to them, bring the outlines back. Each network is trained from the one before it,
whose scores are at first unchanged. Beside them stands the truth itself, averaged over cells of 32,
16 and 8 pixels and interpolated; scores need not be averages and can surpass it. FCN-8s is saved:
`ljx predict RUN_DIR IMAGES` uses it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.colors import to_rgb

from lectures_jax import data, metrics, objectives, ops, report, runtime, train, weights
from lectures_jax.data.records import Dataset, Record
from lectures_jax.models.fcn import Fcn, refine
from lectures_jax.models.vgg import VggSize
from lectures_jax.recipes import segmentation_data
from lectures_jax.recipes.optimizers import adam
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color
from lectures_jax.typing import Batch

TINY = {
    "scenes": 4,
    "test_scenes": 2,
    "size": 32,
    "steps": (2, 2, 2),
    "batch_size": 2,
    "channels": (2, 2, 2, 2, 2),
    "hidden": 4,
}
EXPECTED = {"mean_iou_8": (0.6, None), "gain_of_16": (0.04, None), "gain_of_8": (0.02, None)}
STRIDES = (32, 16, 8)


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    scenes: int = 300
    """scenes to train on"""
    test_scenes: int = 64
    """scenes to measure on"""
    size: int = 96
    """rows and columns of a scene, in pixels, a multiple of 32"""
    steps: tuple[int, int, int] = (250, 120, 120)
    """training steps of FCN-32s, 16s and 8s"""
    learning_rates: tuple[float, float, float] = (4e-3, 2e-3, 2e-3)
    """of Adam, for each of the three; they fall along a cosine to zero"""
    batch_size: int = 8
    """scenes per step"""
    channels: tuple[int, ...] = (12, 24, 32, 48, 48)
    """of VGG's five stages, which have one convolution each"""
    hidden: int = 64
    """channels of the convolutions that VGG's dense layers become"""
    join: str = "sum"
    """of the scores with those of finer maps, as published; concat: as the course words it"""
    by_digit: bool = False
    """whether each digit is a class of its own, which takes many times the steps; otherwise all are
    one, beside the background"""
    seed: int = 0
    """of scenes, parameters, order and augmentation"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains the three networks, measures them, and writes the report."""
    (out / "figures").mkdir(exist_ok=True)
    key, key_init, *keys = jax.random.split(jax.random.key(config.seed), 5)
    splits = draw_scenes(key, config)
    size = VggSize(5 * (1,), config.channels, batch_norm=True, hidden=config.hidden)
    model = Fcn(
        len(splits.classes), size=size, join=config.join, dropout=0.0, rngs=nnx.Rngs(key_init)
    )
    networks, histories = {}, {}
    for stride, steps, rate, key in zip(
        STRIDES, config.steps, config.learning_rates, keys, strict=True
    ):
        name = f"FCN-{stride}s"
        model = model if stride == 32 else refine(model)
        folder = out / f"fcn{stride}"
        model, histories[name] = fit(key, model, splits, config, steps, rate, folder)
        networks[name] = model
    settings = {"network": "fcn", "classes": list(splits.classes), "image_size": 2 * [config.size]}
    settings |= {"size": asdict(size), "stride": 8, "join": config.join}
    settings |= {"inputs": 3, "dropout": 0.0}
    weights.save_model(out / "model.safetensors", model, kind="segmenter", settings=settings)
    confusions = {name: confusion(network, splits) for name, network in networks.items()}
    coarse = {stride: coarsened(splits, stride) for stride in STRIDES}
    numbers = scores(confusions) | {f"coarsened_{stride}": iou for stride, iou in coarse.items()}
    write_report(config, out, splits, networks, confusions, list(coarse.values()), histories)
    return numbers


def draw_scenes(key: jax.Array, config: Config) -> segmentation_data.Splits:
    """Scenes of one to three large digits, with a class for each pixel."""
    draw = partial(
        data.digit_scenes,
        key,
        size=config.size,
        min_digits=1,
        max_digits=3,
        min_size=0.3 * config.size,
        max_size=0.8 * config.size,
        masks=True,
    )
    train, test = draw(count=config.scenes), draw(count=config.test_scenes, split="test")
    classes = ("background", *(train.classes if config.by_digit else ["digit"]))
    return segmentation_data.Splits(
        with_classes(train, classes), with_classes(test, classes), classes
    )


def with_classes(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    """Scenes whose masks hold classes and not the numbers of the digits in the scene."""
    records = []
    for record in dataset:
        class_of = np.minimum(np.concatenate([[0], record.labels + 1]), len(classes) - 1)
        records.append(replace(record, mask=class_of.astype(np.uint8)[np.asarray(record.mask)]))
    return Dataset(tuple(records), classes)


def fit(
    key: jax.Array,
    model: Fcn,
    splits: segmentation_data.Splits,
    config: Config,
    steps: int,
    rate: float,
    out: Path,
) -> tuple[Fcn, list]:
    """One stage of the training; the network with averaged parameters, in evaluation mode."""
    model = nnx.view(
        model, deterministic=False, use_running_average=False, raise_if_not_found=False
    )
    return train.fit(
        key,
        model,
        objectives.segmentation,
        adam(optax.warmup_cosine_decay_schedule(0.0, rate, min(50, steps // 2), steps)),
        batches(splits, config),
        steps=steps,
        out=out,
        ema_decay=0.98,
        augment=augment,
        log_every=max(steps // 20, 1),
    )


def batches(splits: segmentation_data.Splits, config: Config) -> Iterator[Batch]:
    """Batches of whole scenes without end."""
    examples = segmentation_data.examples(splits.train, instances=False)
    return data.crops(examples, size=config.size, batch_size=config.batch_size, seed=config.seed)


def augment(key: jax.Array, batch: Batch) -> Batch:
    """Scenes of another scale and other colors; digits are not mirrored."""
    one = partial(data.augment_segmentation, flip=0.0, scale=(0.75, 1.33))
    return jax.vmap(one)(jax.random.split(key, len(batch["image"])), batch)


@jax.jit
def labels(model: Fcn, images: jax.Array) -> jax.Array:
    """The class of each pixel."""
    return jnp.argmax(model(images), axis=-1)


def confusion(model: Fcn, splits: segmentation_data.Splits) -> np.ndarray:
    """Pixels of the test scenes by true class (row) and predicted class (column)."""
    count = len(splits.classes)
    total = np.zeros((count, count), np.int64)
    for record in splits.test:
        predicted = labels(model, pixels(record)[None])[0]
        mask = jnp.asarray(record.mask, jnp.int32)
        total += np.asarray(metrics.pixel_confusion(predicted, mask, num_classes=count))
    return total


def coarsened(splits: segmentation_data.Splits, stride: int) -> float:
    """Mean IoU of the truth, averaged over cells and interpolated."""
    count = len(splits.classes)

    @jax.jit
    def smooth(mask: jax.Array) -> jax.Array:
        cells = ops.mean_pool(jax.nn.one_hot(mask, count), size=stride)
        return jnp.argmax(ops.upsample_bilinear(cells, factor=stride), axis=-1)

    total = np.zeros((count, count), np.int64)
    for record in splits.test:
        mask = jnp.asarray(record.mask, jnp.int32)
        total += np.asarray(metrics.pixel_confusion(smooth(mask), mask, num_classes=count))
    return mean_iou(total)


def pixels(record: Record) -> jax.Array:
    """A scene in [0, 1]."""
    return jnp.asarray(record.image, jnp.float32) / 255


def scores(confusions: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Mean IoU of each network, and what each gains over the one before it."""
    iou = {name: mean_iou(c) for name, c in confusions.items()}
    accuracy = float(metrics.pixel_accuracy(share_of(confusions["FCN-8s"])))
    return {
        "mean_iou_32": iou["FCN-32s"],
        "mean_iou_16": iou["FCN-16s"],
        "mean_iou_8": iou["FCN-8s"],
        "gain_of_16": iou["FCN-16s"] - iou["FCN-32s"],
        "gain_of_8": iou["FCN-8s"] - iou["FCN-16s"],
        "pixel_accuracy_8": accuracy,
    }


def mean_iou(confusion: np.ndarray) -> float:
    """Of the classes that are there."""
    return float(metrics.mean_iou(share_of(confusion)))


def share_of(confusion: np.ndarray) -> jax.Array:
    """Counts as shares of all pixels, which float32 holds."""
    return jnp.asarray(confusion / confusion.sum(), jnp.float32)


def write_report(
    config: Config,
    out: Path,
    splits: segmentation_data.Splits,
    networks: Mapping[str, Fcn],
    confusions: Mapping[str, np.ndarray],
    coarse: Sequence[float],
    histories: Mapping[str, list],
) -> None:
    """Writes `report.html`."""
    figures = out / "figures"
    report.curves_by_run(histories, "loss", figures / "loss.svg")
    report.page(
        out / "report.html",
        title="FCN-32s, 16s and 8s",
        summary="Scores of coarse maps say what is there, those of finer maps where.",
        numbers={f"mean IoU of {name}": mean_iou(c) for name, c in confusions.items()},
        sections=[
            by_network(splits, networks),
            by_class(splits, confusions, coarse),
            Section(
                "Training",
                "Each network goes on from the coarser one.",
                figures=[Figure(figures / "loss.svg", "Cross-entropy of a pixel, in nats.")],
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def by_network(splits: segmentation_data.Splits, networks: Mapping[str, Fcn]) -> Section:
    """The course's figure: a scene, what the three networks predict, and the truth."""
    rows = []
    for record in splits.test[:6]:
        image = pixels(record)[None]
        predicted = [np.asarray(labels(network, image)[0]) for network in networks.values()]
        rows.append(np.asarray(record.image))
        rows += [painted(mask) for mask in (*predicted, np.asarray(record.mask))]
    return Section(
        "The three networks",
        "From left to right: a scene that was not trained on, FCN-32s, FCN-16s, FCN-8s, the truth. "
        f"In color: {', '.join(splits.classes[1:])}.",
        figures=[Figure(report.grid(rows, columns=5), "Predictions and truth.")],
    )


def painted(mask: np.ndarray) -> np.ndarray:
    """A mask with a color for each class, the background light."""
    table = np.array([(0.93, 0.93, 0.93), *(to_rgb(color(i)) for i in range(10))], np.float32)
    return table[mask]


def by_class(
    splits: segmentation_data.Splits,
    confusions: Mapping[str, np.ndarray],
    coarse: Sequence[float],
) -> Section:
    """IoU of each class and network, and of the truth at the resolution of each."""
    columns = {name: np.asarray(metrics.class_iou(share_of(c))) for name, c in confusions.items()}
    rows = [
        (name, *(float(values[i]) for values in columns.values()))
        for i, name in enumerate(splits.classes)
    ]
    mean = ("mean", *map(mean_iou, confusions.values()))
    truth = ("mean of the coarsened truth", *coarse)
    text = "The last row is the truth, averaged over cells of 32, 16 and 8 pixels and interpolated."
    return Section("By class", text, table=Table(("IoU of", *columns), [*rows, mean, truth]))
