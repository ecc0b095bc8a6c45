"""First filters are learned from noise. CPU, 30 s; share in a band 0.51, of random ones 0.36.

A network is trained to tell from which of the built-in photographs a gray patch was cut. The
filters of its first layer are shown before and after, and their spectra: the share of a filter's
energy that lies in its best band of orientations is compared with that of random filters.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax
from flax import nnx

from lectures_jax import objectives, ops, optim, report, runtime, train
from lectures_jax.nn.convolution import Conv, ConvNorm
from lectures_jax.nn.linear import Linear
from lectures_jax.nn.normalization import BatchNorm
from lectures_jax.recipes.feature_network import textures
from lectures_jax.recipes.seeds import train_seeds
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot
from lectures_jax.typing import Batch, Key

EXPECTED = {
    "share_before": (None, 0.4),
    "share_after": (0.43, None),
    "gain": (0.07, None),
    "above_random": (0.3, None),
    "accuracy": (0.5, None),
}
TINY = {"patches": 8, "filters": 4, "steps": 2, "seeds": 1}
FREQUENCIES, BANDS = 32, 8  # of a spectrum along an axis; orientations of a band
WIDTH = np.pi / 8  # of a band to either side: a fourth of all orientations
RANDOM = 1000  # filters of independent normal weights


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    patches: int = 300
    """of each photograph to train on, and a fourth as many to test on"""
    kernel: int = 9
    """rows and columns of the first filters"""
    filters: int = 16
    """of the first layer"""
    steps: int = 900
    """of each training"""
    batch_size: int = 32
    """patches per step"""
    learning_rate: float = 5e-3
    """highest of Adam's one-cycle schedule"""
    weight_decay: float = 1.0
    """decoupled, on kernels: what the gradient does not hold up fades"""
    seeds: int = 3
    """networks"""
    seed: int = 0
    """the first of them: of parameters and order"""


class Network(nnx.Module):
    """Large filters, then small ones, and the mean over the map."""

    def __init__(self, config: Config, classes: int, *, rngs: nnx.Rngs):
        n, size = config.filters, (config.kernel, config.kernel)
        self.first = Conv(1, n, size, strides=2, use_bias=False, rngs=rngs)
        self.norm = BatchNorm(n, momentum=0.9, rngs=rngs)
        self.second = ConvNorm(n, 2 * n, momentum=0.9, activation=jax.nn.relu, rngs=rngs)
        self.classify = Linear(2 * n, classes, rngs=rngs)

    def __call__(self, images: jax.Array, *, key: Key | None = None) -> jax.Array:
        """Scores of the photographs."""
        x = jax.nn.relu(self.norm(self.first(images)))
        x = self.second(ops.max_pool(x, size=2))
        return self.classify(x.mean(axis=(1, 2)))


