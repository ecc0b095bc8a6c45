"""Dilated convolutions see farther at the same parameters. CPU, 2 min; recall gap 0.5.

Causal convolutions recall every bit of a sequence at its last position. Both stacks have equally
many parameters; only the distance between the taps differs. The bits are independent, so that a
network can only guess what it does not see. Stacks of 3×3 convolutions name the digit that each
pixel of ink belongs to, at two resolutions. A transposed convolution is computed as a convolution
with a stride below 1: zeros between the cells, then a plain convolution.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.patches import Rectangle

from lectures_jax import data, ops, report, runtime, train
from lectures_jax.data.digits import Split
from lectures_jax.nn.convolution import Conv
from lectures_jax.nn.initializers import he_normal
from lectures_jax.recipes.seeds import train_seeds
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import GRID, INK, color, plot
from lectures_jax.typing import Batch, Key, Metrics

EXPECTED = {
    "far_gap": (0.45, None),
    "field_gap": (11, 11),
    "transposed_error": (None, 1e-5),
    "low_resolution_gap": (-0.1, 0.1),
    "high_resolution_gap": (0.2, None),
    "high_resolution_plain": (None, 0.25),
}
TINY = {"channels": 4, "steps": 1, "seeds": 1, "sides": (8, 16), "digit_steps": 2}
DILATIONS = {"plain": (1, 1, 1, 1), "dilated": (1, 2, 4, 8)}
LENGTH = 16  # bits of a sequence, as many as the dilated stack sees


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    channels: int = 32
    """of each convolution"""
    steps: int = 400
    """of each training on sequences"""
    sides: tuple[int, int] = (8, 32)
    """rows and columns of the digits, low and high, multiples of 8"""
    digit_steps: int = 400
    """of each training on digits"""
    seeds: int = 3
    """networks of each kind"""
    seed: int = 0
    """the first of them: of parameters and sequences"""


class Stack(nnx.Module):
    """Causal convolutions with two taps each, and a linear layer at the last position."""

    def __init__(self, dilations: tuple[int, ...], channels: int, *, rngs: nnx.Rngs) -> None:
        shape = (len(dilations), 1, 2, channels, channels)
        self.dilations = dilations
        self.kernels = nnx.Param(jax.random.normal(rngs.params(), shape) / jnp.sqrt(channels))
        self.head = nnx.Param(jax.random.normal(rngs.params(), (channels, LENGTH)) / channels)
        self.biases = nnx.Param(jnp.zeros((len(dilations), channels)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of the bits [b, LENGTH] by their distance from the last position."""
        x = jnp.broadcast_to(x, (*x.shape[:-1], self.head.shape[0]))
        for i, dilation in enumerate(self.dilations):
            padding = ((0, 0), (dilation, 0))
            kernel, bias = self.kernels[...][i], self.biases[...][i]
            x = ops.conv2d(x, kernel, bias, padding=padding, dilation=(1, dilation))
            x = jax.nn.leaky_relu(x, 0.2)
        return x[:, 0, -1] @ self.head[...]


