"""Normalizing flows of two moons and of images. CPU, 2 min; bits/dim of the digits below 2.10.

Two moons: a flow of affine couplings and one of splines, against the true density. Digits: an
autoregressive flow that transforms each pixel by the histogram of its levels, given the pixels
before and the class, against the best Gaussian mixture. `--data idx --root DIR` takes larger images
and a multiscale flow. Nothing is chosen by the test images.
"""

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import data, report, runtime
from lectures_jax.nn.parameters import count_parameters
from lectures_jax.recipes import flow, two_moons
from lectures_jax.recipes.evaluator import evaluator
from lectures_jax.recipes.generator import Generator, Kind
from lectures_jax.recipes.mixture import ImageMixture, fit_image_mixture
from lectures_jax.recipes.settings import require
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import MUTED, color, plot

EXPECTED = {
    "affine_excess_nats": (None, 0.03),
    "spline_excess_nats": (None, 0.015),
    "bits_per_dim": (None, 2.1),
    "mixture_gain": (0, None),
}
TINY = {
    "training": flow.Settings(steps=2, batch_size=4, hidden=8),
    "moon_steps": 2,
    "moon_batch": 8,
    "test_points": 200,
    "evaluator_steps": 2,
    "evaluator_images": 64,
    "components": (1,),
    "ridges": (0.1,),
    "copies": 1,
}
VIEW = ((-1.6, 2.6), (-1.2, 1.7))  # of the plane


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """images: the built-in digits, files in MNIST's format, or folders"""
    root: Path | None = None
    """folder of the files"""
    training: flow.Settings = field(default_factory=flow.Settings)
    """of the flow of images"""
    components: tuple[int, ...] = (6, 10, 14)
    """numbers of Gaussians of the mixture to try"""
    ridges: tuple[float, ...] = (0.02, 0.05, 0.1)
    """what to try to add to the variances of the mixture"""
    copies: int = 8
    """draws of the noise for each image that the mixture is fitted to"""
    moon_steps: int = 3000
    """training steps on two moons"""
    moon_batch: int = 256
    """points per step"""
    test_points: int = 50_000
    """fresh points of the two moons"""
    evaluator_steps: int | None = None
    """of the network that scores the samples; None: 500 for digits, 1500 for files"""
    evaluator_images: int = 5000
    """that the scores compare, at most"""
    seed: int = 0
    """of parameters, order and noise"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Both parts, one page."""
    settings = flow.with_defaults(config.training, config.data)
    config = replace(config, training=settings)
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    key_moons, key_mixture = jax.random.split(jax.random.key(config.seed))
    moons = train_on_moons(config, key_moons, out / "moons")
    splits = data.read_classified(config.data, config.root)
    generator = flow.train(settings, splits, out, seed=config.seed)
    numbers: dict[str, Any] = {f"{kind}_excess_nats": one.excess for kind, one in moons.items()}
    numbers |= {"bits_per_dim": generator.bits_per_dim}
    mixture = fit_mixture(config, key_mixture, splits) if config.data == "digits" else None
    if mixture:
        bits = mixture.bits_per_dim(key_mixture, splits.test["image"])
        gain = bits - numbers["bits_per_dim"]
        numbers |= {"mixture_bits_per_dim": bits, "mixture_gain": gain}
    scorer = evaluator(
        config.data, config.root, out, steps=config.evaluator_steps, most=config.evaluator_images
    )
    scores = scorer.scores(generator.sample(jax.random.key(config.seed + 1), scorer.count))
    numbers |= {name: scores[name] for name in ("frechet", "neighbor_ratio", "least_class")}
    sections = [
        moons_section(moons, figures),
        images_section(splits, generator, mixture, numbers),
        report.sample_scores({"this model": scores, **scorer.baselines}),
        report.training(generator.history, figures, losses=[["loss"]], scores=[["held_out"]]),
        report.timing(generator.history, batch_size=require(settings.batch_size, "batch_size")),
        report.configuration(asdict(config)),
    ]
    write_page(out, numbers, sections)
    return numbers


def train_on_moons(config: Config, key: jax.Array, out: Path) -> dict[str, two_moons.TrainedFlow]:
    """A flow of each kind of coupling on the two moons."""
    return {
        kind: two_moons.train_two_moons(
            jax.random.fold_in(key, i),
            kind,
            out / kind,
            steps=config.moon_steps,
            batch_size=config.moon_batch,
            points=config.test_points,
        )
        for i, kind in enumerate(two_moons.SIZES)
    }


def fit_mixture(config: Config, key: jax.Array, splits: data.Splits) -> ImageMixture:
    """The best Gaussian mixture of the training images."""
    return fit_image_mixture(
        key,
        splits.train["image"],
        levels=splits.levels,
        components=config.components,
        ridges=config.ridges,
        copies=config.copies,
    )


def moons_section(moons: dict[str, two_moons.TrainedFlow], figures: Path) -> Section:
    """Densities, samples, where the plane goes, and the table."""
    models = {kind: trained.model for kind, trained in moons.items()}
    draw_densities(models, figures / "density.svg")
    draw_samples(models, figures / "samples.svg")
    draw_warp(models, figures / "warp.svg")
    entropy = two_moons.ENTROPY
    rows = [
        (
            kind,
            entropy + one.excess,
            one.excess,
            one.deviation,
            count_parameters(one.model),
            one.seconds,
        )
        for kind, one in moons.items()
    ]
    header = ("couplings", "cross-entropy, nats", "above the entropy", "±", "parameters", "seconds")
    return Section(
        "Two moons",
        f"The entropy of the two moons is {entropy} nats: no density can code fresh points in "
        "less. Affine couplings stretch and shift, splines bend each coordinate; either must "
        "bridge the gap between the moons, where a thread of density costs nats.",
        figures=[
            Figure(figures / "density.svg", "Density: the true one, and those of the flows."),
            Figure(figures / "samples.svg", "Data, and as many samples of each flow."),
            Figure(figures / "warp.svg", "Where circles and rays of the normal plane go."),
        ],
        table=Table(header, rows),
    )


