"""Two networks trained against each other to draw. CPU, 1 min; classifier-Fréchet 7.

By default a DCGAN with the non-saturating loss and R1 draws the digits of 8×8 pixels; `--data idx`
and `--data images` take files.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import data, report, runtime, train
from lectures_jax.recipes import gan
from lectures_jax.recipes.evaluator import evaluator
from lectures_jax.recipes.generator import Kind
from lectures_jax.report.page import Figure, Section

EXPECTED = {"frechet": (None, 9), "least_class": (0.03, None)}
TINY = {
    "training": gan.Settings(steps=2, batch_size=4, channels=8),
    "evaluator_steps": 2,
    "evaluator_images": 64,
}
HEADLINES = {
    "frechet": "classifier-Fréchet",
    "least_class": "least class share",
    "neighbor_ratio": "nearest-neighbor ratio",
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
    evaluator_steps: int | None = None
    """of the network that scores the samples; None: 500 for digits, 1500 for files"""
    evaluator_images: int = 5000
    """that the scores compare, at most"""
    seed: int = 0
    """of parameters, order and noise"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains, scores the samples, and writes the report."""
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
