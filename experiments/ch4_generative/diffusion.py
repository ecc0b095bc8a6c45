"""Images from noise by a small conditional U-Net. CPU, 2 min; classifier-Fréchet 3.

By default handwritten digits of 8×8 pixels; `--data idx --root DIR` takes MNIST's format, such as
Fashion-MNIST, `--datan images` folders. The page shows how noise becomes images, how few steps
each sampler needs, the way back from an image to its noise, and guidance towards a class.
"""

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _common import Generator, Kind, parameters, read
from _denoising import (
    CHUNK,
    few_steps,
    generate,
    guidance,
    inversion,
    predictor,
    samples,
    schedule,
    strip,
)
from _judge import NAMES, judge, section
from flax import nnx

from lectures_jax import data, losses, objectives, ops, report, runtime, train
from lectures_jax.models.diffusion import Denoiser
from lectures_jax.report.page import Section, Table

TINY = {"steps": 2, "batch_size": 8, "channels": (8,), "sampling_steps": 2, "samples": 20}
THREADED_CONVOLUTIONS = True  # the maps are small, so the convolutions are XLA's own
STEPS = {"digits": 800, "idx": 3000, "images": 4000}
CHANNELS = {"digits": (32, 64), "idx": (48, 96), "images": (64, 96, 128)}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """what to learn: the built-in digits, four files in MNIST's format, or folders of images"""
    root: Path | None = None
    """folder of the files"""
    steps: int | None = None
    """training steps; None: 800 for digits, 3000 for MNIST's format, 4000 for folders"""
    batch_size: int = 64
    """images per step"""
    channels: tuple[int, ...] | None = None
    """of the network's levels; None: 32, 64 for digits, more for larger images"""
    learning_rate: float = 2e-3
    """highest of Adam's one-cycle schedule"""
    ema_decay: float = 0.998
    """of the averaged parameters that sample"""
    class_dropout: float = 0.15
    """share of the images whose class is not told"""
    schedule_steps: int = 1000
    """levels of noise"""
    sampling_steps: int = 20
    """calls of the network for one image"""
    samples: int | None = None
    """images that are scored; None: as many as the judge asks for, 2000 at most"""
    seed: int = 0
    """of parameters, order, noise and samples"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains, samples in several ways, scores, and writes the report."""
    default, config = config == Config(), filled(config)
    splits = read(config.data, config.root)
    generator = learn(config, splits, out)
    numbers = write_report(config, out, splits, generator)
    if default and numbers["frechet"] > 5:
        raise RuntimeError(f"expected a classifier-Fréchet of 5 on the digits, got {numbers}.")
    return numbers


def learn(config: Config, splits: data.Splits, out: Path | None) -> Generator:
    """Trains the network to tell image from noise, and returns it with its sampler."""
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
            objectives.diffusion_velocity,
            alpha_bar=schedule(config),
            class_dropout=config.class_dropout,
        ),
        optax.adam(optax.cosine_onecycle_schedule(config.steps, config.learning_rate)),
        data.batches(splits.train, batch_size=config.batch_size, seed=config.seed),
        steps=config.steps,
        out=out,
        ema_decay=config.ema_decay,
    )
    seconds = time.process_time() - start
    sample = partial(generate, config, model, splits, ops.sample_dpm, config.sampling_steps)
    return Generator(
        sample, parameters(model), seconds, bits_per_dim(config, model, splits), history, model
    )


def filled(config: Config) -> Config:
    """The configuration with the defaults of its data."""
    return replace(
        config,
        steps=config.steps or STEPS[config.data],
        channels=config.channels or CHANNELS[config.data],
    )


