"""Two networks trained against each other to draw. CPU, 1 min; classifier-Fréchet 7.

By default a DCGAN with the non-saturating loss and R1 draws the digits of 8×8 pixels; `--data idx`
and `--data images` take files. Beside it, whether a small network covers all of 25 Gaussians shows
how much of the variety is missing.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lectures_jax import data, metrics, report, runtime, train
from lectures_jax.models.gan import Gan
from lectures_jax.models.mlp import Mlp
from lectures_jax.recipes import gan
from lectures_jax.recipes.evaluator import evaluator
from lectures_jax.recipes.generator import Kind
from lectures_jax.report.page import Figure, Section
from lectures_jax.report.theme import INK, color, plot

EXPECTED = {"frechet": (None, 9), "least_class": (0.03, None)}
TINY = {
    "training": gan.Settings(steps=2, batch_size=4, channels=8),
    "grid_steps": 2,
    "evaluator_steps": 2,
    "evaluator_images": 64,
}
DEVIATION = 0.05  # of the 25 Gaussians
HEADLINES = {
    "frechet": "classifier-Fréchet",
    "least_class": "least class share",
    "neighbor_ratio": "nearest-neighbor ratio",
    "grid_modes": "of 25 Gaussians covered",
}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """the built-in digits, four files in MNIST's format, or folders of images"""
    root: Path | None = None
    """where the files are"""
    training: gan.Settings = field(default_factory=gan.Settings)
    """of the two networks"""
    grid_steps: int = 3000
    """on the 25 Gaussians; 0 leaves them out"""
    evaluator_steps: int | None = None
    """of the network that scores the samples; None: 500 for digits, 1500 for files"""
    evaluator_images: int = 5000
    """that the scores compare, at most"""
    seed: int = 0
    """of parameters, order and noise"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains, scores the samples, tries the 25 Gaussians, and writes the report."""
    settings = gan.with_defaults(config.training, config.data)
    splits = data.read_classified(config.data, config.root)
    scorer = evaluator(
        config.data, config.root, out, steps=config.evaluator_steps, most=config.evaluator_images
    )
    generator = gan.train(settings, splits, out, seed=config.seed)
    images = generator.sample(jax.random.key(config.seed + 1), scorer.count)
    numbers = scorer.scores(images)
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    sections = [
        samples_section(splits, images),
        report.sample_scores({"this model": numbers, **scorer.baselines}),
        report.class_shares(
            scorer.class_shares(images),
            splits.train["labels"],
            figures / "classes.svg",
            classes=splits.classes,
        ),
        training_section(generator.history, figures),
        report.timing(
            generator.history, batch_size=settings.batch_size * settings.discriminator_steps
        ),
        walk_section(generator.model, config.seed),
    ]
    if config.grid_steps:
        coverage, points, real = train_on_grid(config, out / "grid")
        numbers |= {"grid_modes": float(coverage.modes), "grid_quality": float(coverage.quality)}
        sections.append(grid_section(coverage, points, real, figures))
    report.page(
        out / "report.html",
        title=f"A GAN draws {config.root.name if config.root else 'digits'}",
        summary=f"Two networks trained against each other on {len(splits.train['labels'])} "
        f"images, with the {settings.loss} loss. The generator has {generator.parameters} "
        "parameters.",
        numbers={text: numbers[name] for name, text in HEADLINES.items() if name in numbers},
        sections=[*sections, report.configuration(asdict(replace(config, training=settings)))],
        footer=runtime.environment(),
    )
    return numbers


