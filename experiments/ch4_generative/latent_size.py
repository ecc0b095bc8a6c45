"""Few latent features suffice, about as many as vary. CPU, 2 min; 8 leave a share of 0.2.

An autoencoder's error over the size of its code, beside the intrinsic dimension of the images, on
three sets: digits, sprites of which four numbers are known, and one digit that is turned, which has
one. The error is that of images that it was not trained on, over their variance.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from sklearn.decomposition import PCA

from lectures_jax import data, metrics, report, runtime, train
from lectures_jax.recipes import autoencoder
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot

EXPECTED = {
    "digits_left": (None, 0.35),
    "sprites_left": (None, 0.5),
    "turned_left": (None, 0.1),
    "turned_dimension": (0.8, 1.3),
    "digits_dimension": (5, 15),
}
TINY = {"sizes": (1, 8), "steps": 2, "hidden": 8, "seeds": 1}
FEW = 8  # size of the code whose error is the score


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    sizes: tuple[int, ...] = (1, 2, 4, 8, 32)
    """of the code; 8 must be among them"""
    steps: int = 500
    """of each autoencoder"""
    hidden: int = 128
    """units of its dense layers"""
    seeds: int = 3
    """autoencoders of each size"""
    seed: int = 0
    """the first of them: of parameters and order"""


class Set(NamedTuple):
    """Images to train on and others, and their intrinsic dimension."""

    trained: np.ndarray
    unseen: np.ndarray
    dimension: float


Errors = dict[str, np.ndarray]
"""Share of the variance that is left [seed, size], by set."""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains autoencoders of all sizes on all sets, and writes the report."""
    sets = read()
    seeds = range(config.seed, config.seed + config.seeds)
    errors, rebuilt = {}, {}
    for name, images in sets.items():
        errors[name] = np.zeros((config.seeds, len(config.sizes)))
        for row, seed in enumerate(seeds):
            for column, size in enumerate(config.sizes):
                folder = out / name / f"{size}_{seed}"
                drawn = rebuild(config, images, size, folder, seed)
                errors[name][row, column] = left_over(images, drawn)
                if not row:
                    rebuilt.setdefault(name, []).append(drawn[:10])
    few = config.sizes.index(FEW)
    numbers = {f"{name}_left": float(error[:, few].mean()) for name, error in errors.items()}
    numbers |= {f"{name}_dimension": images.dimension for name, images in sets.items()}
    write_report(config, out, sets, errors, rebuilt, numbers)
    return numbers


def read() -> dict[str, Set]:
    """Digits, sprites, and one digit that is turned, split at random."""
    digits = data.read_classified("digits")
    angles = np.random.default_rng(0).uniform(0, 360, 800)
    digit = np.kron(digits.train["image"][3, ..., 0], np.ones((2, 2)))
    turned = np.stack([ndimage.rotate(digit, a, reshape=False, order=1) for a in angles])
    sets = {
        "digits": np.concatenate([digits.train["image"], digits.test["image"]]),
        "sprites": data.factor_sprites()["image"],
        "turned": np.clip(turned, 0, 1)[..., None].astype(np.float32),
    }
    return {name: split(images) for name, images in sets.items()}


def split(images: np.ndarray) -> Set:
    """Four fifths to train on; the dimension is that of all images."""
    images = images[np.random.default_rng(0).permutation(len(images))]
    dimension = float(metrics.intrinsic_dimension(images.reshape(len(images), -1)))
    count = 4 * len(images) // 5
    return Set(images[:count], images[count:], dimension)


def rebuild(config: Config, images: Set, size: int, out: Path, seed: int) -> np.ndarray:
    """The unseen images as an autoencoder with this size of code makes them."""
    settings = autoencoder.Settings(latent=size, steps=config.steps, hidden=config.hidden)
    out.mkdir(parents=True, exist_ok=True)
    model = autoencoder.train(settings, images.trained, out, seed=seed).model
    return train.predict(model, images.unseen)


def left_over(images: Set, rebuilt: np.ndarray) -> float:
    """The squared error over that of the mean training image: 0 is perfect, 1 knows nothing."""
    mean = images.trained.mean(axis=0)
    return float(np.mean((images.unseen - rebuilt) ** 2) / np.mean((images.unseen - mean) ** 2))


def linear_left_over(images: Set, size: int) -> float:
    """What as many principal components leave."""
    rows = [x.reshape(len(x), -1) for x in images[:2]]
    pca = PCA(size).fit(rows[0])
    rebuilt = pca.inverse_transform(pca.transform(rows[1]))
    return left_over(images, rebuilt.reshape(images.unseen.shape))


def write_report(
    config: Config,
    out: Path,
    sets: Mapping[str, Set],
    errors: Errors,
    rebuilt: Mapping[str, list[np.ndarray]],
    numbers: dict[str, float],
) -> None:
    """Writes `report.html`."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    draw_errors(config, sets, errors, figures / "errors.svg")
    rows = [
        (
            name,
            f"{sets[name].dimension:.1f}",
            *(report.mean_and_deviation(error[:, i], digits=3) for i in range(len(config.sizes))),
        )
        for name, error in errors.items()
    ]
    images = [
        Figure(
            report.sheet(np.concatenate([sets[name].unseen[:10], *drawn]), columns=10, width=48),
            f"{name}: images, and what codes of {', '.join(map(str, config.sizes))} make of them.",
        )
        for name, drawn in rebuilt.items()
    ]
    report.page(
        out / "report.html",
        title="How many latent features suffice",
        summary="An image of 64 or 256 pixels is determined by few numbers: what a code of "
        f"{FEW} leaves of the variance of digits is {numbers['digits_left']:.2f}.",
        numbers={f"left by {FEW}, {name}": numbers[f"{name}_left"] for name in sets},
        sections=[
            Section(
                "Error over the size of the code",
                "The share of the variance of unseen images that an autoencoder leaves. It falls "
                "fast at first, to little with a code of eight. Dotted: the intrinsic dimension. "
                "The turned digit has one; its images are a ring, and take two numbers. Sprites "
                "have four factors and take about four: they lie on a grid, on which neighbors are "
                "about equally far and the estimate is wrong. Dashed: principal components.",
                figures=[Figure(figures / "errors.svg", "Means over the seeds.")],
                table=Table(("set", "dimension", *map(str, config.sizes)), rows),
            ),
            Section("Images", "The first images that no autoencoder was trained on.", images),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def draw_errors(config: Config, sets: Mapping[str, Set], errors: Errors, path: Path) -> None:
    """Shares that are left over the size of the code."""
    with plot(path, columns=len(sets), height=2.4) as axes:
        for i, (ax, (name, error)) in enumerate(zip(axes, errors.items(), strict=True)):
            linear = [linear_left_over(sets[name], size) for size in config.sizes]
            ax.plot(config.sizes, error.mean(axis=0), "o-", ms=3, color=color(i))
            ax.plot(config.sizes, linear, "--", lw=1, color=color(i))
            ax.axvline(sets[name].dimension, color=INK, lw=0.8, ls=":")
            ax.set_xscale("log", base=2)
            ax.set_xticks(config.sizes, [str(size) for size in config.sizes])
            ax.set(xlabel="size of the code", ylim=(0, 1))
            ax.set_title(f"{name}: {sets[name].dimension:.1f}", fontsize=8.5)
        axes[0].set_ylabel("share left")