class PixelStack(nnx.Module):
    """3×3 convolutions, and the scores of ten digits at each pixel."""

    def __init__(self, dilations: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        widths = (1, *[12] * len(dilations))
        options = {"kernel_init": he_normal, "rngs": rngs}
        self.layers = nnx.List(
            Conv(a, b, (3, 3), kernel_dilation=d, **options)
            for a, b, d in zip(widths, widths[1:], dilations, strict=False)
        )
        self.head = Conv(widths[-1], 10, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits [b, h, w, 10]."""
        for layer in self.layers:
            x = jax.nn.relu(layer(x))
        return self.head(x)


def run(config: Config, out: Path) -> dict[str, float]:
    """Measures fields, recall, digits and the transposed convolution, and writes the report."""
    fields = {k: ops.receptive_field([(2, 1, 0, d) for d in v]).size for k, v in DILATIONS.items()}
    seeds = range(config.seed, config.seed + config.seeds)
    recall = {
        k: np.array([train_one(config, k, s, out / k / str(s)) for s in seeds]) for k in DILATIONS
    }
    far = {k: v[:, fields["plain"] :].mean(axis=1) for k, v in recall.items()}
    numbers = {
        "far_gap": float(np.mean(far["dilated"] - far["plain"])),
        "far_plain": float(far["plain"].mean()),
        "far_dilated": float(far["dilated"].mean()),
        "field_gap": float(fields["dilated"] - fields["plain"]),
        "transposed_error": transposed_error(config.seed),
    }
    digits = {side: {k: train_pixels(config, k, side) for k in DILATIONS} for side in config.sides}
    for level, scores in zip(("low", "high"), digits.values(), strict=True):
        plain, dilated = (float(scores[k].mean()) for k in ("plain", "dilated"))
        numbers[f"{level}_resolution_plain"] = plain
        numbers[f"{level}_resolution_dilated"] = dilated
        numbers[f"{level}_resolution_gap"] = dilated - plain
    for name in DILATIONS:
        numbers[f"support_{name}"] = float(support(name))
    write_report(config, out, recall, far, digits, numbers)
    return numbers


def sequences(seed: int, count: int = 128) -> Iterator[Batch]:
    """Endless batches of random signs."""
    rng = np.random.default_rng(seed)
    while True:
        yield {"image": rng.choice([-1, 1], (count, 1, LENGTH, 1)).astype(np.float32)}


def objective(model: Stack, batch: Batch, key: Key) -> tuple[jax.Array, Metrics]:
    """The logistic loss of the bit at each distance."""
    signs = batch["image"][:, 0, ::-1, 0]
    return jnp.mean(jax.nn.softplus(-signs * model(batch["image"]))), {}


def train_one(config: Config, name: str, seed: int, out: Path) -> np.ndarray:
    """The accuracy at each distance, 0 first, on new sequences."""
    out.mkdir(parents=True, exist_ok=True)
    model, _ = train.fit(
        jax.random.key(seed),
        Stack(DILATIONS[name], config.channels, rngs=nnx.Rngs(seed)),
        objective,
        optax.adam(3e-3),
        sequences(seed),
        steps=config.steps,
        out=out,
        log_every=config.steps,
    )
    images = jnp.asarray(next(sequences(10_000 + seed, 2000))["image"])
    return np.asarray(jnp.mean(images[:, 0, ::-1, 0] * model(images) > 0, axis=0))


def scaled(split: Split, side: int) -> Batch:
    """Digits at so many rows and columns, by bilinear interpolation of 8×8 pixels."""
    examples = data.digits(split=split)
    images = jnp.asarray(examples["image"])
    large = images if side == 8 else ops.upsample_bilinear(images, factor=side // 8)
    return {**examples, "image": np.asarray(large)}


def pixels(model: PixelStack, batch: Batch, key: Key) -> tuple[jax.Array, Metrics]:
    """Cross-entropy and accuracy over the pixels of ink, each of the class of its digit."""
    logits, ink = model(batch["image"]), batch["image"][..., 0] > 0.5
    labels = jnp.broadcast_to(batch["labels"][:, None, None], ink.shape)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    hits = jnp.argmax(logits, axis=-1) == labels
    return jnp.mean(loss, where=ink), {"accuracy": jnp.mean(hits, where=ink)}


def train_pixels(config: Config, name: str, side: int) -> np.ndarray:
    """The accuracy over the test digits' pixels, by seed."""
    models = train_seeds(
        lambda rngs: PixelStack(DILATIONS[name][::-1], rngs=rngs),  # the first is dilated most
        pixels,
        optax.adam(optax.cosine_onecycle_schedule(config.digit_steps, 1e-2)),
        scaled("train", side),
        seeds=range(config.seed, config.seed + config.seeds),
        steps=config.digit_steps,
        batch_size=8,
    )
    test = scaled("test", side)
    return np.array([train.evaluate(m, pixels, [test])["accuracy"] for m in models])


def support(name: str) -> int:
    """The inputs with a gradient from the last position."""
    model = Stack(DILATIONS[name], 4, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (1, 1, 2 * LENGTH, 1))
    return int(jnp.sum(jax.grad(lambda x: jnp.sum(model(x)))(x) != 0))


def zero_insertion(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The transposed convolution as a plain one of the map with zeros between its cells."""
    n, h, w, c = x.shape
    size = (n, stride * (h - 1) + 1, stride * (w - 1) + 1, c)
    wide = jnp.zeros(size).at[:, ::stride, ::stride].set(x)
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    return ops.conv2d(wide, flipped, padding=kernel.shape[0] - 1)


def transposed_error(seed: int) -> float:
    """The largest difference of both computations."""
    keys = jax.random.split(jax.random.key(seed))
    x, kernel = jax.random.normal(keys[0], (2, 5, 5, 3)), jax.random.normal(keys[1], (3, 3, 4, 3))
    y = ops.conv_transpose2d(x, kernel, stride=2, padding="VALID")
    return float(jnp.max(jnp.abs(y - zero_insertion(x, kernel, 2))))


def draw(path: Path) -> Figure:
    """Figure 3.4: a dilated kernel on its map, and a map with zeros inserted under a kernel."""
    taps, cells = np.zeros((7, 7), bool), np.zeros((9, 9), bool)
    taps[1:6:2, 1:6:2] = True
    cells[2:7:2, 2:7:2] = True
    with plot(path, columns=2, height=3.0) as axes:
        titles = ("3×3 kernel, dilation 2", "transposed convolution, stride 2")
        for ax, title, filled in zip(axes, titles, (taps, cells), strict=True):
            for (row, column), value in np.ndenumerate(filled):
                shade = color(0) if value else "none"
                ax.add_patch(Rectangle((column, row), 1, 1, facecolor=shade, edgecolor=GRID))
            ax.set(title=title, aspect="equal", xticks=[], yticks=[])
            ax.set(xlim=(-0.2, len(filled) + 0.2), ylim=(len(filled) + 0.2, -0.2))
            ax.grid(visible=False)
        axes[1].add_patch(Rectangle((0, 0), 3, 3, fill=False, edgecolor=color(1), linewidth=2))
    return Figure(
        path,
        "Left, filled: the nine taps of a kernel see 5×5 cells. Right, filled: the 3×3 cells of a "
        "map, zeros between and around them, and the kernel at its first place; it moves by one "
        "cell here, which is half a cell of the map.",
    )


def digits_section(digits: dict[int, dict[str, np.ndarray]], path: Path) -> Section:
    """Accuracy of both stacks at both resolutions."""
    spread = report.mean_and_deviation
    with plot(path, height=2.4) as (ax,):
        for i, scores in enumerate(digits.values()):
            for j, (name, values) in enumerate(scores.items()):
                label, place = None if i else name, i + 0.3 * j
                ax.bar(place, values.mean(), 0.28, color=color(j), label=label)
                ax.plot(np.full(len(values), place), values, "o", color=INK, ms=3)
        ax.set(ylabel="accuracy over the pixels of ink", ylim=(0, 1))
        ax.set_xticks(np.arange(2) + 0.15, [f"{side}×{side} pixels" for side in digits])
        ax.legend(loc="upper right")
    rows = [(f"{n}×{n}", *(spread(v, digits=3) for v in x.values())) for n, x in digits.items()]
    return Section(
        "Resolution",
        "Four 3×3 convolutions of 12 channels classify each pixel of ink as its digit. Plain ones "
        "see 9×9 pixels, dilated ones, the first by 8, 31×31, with the same parameters, steps and "
        "rate. The digits of the higher resolution are the others, enlarged: a field covers a "
        "smaller part of them. A guess that is always the same class is right in about 0.1.",
        [Figure(path, "Test digits; bars are means, dots are seeds.")],
        Table(("digits", *DILATIONS), rows),
    )


def write_report(
    config: Config, out: Path, recall: dict, far: dict, digits: dict, numbers: dict
) -> None:
    """Writes `report.html`."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True, parents=True)
    with plot(figures / "recall.svg") as (ax,):
        for name, values in recall.items():
            deviation = values.std(axis=0, ddof=min(1, len(values) - 1))
            ax.errorbar(np.arange(LENGTH), values.mean(axis=0), deviation, label=name, marker="o")
        ax.set(xlabel="distance in steps", ylabel="accuracy")
        ax.legend()
    rows = [
        (k, int(numbers[f"support_{k}"]), report.mean_and_deviation(v, digits=3))
        for k, v in far.items()
    ]
    report.page(
        out / "report.html",
        title="Dilated convolutions",
        summary="At the same parameters, the dilated stack recalls a larger share of the far bits "
        f"than the plain one, by {numbers['far_gap']:.3f}.",
        numbers={"gap beyond the plain field": numbers["far_gap"]},
        sections=[
            Section(
                "Recall by distance",
                f"Mean and standard deviation over {config.seeds} seeds; chance is 0.5.",
                [Figure(figures / "recall.svg", "Accuracy on new sequences.")],
                Table(("stack", "inputs with a gradient", "accuracy from 5 steps on"), rows),
            ),
            digits_section(digits, figures / "digits.svg"),
            Section(
                "Dilated and transposed",
                "A transposed convolution is a plain one with the flipped kernel after zeros are "
                f"inserted; the largest difference is {numbers['transposed_error']:.1e}.",
                [draw(figures / "grids.svg")],
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
