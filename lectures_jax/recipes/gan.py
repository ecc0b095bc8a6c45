"""The generative adversarial network: a DCGAN with any of the course's losses."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any, Literal

import jax
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, losses, objectives, weights
from lectures_jax.models.gan import Gan
from lectures_jax.nn.parameters import count_parameters
from lectures_jax.recipes.generator import Generator, Kind
from lectures_jax.recipes.optimizers import adam
from lectures_jax.recipes.settings import fill, require
from lectures_jax.train import Player, fit_adversarial, predict
from lectures_jax.typing import Key, Objective

Loss = Literal["non-saturating", "minimax", "hinge", "wasserstein", "relativistic"]
"""A key of `LOSSES`."""

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
"""Objectives of the discriminator and of the generator."""


@dataclass(frozen=True)
class Settings:
    """How a GAN is built and trained."""

    loss: Loss = "non-saturating"
    """of both players; wasserstein adds the penalty that holds the discriminator's gradient norm
    near 1"""
    upsampling: Literal["subpixel", "resize", "transposed"] = "subpixel"
    """how the generator enlarges; transposed is DCGAN's, and slow on CPU"""
    spectral: bool = False
    """spectral normalization of the discriminator"""
    r1: float = 0.1
    """γ of the penalty on the discriminator's gradient at real images"""
    r2: float = 0.0
    """γ of the same penalty at generated images"""
    discriminator_steps: int = 1
    """of the discriminator for each of the generator"""
    steps: int | None = None
    """of the generator; None: 1500 for digits, 4000 for files"""
    batch_size: int = 64
    """real images per step of the discriminator"""
    latent: int = 32
    """numbers that an image is drawn from"""
    channels: int = 16
    """of the generator's largest map; smaller maps have more"""
    learning_rate: float = 3e-3
    """of Adam, both players; falls to 0 in the last half"""
    ema_decay: float = 0.995
    """of the averaged generator that draws the samples"""


def with_defaults(settings: Settings, kind: Kind) -> Settings:
    """Returns the settings with those that depend on the data.

    Args:
        settings: as the user chose them.
        kind: of the data set.
    """
    return fill(settings, steps=1500 if kind == "digits" else 4000)


def train(
    settings: Settings, splits: data.Splits, out: Path | None = None, *, seed: int = 0
) -> Generator:
    """Trains a generator and a discriminator on `splits.train`.

    Args:
        settings: from `with_defaults`.
        splits: images.
        out: folder for rows, checkpoints and `model.safetensors`; None leaves no files.
        seed: of parameters, order and noise.
    """
    key_init, key_train = jax.random.split(jax.random.key(seed))
    start = process_time()
    steps, sizes = require(settings.steps, "steps"), model_settings(settings, splits)
    batch_size = settings.batch_size * settings.discriminator_steps
    model, history = fit_adversarial(
        key_train,
        weights.build_model("gan", sizes, rngs=nnx.Rngs(key_init)),
        *players(settings),
        data.batches(splits.train, batch_size=batch_size, seed=seed),
        steps=steps,
        out=out,
        discriminator_steps=settings.discriminator_steps,
        ema_decay=settings.ema_decay,
        log_every=max(steps // 30, 1),
        save_every=max(steps // 3, 1),
    )
    seconds = process_time() - start
    if out is not None:
        weights.save_model(out / "model.safetensors", model, kind="gan", settings=sizes)
    draw = partial(sample, model, sizes)
    return Generator(draw, count_parameters(model.generator), seconds, None, history, model)


def sample(model: Gan, settings: Mapping[str, Any], key: Key, count: int) -> np.ndarray:
    """Returns images of the generator, float32 [count, h, w, c] in [0, 1].

    Args:
        model: as `weights.load_model` returns it.
        settings: from the model's file.
        key: of the draw.
        count: images.
    """
    return predict(model.generator, jax.random.normal(key, (count, settings["latent"])))


def model_settings(settings: Settings, splits: data.Splits) -> dict[str, Any]:
    """Returns what `weights.build_model` needs for a GAN of these images.

    Args:
        settings: of the training.
        splits: images.
    """
    shape = splits.train["image"].shape[1:]
    channels, size = [settings.channels], min(shape[:2])
    while (size > 8 and not size % 2) or len(channels) < 2:
        channels, size = [min(2 * channels[0], 128), *channels], size // 2
    return {
        "shape": list(shape),
        "latent": settings.latent,
        "channels": channels,
        "upsampling": settings.upsampling,
        "spectral": settings.spectral,
    }


def players(settings: Settings) -> tuple[Player, Player]:
    """Returns the discriminator and the generator, with their losses and optimizers.

    Args:
        settings: from `with_defaults`.
    """
    discriminator, generator = LOSSES[settings.loss]
    steps = require(settings.steps, "steps")
    half = steps // 2
    rate = optax.join_schedules(
        [
            optax.constant_schedule(settings.learning_rate),
            optax.linear_schedule(settings.learning_rate, 0, steps - half),
        ],
        [half],
    )

    def discriminator_rate(step: Any) -> Any:
        return rate(step // settings.discriminator_steps)

    return (
        Player(
            partial(discriminator, r1=settings.r1, r2=settings.r2),
            adam(discriminator_rate, b1=0.0, b2=0.99),
        ),
        Player(generator, adam(rate, b1=0.0, b2=0.99)),
    )
