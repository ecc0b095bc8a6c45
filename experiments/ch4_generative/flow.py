"""Normalizing flows of two moons and of images. CPU, 2 min; bits/dim of the digits below 2.10.

Two moons: a flow of affine couplings and one of splines, against the true density. Digits: an
autoregressive flow that moves each pixel by the histogram of its levels, given the pixels before
and the class, against the best Gaussian mixture. `--data idx --root DIR` takes larger images and
a multiscale flow. Nothing is chosen by the test images.
"""

import math
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import _judge
import jax
import jax.numpy as jnp
import numpy as np
import optax
from _common import Generator, Kind, parameters, read, sheet
from _flow_moons import SIZES, in_parts, learn_moons, moons_section
from _mixture import Mixture, fit_mixture
from flax import nnx

from lectures_jax import data, losses, objectives, ops, report, runtime, train
from lectures_jax.models.flow import Flow, adapt
from lectures_jax.models.image_flow import histogram_flow, multiscale_flow
from lectures_jax.report.page import Figure, Section, Table

TINY = {
    "steps": 2,
    "batch_size": 4,
    "hidden": 8,
    "moon_steps": 2,
    "moon_batch": 8,
    "test_points": 200,
    "judge_steps": 2,
    "components": (2,),
}

WIDTH, DENSE = 48, 6  # of a flow of scales: channels, and dense couplings at its end


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """images: the built-in digits, files in MNIST's format, or folders"""
    root: Path | None = None
    """folder of the files"""
    steps: int | None = None
    """training steps on images; None: 2400 for digits, 6000 for files"""
    batch_size: int | None = None
    """images per step; None: 64 for digits, 32 for files"""
    hidden: int | None = None
    """units or channels of the conditioners; None: 512 for digits, 48 for files"""
    dropout: float = 0.7
    """in the digits' conditioner"""
    learning_rate: float | None = None
    """of Adam, falling as a cosine; None: 0.002 for digits, 0.001 for files"""
    weight_decay: float = 0.01
    """decoupled, on kernels only"""
    ema_decay: float = 0.998
    """of the averaged parameters"""
    components: tuple[int, ...] = (6, 10, 14)
    """numbers of Gaussians to try"""
    moon_steps: int = 3000
    """training steps on two moons"""
    moon_batch: int = 256
    """points per step"""
    test_points: int = 50_000
    """fresh points of the two moons"""
    judge_steps: int | None = None
    """of the network that scores the samples; None: what `_judge.judge` takes"""
    seed: int = 0
    """of parameters, order and noise"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Both parts, one page."""
    default = config == Config(seed=config.seed)
    config = filled(config)
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    key_moons, key_mixture = jax.random.split(jax.random.key(config.seed))
    found = {
        kind: learn_moons(
            jax.random.fold_in(key_moons, i),
            kind,
            steps=config.moon_steps,
            batch_size=config.moon_batch,
            points=config.test_points,
        )
        for i, kind in enumerate(SIZES)
    }
    splits = read(config.data, config.root)
    generator = learn(config, splits, out)
    mixture = None
    if config.data == "digits":
        mixture = fit_mixture(
            key_mixture, splits.train["image"], levels=splits.levels, components=config.components
        )
    numbers = {f"{kind}_excess_nats": one.excess for kind, one in found.items()}
    numbers["bits_per_dim"] = generator.bits_per_dim
    if mixture:
        numbers["mixture_bits_per_dim"] = mixture.bits_per_dim(key_mixture, splits.test["image"])
    judge = _judge.judge(config.data, config.root, steps=config.judge_steps)
    pictures = generator.sample(jax.random.key(config.seed + 1), judge.count)
    scores = judge.scores(pictures)
    numbers |= {name: scores[name] for name in ("frechet", "neighbor_ratio", "least_class")}
    sections = [
        moons_section(found, figures),
        pictures_section(splits, generator, mixture, numbers),
        _judge.section(scores, judge.floors),
        report.training(generator.history, figures, losses=[["loss"]], scores=[["held_out"]]),
        report.timing(generator.history, batch_size=config.batch_size),
        report.configuration(asdict(config)),
    ]
    write_page(config, out, numbers, sections)
    if default and config.data == "digits":
        check(numbers)
    return numbers


def filled(config: Config) -> Config:
    """The defaults that depend on the data."""
    small = config.data == "digits"
    return replace(
        config,
        steps=config.steps or (2400 if small else 6000),
        batch_size=config.batch_size or (64 if small else 32),
        hidden=config.hidden or (512 if small else WIDTH),
        learning_rate=config.learning_rate or (2e-3 if small else 1e-3),
    )


def check(numbers: dict[str, float]) -> None:
    """Refuses a result that is worse than other seeds give."""
    good = (
        numbers["affine_excess_nats"] < 0.03
        and numbers["spline_excess_nats"] < 0.015
        and numbers["bits_per_dim"] < min(2.1, numbers["mixture_bits_per_dim"])
    )
    if not good:
        raise RuntimeError(
            "expected 0.03 and 0.015 nats above the entropy, and fewer bits per dimension than "
            f"2.1 and the mixture, got {numbers}."
        )