class Trained(NamedTuple):
    """What a training left."""

    before: np.ndarray  # filters [n, kernel, kernel]
    after: np.ndarray
    accuracy: float  # on patches of other parts of the photographs


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains all, and writes the report."""
    patches = textures(count=config.patches)
    training, test = (gray(x) for x in (patches.train, patches.test))
    trained = train_networks(config, training, test, len(patches.classes))
    shape = (RANDOM, config.kernel, config.kernel)
    random = oriented_shares(np.random.default_rng(config.seed).normal(size=shape))
    before = np.array([oriented_shares(x.before) for x in trained])
    after = np.array([oriented_shares(x.after) for x in trained])
    above = np.mean(after > np.quantile(random, 0.95), axis=1)
    numbers = {
        "share_before": float(before.mean()),
        "share_after": float(after.mean()),
        "gain": float(np.mean(after.mean(axis=1) - before.mean(axis=1))),
        "above_random": float(above.mean()),
        "accuracy": float(np.mean([x.accuracy for x in trained])),
    }
    write_report(config, out, trained, {"before": before, "after": after, "random": random})
    return numbers


def gray(examples: Batch) -> Batch:
    """Patches in [-1, 1] without color."""
    images = 2 * examples["image"].mean(axis=3, keepdims=True) - 1
    return {"image": images, "labels": examples["labels"]}


def as_images(filters: np.ndarray) -> np.ndarray:
    """Filters as gray images, 0.5 for weight 0, each to its own largest weight."""
    return 0.5 + 0.5 * (filters / np.abs(filters).max(axis=(1, 2), keepdims=True))[..., None]


def oriented_shares(filters: np.ndarray) -> np.ndarray:
    """The share of each filter's energy, but for its mean, in its best band of orientations.

    A band holds a fourth of all orientations, at any frequency that is not 0.
    """
    spectra = np.abs(np.fft.fft2(filters, (FREQUENCIES, FREQUENCIES))) ** 2
    y, x = np.meshgrid(*[np.fft.fftfreq(FREQUENCIES)] * 2, indexing="ij")
    inside = (np.hypot(y, x) > 0) & (np.hypot(y, x) < 0.5)  # a disc has no corners to prefer
    angles = np.arctan2(y, x)
    energies = []
    for band in np.arange(BANDS) * np.pi / BANDS:
        off = np.abs((angles - band + np.pi / 2) % np.pi - np.pi / 2)
        energies.append(spectra[:, inside & (off <= WIDTH)].sum(axis=1))
    return np.max(energies, axis=0) / spectra[:, inside].sum(axis=1)


def train_networks(config: Config, training: Batch, test: Batch, classes: int) -> list[Trained]:
    """Trains a network of each seed."""
    rate = optax.cosine_onecycle_schedule(config.steps, config.learning_rate)
    seeds = range(config.seed, config.seed + config.seeds)
    networks = train_seeds(
        lambda rngs: Network(config, classes, rngs=rngs),
        objectives.classification,
        optim.adamw_on_kernels(rate, weight_decay=config.weight_decay),
        training,
        seeds=seeds,
        steps=config.steps,
        batch_size=config.batch_size,
    )
    trained = []
    for seed, after in zip(seeds, networks, strict=True):
        before = Network(config, classes, rngs=nnx.Rngs(seed))
        logits = train.predict(after, test["image"])
        accuracy = float(np.mean(np.argmax(logits, axis=-1) == test["labels"]))
        trained.append(Trained(filters_of(before), filters_of(after), accuracy))
    return trained


def filters_of(model: Network) -> np.ndarray:
    """The filters of the first layer [n, kernel, kernel]."""
    return np.asarray(model.first.kernel[...])[:, :, 0].transpose(2, 0, 1)


def spectra(filters: np.ndarray) -> np.ndarray:
    """The amplitudes of filters as gray images, frequency 0 in the middle."""
    amplitudes = np.abs(np.fft.fft2(filters, (FREQUENCIES, FREQUENCIES)))
    largest = amplitudes.max(axis=(1, 2), keepdims=True)
    return np.fft.fftshift(amplitudes / largest, axes=(1, 2))[..., None]


def draw_shares(shares: dict[str, np.ndarray], path: Path) -> None:
    """How many filters have which share of their energy in one band."""
    edges = np.linspace(0.2, 1, 33).tolist()
    with plot(path, height=2.6) as (ax,):
        for number, (name, values) in enumerate(shares.items()):
            weights = np.full(values.size, 1 / values.size)
            style = {"histtype": "step", "lw": 1.5, "color": color(number), "label": name}
            ax.hist(values.ravel(), edges, weights=weights, **style)
        ax.set(xlabel="share of the energy in the best band", ylabel="share of the filters")
        ax.legend(loc="upper right")


def write_report(
    config: Config, out: Path, trained: list[Trained], shares: dict[str, np.ndarray]
) -> None:
    """Writes `report.html`."""
    figures, first = out / "figures", trained[0]
    figures.mkdir(parents=True, exist_ok=True)
    draw_shares(shares, figures / "shares.svg")
    means = {name: np.atleast_2d(values).mean(axis=1) for name, values in shares.items()}
    sheets = [
        Figure(report.sheet(images(filters), columns=8, width=45), f"{what}, {when}.")
        for what, images in (("Filters", as_images), ("Spectra", spectra))
        for when, filters in (("before", first.before), ("after", first.after))
    ]
    rows = [(k, report.mean_and_deviation(v, digits=3)) for k, v in means.items()]
    tested = report.mean_and_deviation([x.accuracy for x in trained], digits=3)
    report.page(
        out / "report.html",
        title="Filters are learned",
        summary="The first layer begins as noise; what training leaves of it are mostly edges, "
        "bars and waves of one orientation.",
        numbers={f"share in one band, {k}": float(v.mean()) for k, v in means.items()},
        sections=[
            Section(
                "Filters and spectra",
                f"The first {config.kernel}×{config.kernel} filters of the first seed, gray for "
                "a weight of 0, each to its own largest weight; below, the size of their Fourier "
                "transform, frequency 0 in the middle. Two spots or stripes face to face are one "
                "orientation.",
                figures=sheets,
            ),
            Section(
                "One orientation",
                "The share of a filter's energy, frequency 0 left out, in the best of eight bands "
                "that hold a fourth of all orientations each. 'Random' are "
                f"{RANDOM} filters of independent normal weights. The networks tell "
                f"{tested} of the patches, of other parts of ten photographs, right.",
                figures=[Figure(figures / "shares.svg", "Filters of all seeds.")],
                table=Table(("filters", "share in one band"), rows),
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
