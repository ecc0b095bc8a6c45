"""Pictures from noise by a small conditional U-Net. CPU, 2 min; classifier-Fréchet 3.

By default handwritten digits of 8×8 pixels; `--data idx --root DIR` takes MNIST's format, such as
Fashion-MNIST, `--data images` folders. The page shows how noise becomes pictures, how few steps each
sampler needs, the way back from a picture to its noise, and guidance towards a class.
"""

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _common import Generator, Kind, read
from _judge import batches, judge, section
from flax import nnx
from jax.tree_util import Partial

from lectures_jax import data, losses, objectives, ops, report, train
from lectures_jax.models.diffusion import Denoiser
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import MUTED, plot

TINY = {"steps": 2, "batch_size": 8, "channels": (8,), "sampling_steps": 2, "samples": 20}
CHUNK = 256  # pictures sampled by one call of the compiled program
STEPS = {"digits": 1200, "idx": 3000, "images": 4000}
CHANNELS = {"digits": (32, 64), "idx": (48, 96), "images": (64, 96, 128)}
SAMPLERS = {
    "DDIM": ops.sample_diffusion,
    "DDPM": partial(ops.sample_diffusion, eta=1.0),
    "fresh noise": partial(ops.sample_diffusion, fresh_noise=True),
    "Heun": ops.sample_heun,
    "DPM++(2M)": ops.sample_dpm,
}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """what to learn: the built-in digits, four files in MNIST's format, or folders of pictures"""
    root: Path | None = None
    """folder of the files"""
    steps: int | None = None
    """training steps; None: 1200 for digits, 3000 for MNIST's format, 4000 for folders"""
    batch_size: int = 128
    """pictures per step"""
    channels: tuple[int, ...] | None = None
    """of the network's levels; None: 32, 64 for digits, more for larger pictures"""
    learning_rate: float = 2e-3
    """highest of Adam's one-cycle schedule"""
    ema_decay: float = 0.998
    """of the averaged parameters that sample"""
    class_dropout: float = 0.15
    """share of the pictures whose class is not told"""
    schedule_steps: int = 1000
    """levels of noise"""
    sampling_steps: int = 20
    """calls of the network for one picture"""
    samples: int | None = None
    """pictures that are scored; None: as many as the judge asks for"""
    seed: int = 0
    """of parameters, order, noise and samples"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains, samples in several ways, scores, and writes the report."""
    default = config == Config()
    splits = read(config.data, config.root)
    generator = learn(config, splits, out)
    numbers = write_report(config, out, splits, generator)
    if default and numbers["frechet"] > 5:
        raise RuntimeError(f"expected a classifier-Fréchet of 5 on the digits, got {numbers}.")
    return numbers


def learn(config: Config, splits: data.Splits, out: Path | None) -> Generator:
    """Trains the network to tell picture from noise, and returns it with its sampler."""
    config = filled(config)
    start = time.process_time()
    key_init, key_train = jax.random.split(jax.random.key(config.seed))
    images = splits.train["image"]
    model = Denoiser(
        channels=config.channels,
        inputs=images.shape[-1],
        num_classes=len(splits.classes),
        patch=1 if config.data == "digits" else 2,
        rngs=nnx.Rngs(key_init),
    )
    model, history = train.fit(
        key_train,
        model,
        partial(
            objectives.predict_velocity,
            alpha_bar=schedule(config),
            class_dropout=config.class_dropout,
        ),
        optax.adam(optax.cosine_onecycle_schedule(config.steps, config.learning_rate)),
        batches(splits.train, batch_size=min(config.batch_size, len(images)), seed=config.seed),
        steps=config.steps,
        out=out,
        ema_decay=config.ema_decay,
    )
    seconds = time.process_time() - start
    sample = partial(generate, config, model, splits, ops.sample_dpm, config.sampling_steps)
    parameters = sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))
    return Generator(
        sample, parameters, seconds, bits_per_dim(config, model, splits), history, model
    )


def filled(config: Config) -> Config:
    """The configuration with the defaults of its data."""
    return replace(
        config,
        steps=config.steps or STEPS[config.data],
        channels=config.channels or CHANNELS[config.data],
    )


def schedule(config: Config) -> jax.Array:
    """Signal ratios; nothing is left at the last step, so that sampling starts where training ends."""
    return ops.zero_terminal_snr(ops.cosine_schedule(config.schedule_steps))


def predictor(model: Denoiser, labels: jax.Array) -> Partial:
    """What samplers ask: the network's velocity, as picture and noise."""
    return ops.predictor_of_velocity(Partial(answer, model, labels))


def answer(model: Denoiser, labels: jax.Array, x_t: jax.Array, alpha_bar: jax.Array) -> jax.Array:
    """The network's answer at one level of noise."""
    return model(x_t, jnp.broadcast_to(alpha_bar, len(x_t)), labels)


def generate(config, model, splits, sampler, steps: int, key: jax.Array, count: int) -> np.ndarray:
    """Pictures of the classes that the training pictures have, in the same shares."""
    shape = (CHUNK, *splits.train["image"].shape[1:])
    known = splits.train["labels"]
    labels = np.resize(known[np.random.default_rng(0).permutation(len(known))], count)
    parts = []
    for start in range(0, count, CHUNK):
        wanted = jnp.asarray(np.resize(labels[start : start + CHUNK], CHUNK))
        predict = predictor(model, wanted)
        x = sampler(key, predict, shape, schedule(config), steps=steps, first=start)
        parts.append(to_pixels(x)[: count - start])
    return np.concatenate(parts)


def to_pixels(x: jax.Array) -> np.ndarray:
    """From [-1, 1] to [0, 1]."""
    return np.clip((np.asarray(x, np.float32) + 1) / 2, 0, 1)


def bits_per_dim(config: Config, model: Denoiser, splits: data.Splits) -> float | None:
    return None