def learn(config: Config, splits: data.Splits, out: Path) -> Generator:
    """Trains a flow on `splits.train`."""
    config = filled(config)
    key_init, key_adapt, key_train = jax.random.split(jax.random.key(config.seed), 3)
    start = time.process_time()
    flow = build(config, splits, key_init, key_adapt)
    held = {name: value[:256] for name, value in splits.test.items()}
    model, history = train.fit(
        key_train,
        flow,
        partial(objectives.flow_bits_per_dim, levels=splits.levels, conditional=True),
        optimizer(config),
        data.batches(splits.train, batch_size=config.batch_size, seed=config.seed),
        steps=config.steps,
        out=out,
        ema_decay=config.ema_decay,
        evaluate=lambda model: {"held_out": bits_per_dim(model, held, splits.levels)},
        evaluate_every=max(config.steps // 6, 1),
    )
    seconds = time.process_time() - start

    def sample(key: jax.Array, count: int) -> np.ndarray:
        parts = [
            draw(model, jax.random.fold_in(key, i), 250, splits.levels)
            for i in range(math.ceil(count / 250))
        ]
        return np.concatenate(parts)[:count]

    found = bits_per_dim(model, splits.test, splits.levels)
    return Generator(sample, parameters(model), seconds, found, history, model)


def build(config: Config, splits: data.Splits, key: jax.Array, key_adapt: jax.Array) -> Flow:
    """Histograms for small images, scales for larger ones."""
    shape = splits.train["image"].shape[1:]
    classes, rngs = len(splits.classes), nnx.Rngs(key)
    if config.data == "digits":
        return histogram_flow(
            shape,
            levels=splits.levels,
            hidden=(config.hidden,),
            classes=classes,
            dropout=config.dropout,
            rngs=rngs,
        )
    flow = multiscale_flow(shape, hidden=config.hidden, dense=DENSE, classes=classes, rngs=rngs)
    first = {name: jnp.asarray(value[:2000]) for name, value in splits.train.items()}
    x = ops.dequantize(key_adapt, first["image"], levels=splits.levels)
    adapt(flow, x, first["labels"])
    return flow


def optimizer(config: Config) -> optax.GradientTransformation:
    """Adam with decoupled decay on the kernels and a rate that falls as a cosine."""
    warmup = min(100, config.steps // 10)
    rate = optax.warmup_cosine_decay_schedule(0, config.learning_rate, warmup, config.steps)
    kernels = partial(jax.tree.map, lambda parameter: parameter.ndim > 1)
    adam = optax.adamw(rate, weight_decay=config.weight_decay, mask=kernels)
    return optax.chain(optax.clip_by_global_norm(5.0), adam)


@partial(nnx.jit, static_argnames="levels")
def marginal_bits(model: Flow, key: jax.Array, images: jax.Array, levels: int) -> jax.Array:
    """Bits per dimension of each image, its class unknown, with fresh noise."""
    x = ops.dequantize(key, images, levels=levels)
    return losses.bits_per_dim(-model.log_prob(x), dims=math.prod(x.shape[1:]), levels=levels)


def bits_per_dim(model: Flow, examples: dict[str, np.ndarray], levels: int) -> float:
    """Mean over the images, at most 2000 of them."""
    function = partial(marginal_bits, model, jax.random.key(0), levels=levels)
    return float(np.mean(in_parts(function, examples["image"][:2000], size=128)))


@partial(nnx.jit, static_argnums=(2, 3))
def draw(model: Flow, key: jax.Array, count: int, levels: int) -> jax.Array:
    """Images of classes drawn at random."""
    return ops.quantize(model.sample(key, count), levels=levels)


@partial(nnx.jit, static_argnums=(2, 3))
def draw_of(model: Flow, labels: jax.Array, levels: int, temperature: float) -> jax.Array:
    """Images of the given classes."""
    x = model.sample(jax.random.key(5), len(labels), labels, temperature=temperature)
    return ops.quantize(x, levels=levels)


def pictures_section(
    splits: data.Splits, generator: Generator, mixture: Mixture | None, numbers: dict[str, float]
) -> Section:
    """Samples by class, beside real images and the mixture's."""
    labels = np.repeat(np.arange(len(splits.classes)), 10)
    drawn = {
        heat: np.asarray(draw_of(generator.model, jnp.asarray(labels), splits.levels, heat))
        for heat in ((1.0,) if mixture else (1.0, 0.7))
    }
    real = np.concatenate(
        [splits.train["image"][splits.train["labels"] == label][:10] for label in np.unique(labels)]
    )
    figures = [
        *(Figure(sheet(x), f"Samples by class, temperature {heat}.") for heat, x in drawn.items()),
        Figure(sheet(real), "Real images, likewise."),
    ]
    rows = [("flow", generator.bits_per_dim, generator.parameters)]
    if mixture:
        figures.append(Figure(sheet(mixture.sample(0, 100)), "Samples of the Gaussian mixture."))
        k, d = mixture.components, math.prod(mixture.shape)
        size = k * (1 + d + d * (d + 1) // 2) - 1
        rows.append(("Gaussian mixture", numbers["mixture_bits_per_dim"], size))
    rows.append((f"even density, log2 {splits.levels}", math.log2(splits.levels), 0))
    text = (
        "Bits per pixel of images that were not learnt from; fewer are better. Both are "
        "densities of pixels moved evenly within their levels, and bounds on the bits of the "
        "levels themselves. The flow is not told the class of a test image: it gives the mean "
        "over all."
    )
    if mixture:
        text += (
            f" The mixture has {mixture.components} components in the space of the logits, chosen, "
            "with its ridge, on a fifth of the training images."
        )
    header = ("model", "bits per dimension", "parameters")
    return Section("Images", text, figures=figures, table=Table(header, rows))


def write_page(config: Config, out: Path, numbers: dict[str, float], sections: list) -> None:
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