def bits_per_dim(config: Config, model: Denoiser, splits: data.Splits) -> float:
    """Variational bound of some test images, whose classes are told, in bits for each pixel."""
    count = min(CHUNK, len(splits.test["labels"]))
    x = 2 * jnp.asarray(splits.test["image"][:count]) - 1
    # Steps that are even in the log-SNR, from where the noise is a sixth of a level on.
    first = 2 * np.log(splits.levels) + 2
    alpha_bar = jax.nn.sigmoid(jnp.linspace(first, -10, config.schedule_steps))
    terms = losses.variational_bound(
        jax.random.key(config.seed),
        predictor(model, jnp.asarray(splits.test["labels"][:count])),
        x,
        alpha_bar,
        levels=splits.levels,
        draws=min(100, config.schedule_steps - 1),
    )
    return float(jnp.mean(sum(terms))) / (x[0].size * np.log(2))


def ode_bits_per_dim(config: Config, model: Denoiser, splits: data.Splits) -> float:
    """The deterministic sampler's density of some dequantized test images, in the same unit."""
    count = min(64, len(splits.test["labels"]))
    key_noise, key_probes = jax.random.split(jax.random.key(config.seed))
    images = jnp.asarray(splits.test["image"][:count])
    log_prob = losses.ode_log_prob(
        key_probes,
        predictor(model, jnp.asarray(splits.test["labels"][:count])),
        2 * ops.dequantize(key_noise, images, levels=splits.levels) - 1,
        schedule(config)[:-1],  # at the last ratio, 0, the noise cannot be told from the image
        steps=config.sampling_steps,
        probes=4,
    )
    pixels = images[0].size
    nll = -log_prob - pixels * np.log(2)  # pixels were stretched by 2
    return float(jnp.mean(losses.bits_per_dim(nll, dims=pixels, levels=splits.levels)))


def likelihood(splits: data.Splits, bound: float, ode: float) -> Section:
    """Both likelihoods beside what knowing nothing costs."""
    rows = [
        ["variational bound", bound],
        ["flow of the deterministic sampler, dequantized", ode],
        [f"even density, log2 {splits.levels}", float(np.log2(splits.levels))],
    ]
    return Section(
        "Likelihood",
        "Bits per pixel of test images whose class is told; fewer are better. The first bounds "
        "the cost of the levels, the second that of pixels moved evenly within their levels. "
        "The network was trained for samples, not for either.",
        table=Table(["measure", "bits per dimension"], rows),
    )


def write_report(
    config: Config, out: Path, splits: data.Splits, generator: Generator
) -> dict[str, float]:
    """Writes `report.html`; returns the scores."""
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    model, critic = generator.model, judge(config.data, config.root)
    count = config.samples or min(critic.count, 2000)
    key = jax.random.key(config.seed + 1)
    pictures = generator.sample(key, count)
    scores = critic.scores(pictures)
    named = {
        "bits_per_dim": generator.bits_per_dim,
        "ode_bits_per_dim": ode_bits_per_dim(config, model, splits),
        "parameters": generator.parameters,
    }
    curves, by_steps = few_steps(config, model, splits, critic, figures, min(count, 2 * CHUNK))
    report.page(
        out / "report.html",
        title=f"Diffusion of {config.root.name if config.root else 'digits'}",
        summary=f"Images made from noise in {config.sampling_steps} calls of a network that "
        f"learnt to take noise away.",
        numbers={
            NAMES["frechet"]: scores["frechet"],
            "bits/dim, bound": named["bits_per_dim"],
            "bits/dim, ODE": named["ode_bits_per_dim"],
            "parameters": generator.parameters,
        },
        sections=[
            report.training(generator.history, figures, losses=[["loss"]], scores=[["grad_norm"]]),
            samples(splits, pictures),
            section(scores, critic.floors),
            strip(config, model, splits, key),
            curves,
            by_steps,
            inversion(config, model, splits),
            guidance(config, model, splits, critic, key),
            likelihood(splits, named["bits_per_dim"], named["ode_bits_per_dim"]),
            report.timing(generator.history, batch_size=config.batch_size),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return {**scores, **{name: float(value) for name, value in named.items()}}
