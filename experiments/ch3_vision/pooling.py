"""Pooling tolerates shifts. CPU, 30 s; accuracy at a pixel: max 0.75, mean 0.83, strided 0.49.

Networks that halve the map by max-pooling, by mean-pooling, or by a convolution of stride 2 have
the same parameters and are trained on digits in the middle of a canvas. They are tested on digits
that are shifted by 0 to 4 pixels; the distance between the last maps of a digit and of the shifted
one is measured beside the accuracy.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, objectives, ops, report, runtime
from lectures_jax.nn.convolution import Conv
from lectures_jax.nn.linear import Linear
from lectures_jax.nn.normalization import BatchNorm
from lectures_jax.recipes.seeds import train_seeds
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot
from lectures_jax.typing import Batch, Key

KINDS = ("max", "mean", "strided")
CANVAS, LARGEST = 16, 4  # rows and columns; pixels of the largest shift
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))
EXPECTED = {
    "least_gain": (0.1, None),
    "strided_accuracy_at_0": (0.96, None),
    "max_accuracy_at_1": (0.65, None),
    "mean_accuracy_at_1": (0.7, None),
    "max_distance_at_1": (None, 0.75),
    "mean_distance_at_1": (None, 0.7),
    "strided_distance_at_1": (0.8, None),
}
WINDOW, SIDE = 6, 192  # pixels that a photograph is pooled over, and its part that is shown
TINY = {"steps": 2, "seeds": 1, "channels": 2}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    channels: int = 16
    """of the first convolution; the second has twice as many"""
    steps: int = 300
    """of each training"""
    batch_size: int = 64
    """digits per step"""
    learning_rate: float = 5e-3
    """highest of Adam's one-cycle schedule"""
    seeds: int = 3
    """networks of each kind"""
    seed: int = 0
    """the first of them: of parameters and order"""


