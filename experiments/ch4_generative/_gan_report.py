"""What the page of the GAN shows."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _common import sheet
from flax import nnx

from lectures_jax import data, metrics, report
from lectures_jax.report.page import Figure, Section
from lectures_jax.report.theme import INK, MUTED, color, plot


def samples(splits: data.Splits, pictures: np.ndarray) -> Section:
    """Samples beside real images."""
    chosen = np.random.default_rng(0).permutation(len(splits.train["image"]))[:64]
    return Section(
        "Samples",
        "The first 64 samples as they came, none left out.",
        figures=[
            Figure(sheet(pictures[:64], columns=8), "Generated."),
            Figure(sheet(splits.train["image"][chosen], columns=8), "Real, from the training set."),
        ],
    )


def classes(splits: data.Splits, shares: np.ndarray, folder: Path) -> Section:
    """How often each class is drawn: a lost one is a lost mode."""
    real = np.bincount(splits.train["labels"], minlength=len(splits.classes))
    places = np.arange(len(shares))
    with plot(folder / "classes.svg", height=2.6) as (ax,):
        ax.bar(places - 0.2, 100 * shares, 0.38, color=color(0), label="generated")
        ax.bar(places + 0.2, 100 * real / real.sum(), 0.38, color=MUTED, label="real")
        turned = 45 if max(map(len, splits.classes)) > 2 else 0
        ax.set_xticks(places, splits.classes, rotation=turned, ha="right" if turned else "center")
        ax.set_ylabel("share, %")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return Section(
        "Classes",
        "What the judging network takes the samples for.",
        figures=[Figure(folder / "classes.svg", "Share of each class.")],
    )


def training(history: list, folder: Path) -> Section:
    """Losses and what the discriminator believes."""
    rows = [
        {**row, "D(x)": row["real"], "D(G(z))": row["fake"]} for row in history if "real" in row
    ]
    losses = [["discriminator_loss", "generator_loss"], ["D(x)", "D(G(z))"]]
    report.curves(rows, folder / "training.svg", panels=losses)
    return Section(
        "Training",
        "Neither loss tells how good the images are: each is measured against an opponent that "
        "learns as well. D(x) and D(G(z)), the probabilities that the discriminator gives to real "
        "and to generated images, meet at one half where it cannot tell them apart.",
        figures=[Figure(folder / "training.svg", "Means over the steps since the point before.")],
    )


def walk(model: Any, seed: int) -> Section:
    """Straight lines between points of the latent space, kept on the shell where z lies."""
    ends = jax.random.normal(jax.random.key(seed + 2), (2, 4, model.latent))
    shares = jnp.linspace(0, 1, 8)
    path = jax.vmap(lambda a, b: jax.vmap(lambda t: between(a, b, t))(shares))(*ends)
    structure, arrays = nnx.split(model.generator)
    draw = jax.jit(lambda arrays, z: nnx.merge(structure, arrays)(z))
    pictures = np.asarray(draw(arrays, path.reshape(-1, model.latent)))
    return Section(
        "A walk in latent space",
        "Each row goes from one random point to another. Where the generator has understood "
        "something, one image turns into the next without a jump.",
        figures=[Figure(sheet(pictures, columns=8), "Four walks of eight steps.")],
    )


def between(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
    """A mixture of two independent normal points that is as long as they are."""
    return (a * (1 - t) + b * t) / jnp.sqrt((1 - t) ** 2 + t**2)


def grid(
    found: metrics.ModeCoverage, points: np.ndarray, real: np.ndarray, folder: Path
) -> Section:
    """The 25 Gaussians and what was drawn from them."""
    with plot(folder / "grid.svg", columns=2, height=2.5) as axes:
        for ax, x, name in zip(axes, (real, points), ("real", "generated"), strict=True):
            ax.scatter(*x.T, s=1.5, lw=0, color=color(0), rasterized=True)
            ax.scatter(*np.asarray(data.grid_modes()).T, s=26, fc="none", ec=INK, lw=0.5)
            ax.set(title=name, xlim=(-5.5, 5.5), ylim=(-5.5, 5.5), aspect="equal")
            ax.title.set_fontsize(8.5)
    return Section(
        "25 Gaussians",
        f"A small network in the same game found {int(found.modes)} of 25 narrow Gaussians; "
        f"{100 * float(found.quality):.0f} % of its points lie within three standard deviations "
        "of one. A generator that loses modes shows empty circles; one that cannot part them, "
        "points between.",
        figures=[Figure(folder / "grid.svg", "2000 points each; circles mark the centers.")],
    )
