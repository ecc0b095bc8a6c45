"""Two networks against each other learn to draw. CPU, 1 min; classifier-Fréchet 7.

By default a DCGAN with the non-saturating loss and R1 learns the digits of 8×8 pixels; `--data idx`
and `--datan images` take files. Beside it, whether a small network finds all of 25 Gaussians shows
how much of the variety is lost.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any, Literal

import _gan_report
import jax
import numpy as np
import optax
from _common import Generator, Kind, parameters, read
from _judge import judge, section
from flax import nnx

from lectures_jax import data, losses, metrics, objectives, report, runtime, train
from lectures_jax.models.gan import Gan, dcgan
from lectures_jax.models.mlp import Mlp
from lectures_jax.nn.upsampling import ResizeConv, SubpixelConv, TransposedConv

TINY = {"steps": 2, "grid_steps": 2, "judge_steps": 2, "batch_size": 4}
Objective = Callable[..., Any]
LOSSES: dict[str, tuple[Objective, Objective]] = {
    "non-saturating": (
        partial(objectives.gan_discriminator, loss=losses.discriminator_minimax),
        objectives.gan_generator,
    ),
    "minimax": (
        partial(objectives.gan_discriminator, loss=losses.discriminator_minimax),
        partial(objectives.gan_generator, loss=losses.generator_minimax),
    ),
    "hinge": (
        partial(objectives.gan_discriminator, loss=losses.discriminator_hinge),
        partial(objectives.gan_generator, loss=losses.generator_wasserstein),
    ),
    "wasserstein": (
        partial(
            objectives.gan_discriminator,
            loss=losses.discriminator_wasserstein,
            gradient_penalty=10.0,
        ),
        partial(objectives.gan_generator, loss=losses.generator_wasserstein),
    ),
    "relativistic": (
        partial(objectives.gan_discriminator, loss=losses.discriminator_relativistic),
        objectives.gan_generator_relativistic,
    ),
}
UPSAMPLING = {"subpixel": SubpixelConv, "resize": ResizeConv, "transposed": TransposedConv}
SPREAD = 0.05  # deviation of the 25 Gaussians


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """the built-in digits, four files in MNIST's format, or folders of images"""
    root: Path | None = None
    """where the files are"""
    loss: Literal["non-saturating", "minimax", "hinge", "wasserstein", "relativistic"] = (
        "non-saturating"
    )
    """of both players; wasserstein adds the penalty that holds the critic's slope near 1"""
    upsampling: Literal["subpixel", "resize", "transposed"] = "subpixel"
    """how the generator enlarges; transposed is DCGAN's, and slow on CPU"""
    spectral: bool = False
    """spectral normalization of the discriminator"""
    r1: float = 0.1
    """γ of the penalty on the discriminator's slope at real images"""
    discriminator_steps: int = 1
    """of the discriminator for each of the generator"""
    steps: int | None = None
    """of the generator; None: 1500 for digits, 4000 for files"""
    batch_size: int = 64
    """real images per step of the discriminator"""
    latent: int = 32
    """numbers that an image is drawn from"""
    learning_rate: float = 3e-3
    """of Adam, both players; falls to 0 in the last half"""
    ema_decay: float = 0.995
    """of the averaged generator that draws the samples"""
    grid_steps: int = 3000
    """on the 25 Gaussians; 0 leaves them out"""
    judge_steps: int | None = None
    """of the network that judges; None: as always"""
    seed: int = 0
    """of parameters, order and noise"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains, scores the samples, tries the 25 Gaussians, and writes the report."""
    splits = read(config.data, config.root)
    referee = judge(config.data, config.root, steps=config.judge_steps)
    generator = learn(config, splits, out)
    pictures = generator.sample(jax.random.key(config.seed + 1), referee.count)
    scores = referee.scores(pictures)
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    numbers = dict(scores)
    sections = [
        _gan_report.samples(splits, pictures),
        section(scores, referee.floors),
        _gan_report.classes(splits, referee.shares(pictures), figures),
        _gan_report.training(generator.history, figures),
        report.timing(generator.history, batch_size=config.batch_size),
        _gan_report.walk(generator.model, config.seed),
    ]
    if config.grid_steps:
        found, points, real = learn_grid(config)
        numbers |= {"grid_modes": float(found.modes), "grid_quality": float(found.quality)}
        sections.append(_gan_report.grid(found, points, real, figures))
    report.page(
        out / "report.html",
        title=f"A GAN draws {config.root.name if config.root else 'digits'}",
        summary=f"Two networks learnt against each other from {len(splits.train['labels'])} "
        f"images, with the {config.loss} loss. "
        f"The generator has {generator.parameters} parameters that were learnt.",
        numbers={NAME: numbers[key] for key, NAME in HEADLINES.items() if key in numbers},
        sections=[*sections, report.configuration(asdict(config))],
        footer=runtime.environment(),
    )
    if config == Config() and (numbers["frechet"] > 9 or numbers["least_class"] < 0.03):
        raise RuntimeError(f"expected a Fréchet distance below 9 and all classes, got {numbers}.")
    return numbers