def train_on_grid(config: Config, out: Path) -> tuple[metrics.ModeCoverage, np.ndarray, np.ndarray]:
    """The same game on 25 Gaussians; returns the coverage, and points, generated and real."""
    key_init, key_train, key_data, key_z = jax.random.split(jax.random.key(config.seed), 4)
    rngs = nnx.Rngs(key_init)
    hidden = (128, 128, 128)
    nets = [Mlp(sizes, rngs=rngs) for sizes in ((8, *hidden, 2), (2, *hidden, 1))]
    whole = data.gaussian_grid(key_data, count=20_000, deviation=DEVIATION)
    # Halved, so that the points lie within what a fresh network reaches.
    points = {"image": np.asarray(whole["x"]) / 2, "labels": np.asarray(whole["labels"])}
    # Parting narrow modes takes steep gradients, which the penalty must allow.
    settings = replace(
        config.training,
        steps=config.grid_steps,
        batch_size=256,
        discriminator_steps=1,
        r1=config.training.r1 / 100,
    )
    model, _ = train.fit_adversarial(
        key_train,
        Gan(*nets, latent=8),
        *gan.players(settings),
        data.batches(points, batch_size=settings.batch_size, seed=config.seed),
        steps=config.grid_steps,
        out=out,
        ema_decay=settings.ema_decay,
        log_every=max(config.grid_steps // 3, 1),
    )
    drawn = 2 * train.predict(model.generator, jax.random.normal(key_z, (2000, 8)))
    coverage = metrics.mode_coverage(drawn, data.grid_modes(), deviation=DEVIATION)
    return coverage, drawn, np.asarray(whole["x"][:2000])


def samples_section(splits: data.Splits, images: np.ndarray) -> Section:
    """Samples beside real images."""
    chosen = np.random.default_rng(0).permutation(len(splits.train["image"]))[:64]
    return report.samples(
        images[:64],
        splits.train["image"][chosen],
        columns=8,
        text="The first 64 samples as they came, none left out.",
    )


def training_section(history: list, folder: Path) -> Section:
    """Losses and what the discriminator believes."""
    rows = [
        {**row, "D(x)": row["real"], "D(G(z))": row["fake"]} for row in history if "real" in row
    ]
    panels = [["discriminator_loss", "generator_loss"], ["D(x)", "D(G(z))"]]
    panels.append(["discriminator_learning_rate", "generator_learning_rate"])
    report.curves(rows, folder / "training.svg", panels=panels)
    last = rows[-1]
    return Section(
        "Training",
        "Neither loss tells how good the images are: each is measured against an opponent that "
        "improves as well. D(x) and D(G(z)), the probabilities that the discriminator gives to "
        "real and to generated images, meet at one half where it cannot tell them apart; they end "
        f"at {last['D(x)']:.2f} and {last['D(G(z))']:.2f}.",
        figures=[Figure(folder / "training.svg", "Means over the steps since the point before.")],
    )


def walk_section(model: Any, seed: int) -> Section:
    """Straight lines between points of the latent space, kept on the shell where z lies."""
    ends = jax.random.normal(jax.random.key(seed + 2), (2, 4, model.latent))
    shares = jnp.linspace(0, 1, 8)
    path = jax.vmap(lambda a, b: jax.vmap(lambda t: between(a, b, t))(shares))(*ends)
    images = train.predict(model.generator, path.reshape(-1, model.latent))
    return Section(
        "A walk in latent space",
        "Each row goes from one random point to another. Where the generator generalizes, one "
        "image turns into the next without a jump.",
        figures=[Figure(report.sheet(images, columns=8), "Four walks of eight steps.")],
    )


def between(a: jax.Array, b: jax.Array, t: jax.Array) -> jax.Array:
    """A mixture of two independent normal points that is as long as they are."""
    return (a * (1 - t) + b * t) / jnp.sqrt((1 - t) ** 2 + t**2)


def grid_section(
    coverage: metrics.ModeCoverage, points: np.ndarray, real: np.ndarray, folder: Path
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
        f"A small network in the same game covers {int(coverage.modes)} of 25 narrow Gaussians; "
        f"{100 * float(coverage.quality):.0f} % of its points lie within three standard "
        "deviations of one. A generator that misses modes shows empty circles; one that cannot "
        "part them, points between.",
        figures=[Figure(folder / "grid.svg", "2000 points each; circles mark the centers.")],
    )