class Network(nnx.Module):
    """Two convolutions, each with a halving of the map, and a dense layer on all of its cells."""

    def __init__(self, kind: str, channels: int, *, rngs: nnx.Rngs):
        widths, stride = (1, channels, 2 * channels), 2 if kind == "strided" else 1
        options = {"strides": stride, "use_bias": False, "rngs": rngs}
        self.layers = nnx.List(Conv(a, b, (3, 3), **options) for a, b in pairwise(widths))
        self.norms = nnx.List(BatchNorm(n, momentum=0.9, rngs=rngs) for n in widths[1:])
        self.classify = Linear((CANVAS // 4) ** 2 * widths[-1], 10, rngs=rngs)
        self.kind = kind

    def last_map(self, images: jax.Array) -> jax.Array:
        """The map that the dense layer sees."""
        x = images
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = jax.nn.relu(norm(layer(x)))
            if self.kind == "max":
                x = ops.max_pool(x, size=2)
            elif self.kind == "mean":
                x = ops.mean_pool(x, size=2)
        return x

    def __call__(self, images: jax.Array, *, key: Key | None = None) -> jax.Array:
        """Scores of the classes."""
        return self.classify(self.last_map(images).reshape(len(images), -1))


class Measured(NamedTuple):
    """What the networks of one kind do by the pixels of the shift [seed, pixels]."""

    accuracy: np.ndarray
    distance: np.ndarray  # of the last map from that without shift, over its norm


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains and measures all, and writes the report."""
    splits = [data.digits(split=name) for name in ("train", "test")]
    training, test = ({**x, "image": on_canvas(x["image"], 0, 0)} for x in splits)
    measured = {}
    for kind in KINDS:
        rows = [measure(m, splits[1]) for m in train_networks(config, kind, training)]
        measured[kind] = Measured(*map(np.array, zip(*rows, strict=True)))
    numbers = {
        f"{kind}_accuracy_at_{pixels}": float(x.accuracy[:, pixels].mean())
        for kind, x in measured.items()
        for pixels in (0, 1, 2)
    }
    pooled = {kind: numbers[f"{kind}_accuracy_at_1"] for kind in ("max", "mean")}
    numbers["least_gain"] = min(pooled.values()) - numbers["strided_accuracy_at_1"]
    for kind, x in measured.items():
        numbers[f"{kind}_distance_at_1"] = float(x.distance[:, 1].mean())
    write_report(config, out, measured, test["image"], numbers)
    return numbers


def on_canvas(digits: np.ndarray, down: int, right: int) -> np.ndarray:
    """Digits of 8×8 pixels on a black canvas, so far from its middle."""
    margin = (CANVAS - digits.shape[1]) // 2
    rows, columns = ((margin + shift, margin - shift) for shift in (down, right))
    return np.pad(digits, ((0, 0), rows, columns, (0, 0)))


def train_networks(config: Config, kind: str, training: Batch) -> list[Network]:
    """Trains a network of each seed."""
    return train_seeds(
        lambda rngs: Network(kind, config.channels, rngs=rngs),
        objectives.classification,
        optax.adam(optax.cosine_onecycle_schedule(config.steps, config.learning_rate)),
        training,
        seeds=range(config.seed, config.seed + config.seeds),
        steps=config.steps,
        batch_size=config.batch_size,
    )


def measure(model: Network, test: Batch) -> Measured:
    """Accuracy and distance by the pixels of the shift, means over the directions."""

    @jax.jit
    def both(images: jax.Array) -> tuple[jax.Array, jax.Array]:
        return model(images), model.last_map(images)

    first = np.asarray(both(jnp.asarray(on_canvas(test["image"], 0, 0)))[1])
    accuracy, distance = np.zeros((2, LARGEST + 1, len(DIRECTIONS)))
    for pixels in range(LARGEST + 1):
        for i, (down, right) in enumerate(DIRECTIONS):
            images = on_canvas(test["image"], pixels * down, pixels * right)
            logits, maps = map(np.asarray, both(jnp.asarray(images)))
            accuracy[pixels, i] = np.mean(np.argmax(logits, axis=-1) == test["labels"])
            gaps = np.linalg.norm((maps - first).reshape(len(maps), -1), axis=1)
            norms = np.linalg.norm(first.reshape(len(first), -1), axis=1)
            distance[pixels, i] = np.mean(gaps / np.maximum(norms, 1e-12))
    return Measured(accuracy.mean(axis=1), distance.mean(axis=1))


def pooled_photograph() -> np.ndarray:
    """Part of a photograph, its maxima, its means, and every sixth pixel, side by side."""
    image = jnp.asarray(data.photographs("cat")["cat"][20 : 20 + SIDE, 110 : 110 + SIDE])
    small = [
        ops.max_pool(image, size=WINDOW),
        ops.mean_pool(image, size=WINDOW),
        image[::WINDOW, ::WINDOW],
    ]
    large = [report.enlarge(np.asarray(x), factor=WINDOW) for x in small]
    return report.grid([np.asarray(image), *large], columns=4)


def draw_shifts(measured: dict[str, Measured], path: Path) -> None:
    """Accuracy and distance over the pixels of the shift."""
    with plot(path, rows=2, height=4.6) as (accuracy, distance):
        for number, (kind, x) in enumerate(measured.items()):
            for ax, values in ((accuracy, x.accuracy), (distance, x.distance)):
                deviation = values.std(axis=0, ddof=min(1, len(values) - 1))
                style = {"color": color(number), "marker": "o", "markersize": 3, "capsize": 2}
                ax.errorbar(range(LARGEST + 1), values.mean(axis=0), deviation, label=kind, **style)
        accuracy.set(ylabel="test accuracy", ylim=(0, 1.03))
        accuracy.legend(loc="upper right")
        distance.set(ylabel="distance of the maps", xlabel="shift, pixels", ylim=(0, None))
        distance.set_xticks(range(LARGEST + 1))


def shifts_section(measured: dict[str, Measured], digits: np.ndarray, path: Path) -> Section:
    """What the networks do with digits that are shifted."""
    spread = report.mean_and_deviation
    draw_shifts(measured, path)
    shifted = np.concatenate([np.roll(digits[:5], n, axis=2) for n in range(3)])
    rows = [
        (kind, name, *(spread(column, digits=3) for column in values.T))
        for kind, x in measured.items()
        for name, values in (("accuracy", x.accuracy), ("distance", x.distance))
    ]
    return Section(
        "Shifts",
        f"Two convolutions with a halving of the map after each, and a dense layer on the "
        f"{CANVAS // 4}×{CANVAS // 4} cells that are left: the same parameters for all "
        "three. All were trained on digits in the middle of the canvas alone. The "
        "distance is that of the last map from the map of the digit in the middle, over "
        "its norm. Pooling tolerates a shift within its window; with more pixels "
        "little is left of it. The mean changes least by one pixel.",
        figures=[
            Figure(path, "Mean and deviation over the seeds."),
            Figure(
                report.sheet(shifted, columns=5, width=64),
                "Test digits in the middle, and shifted by one and two pixels.",
            ),
        ],
        table=Table(("halved by", "", *(f"{n} px" for n in range(LARGEST + 1))), rows),
    )


def write_report(
    config: Config,
    out: Path,
    measured: dict[str, Measured],
    digits: np.ndarray,
    numbers: dict[str, float],
) -> None:
    """Writes `report.html`."""
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    report.page(
        out / "report.html",
        title="Pooling",
        summary="Digits that are shifted by a pixel are recognized more often by networks that "
        "pool than by one whose convolutions have a stride.",
        numbers={f"accuracy at a pixel, {k}": numbers[f"{k}_accuracy_at_1"] for k in measured},
        sections=[
            Section(
                "A photograph",
                f"Windows of {WINDOW}×{WINDOW} pixels become one. The maximum keeps what is "
                "bright, the mean what is there on average; every sixth pixel alone is a matter "
                "of chance.",
                figures=[
                    Figure(pooled_photograph(), "Photograph, maximum, mean, every sixth pixel.")
                ],
            ),
            shifts_section(measured, digits, figures / "shifts.svg"),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