HEADLINES = {
    "frechet": "classifier-Fréchet",
    "least_class": "least class share",
    "neighbor_ratio": "nearest-neighbor ratio",
    "grid_modes": "of 25 Gaussians found",
}


def learn(config: Config, splits: data.Splits, out: Path | None) -> Generator:
    """Trains on `splits.train`."""
    config = complete(config)
    key_init, key_train = jax.random.split(jax.random.key(config.seed))
    began = process_time()
    model, history = train.fit_adversarial(
        key_train,
        build(config, splits.train["image"].shape[1:], nnx.Rngs(key_init)),
        *players(config),
        data.batches(
            splits.train,
            batch_size=config.batch_size * config.discriminator_steps,
            seed=config.seed,
        ),
        steps=config.steps,
        out=out,
        discriminator_steps=config.discriminator_steps,
        ema_decay=config.ema_decay,
        log_every=max(config.steps // 30, 1),
        save_every=max(config.steps // 3, 1),
    )
    seconds = process_time() - began

    def sample(key: jax.Array, count: int) -> np.ndarray:
        return train.predict(model.generator, jax.random.normal(key, (count, config.latent)))

    return Generator(sample, parameters(model.generator), seconds, None, history, model)


def complete(config: Config) -> Config:
    """The configuration with the number of steps that fits the data."""
    return replace(config, steps=config.steps or (1500 if config.data == "digits" else 4000))


def build(config: Config, shape: tuple[int, ...], rngs: nnx.Rngs) -> Gan:
    """A DCGAN for images of 8×8, 28×28, 32×32 or the like."""
    channels, size = [16], min(shape[:2])
    while (size > 8 and not size % 2) or len(channels) < 2:
        channels, size = [min(2 * channels[0], 128), *channels], size // 2
    return dcgan(
        shape,
        latent=config.latent,
        channels=channels,
        up=UPSAMPLING[config.upsampling],
        spectral=config.spectral,
        rngs=rngs,
    )


def players(config: Config) -> tuple[train.Player, train.Player]:
    """The discriminator and the generator, with their losses and optimizers."""
    discriminator, generator = LOSSES[config.loss]
    half = config.steps // 2
    rate = optax.join_schedules(
        [
            optax.constant_schedule(config.learning_rate),
            optax.linear_schedule(config.learning_rate, 0, config.steps - half),
        ],
        [half],
    )
    turns = config.discriminator_steps
    return (
        train.Player(
            partial(discriminator, r1=config.r1),
            optax.adam(lambda step: rate(step // turns), b1=0.0, b2=0.99),
        ),
        train.Player(generator, optax.adam(rate, b1=0.0, b2=0.99)),
    )


def learn_grid(config: Config) -> tuple[metrics.ModeCoverage, np.ndarray, np.ndarray]:
    """The same game on 25 Gaussians; returns what was found, and points, generated and real."""
    key_init, key_train, key_data, key_z = jax.random.split(jax.random.key(config.seed), 4)
    rngs = nnx.Rngs(key_init)
    hidden = (128, 128, 128)
    nets = [Mlp(sizes, rngs=rngs) for sizes in ((8, *hidden, 2), (2, *hidden, 1))]
    whole = data.gaussian_grid(key_data, count=20_000, deviation=SPREAD)
    # Halved, so that the points lie within what a fresh network reaches.
    points = {"image": np.asarray(whole["x"]) / 2, "labels": np.asarray(whole["labels"])}
    # Parting narrow modes takes steep slopes, which the penalty must allow.
    settings = replace(
        config,
        steps=config.grid_steps,
        batch_size=256,
        discriminator_steps=1,
        r1=config.r1 / 100,
    )
    model, _ = train.fit_adversarial(
        key_train,
        Gan(*nets, latent=8),
        *players(settings),
        data.batches(points, batch_size=settings.batch_size, seed=config.seed),
        steps=config.grid_steps,
        ema_decay=config.ema_decay,
        log_every=max(config.grid_steps // 3, 1),
    )
    drawn = 2 * train.predict(model.generator, jax.random.normal(key_z, (2000, 8)))
    found = metrics.mode_coverage(drawn, data.grid_modes(), deviation=SPREAD)
    return found, drawn, np.asarray(whole["x"][:2000])