def draw_densities(models: dict[str, Any], path: Path) -> None:
    """The true density and the models', on a grid."""
    (x0, x1), (y0, y1) = VIEW
    x, y = np.meshgrid(np.linspace(x0, x1, 180), np.linspace(y0, y1, 120))
    points = np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32)
    log_densities = {"true": two_moons.true_log_prob(points)}
    log_densities |= {kind: two_moons.log_prob(model, points) for kind, model in models.items()}
    with plot(path, columns=len(log_densities), height=1.6) as axes:
        for ax, (name, values) in zip(axes, log_densities.items(), strict=True):
            density = np.exp(values).reshape(x.shape)
            ax.imshow(
                density, origin="lower", extent=(x0, x1, y0, y1), cmap="magma", vmin=0, vmax=0.6
            )
            show_view(ax, name)


def draw_samples(models: dict[str, Any], path: Path) -> None:
    """Points of the data and of the models."""
    key = jax.random.key(1)
    z = np.asarray(jax.random.normal(key, (1500, 2)))
    points = {"data": data.two_moons(key, count=1500)["x"]}
    points |= {kind: two_moons.inverse(model, z) for kind, model in models.items()}
    with plot(path, columns=len(points), height=1.6) as axes:
        for i, (ax, (name, x)) in enumerate(zip(axes, points.items(), strict=True)):
            ax.plot(*np.asarray(x).T, ".", color=color(i), ms=1.2, mew=0)
            show_view(ax, name)


def draw_warp(models: dict[str, Any], path: Path) -> None:
    """Circles and rays of the normal plane, as each model maps them to the plane of the data."""
    around, reach = np.linspace(0, 2 * np.pi, 400), np.linspace(0, 3, 400)
    radii, angles = (0.5, 1.0, 1.5, 2.0, 2.5), np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([np.cos(around), np.sin(around)], axis=-1)
    spokes = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    lines = [radius * ring for radius in radii] + [reach[:, None] * spoke for spoke in spokes]
    with plot(path, columns=len(models), height=1.9) as axes:
        for ax, (name, model) in zip(axes, models.items(), strict=True):
            points = two_moons.inverse(model, np.concatenate(lines).astype(np.float32))
            for i, line in enumerate(points.reshape(len(lines), -1, 2)):
                circle = i < len(radii)
                shade = color(i) if circle else MUTED
                ax.plot(*line.T, color=shade, lw=0.9 if circle else 0.4)
            show_view(ax, name)


def show_view(ax: Any, name: str) -> None:
    """No ticks, equal units, the same part of the plane everywhere."""
    ax.set(xlim=VIEW[0], ylim=VIEW[1], xticks=[], yticks=[], aspect="equal")
    ax.set_title(name, fontsize=8.5)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def images_section(
    splits: data.Splits,
    generator: Generator,
    mixture: ImageMixture | None,
    numbers: dict[str, float],
) -> Section:
    """Samples by class, beside real images and the mixture's."""
    labels = np.repeat(np.arange(len(splits.classes)), 10)
    real = np.concatenate(
        [splits.train["image"][splits.train["labels"] == label][:10] for label in np.unique(labels)]
    )
    figures = []
    for heat in (1.0,) if mixture else (1.0, 0.7):
        drawn = flow.sample_classes(
            jax.random.key(5),
            generator.model,
            jnp.asarray(labels),
            levels=splits.levels,
            temperature=heat,
        )
        caption = f"Samples by class, temperature {heat}."
        figures.append(Figure(report.sheet(np.asarray(drawn)), caption))
    figures.append(Figure(report.sheet(real), "Real images by class."))
    rows = [("flow", generator.bits_per_dim, generator.parameters)]
    if mixture:
        drawn = mixture.sample(0, 100)
        figures.append(Figure(report.sheet(drawn), "Samples of the Gaussian mixture."))
        rows.append(("Gaussian mixture", numbers["mixture_bits_per_dim"], mixture.parameters))
    rows.append((f"even density, log2 {splits.levels}", math.log2(splits.levels), 0))
    text = (
        "Bits per pixel of images that were not trained on; fewer are better. Both are "
        "densities of pixels moved evenly within their levels, and bounds on the bits of the "
        "levels themselves. The flow does not get the class of a test image: it gives the mean "
        "over all."
    )
    if mixture:
        text += (
            f" The mixture has {mixture.components} components in the space of the logits, chosen, "
            "with its ridge, on a fifth of the training images."
        )
    header = ("model", "bits per dimension", "parameters")
    return Section("Images", text, figures=figures, table=Table(header, rows))


def write_page(out: Path, numbers: dict[str, float], sections: list[Section]) -> None:
    """Writes `report.html`."""
    shown = {
        "nats above the entropy, affine": numbers["affine_excess_nats"],
        "nats above the entropy, spline": numbers["spline_excess_nats"],
        "bits per dimension": numbers["bits_per_dim"],
    }
    if "mixture_bits_per_dim" in numbers:
        shown["Gaussian mixture"] = numbers["mixture_bits_per_dim"]
    shown["classifier-Fréchet"] = numbers["frechet"]
    report.page(
        out / "report.html",
        title="Normalizing flows",
        summary="Invertible maps from data to normal deviates: their densities are exact, so they "
        "can be compared with the truth, and with each other, in nats and bits.",
        numbers=shown,
        sections=sections,
        footer=runtime.environment(),
    )
