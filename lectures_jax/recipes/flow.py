"""Normalizing flows of images: histograms for small ones, several scales for larger ones."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, losses, objectives, ops, optim, weights
from lectures_jax.models.flow import Flow
from lectures_jax.nn.parameters import count_parameters
from lectures_jax.recipes.generator import Generator, Kind
from lectures_jax.recipes.settings import fill, require
from lectures_jax.train import fit, predict
from lectures_jax.train.history import Row
from lectures_jax.typing import Batch, Key

DENSE = 6  # dense couplings at the end of a flow of scales
CHUNK = 250  # images drawn by one call of the compiled program


@dataclass(frozen=True)
class Settings:
    """How a flow of images is built and trained."""

    network: Literal["histogram", "multiscale"] | None = None
    """a histogram for each pixel given those before, or couplings on several scales; None:
    histogram for digits, multiscale for files"""
    steps: int | None = None
    """training steps on images; None: 2400 for digits, 12000 for files"""
    batch_size: int | None = None
    """images per step; None: 64 for digits, 32 for files"""
    hidden: int | None = None
    """units or channels of the conditioners; None: 512 of a histogram flow, 48 of a multiscale"""
    dropout: float = 0.7
    """in the conditioner of a histogram flow"""
    learning_rate: float | None = None
    """of Adam, falling as a cosine; None: 0.002 for digits, 0.001 for files"""
    convolution_rate: float = 1e-2
    """of Muon, which moves the kernels of convolutions, falling as a cosine"""
    weight_decay: float = 0.01
    """decoupled, on the kernels of dense layers"""
    ema_decay: float = 0.998
    """of the averaged parameters"""


def with_defaults(settings: Settings, kind: Kind) -> Settings:
    """Returns the settings with those that depend on the data.

    Args:
        settings: as the user chose them.
        kind: of the data set.
    """
    if kind == "digits":
        defaults = Settings("histogram", steps=2400, batch_size=64, learning_rate=2e-3)
    else:
        defaults = Settings("multiscale", steps=12_000, batch_size=32, learning_rate=1e-3)
    names = ("network", "steps", "batch_size", "learning_rate")
    settings = fill(settings, **{name: getattr(defaults, name) for name in names})
    return fill(settings, hidden=512 if settings.network == "histogram" else 48)


def train(
    settings: Settings, splits: data.Splits, out: Path | None = None, *, seed: int = 0
) -> Generator:
    """Trains a flow on `splits.train` that is conditioned on the class.

    Args:
        settings: from `with_defaults`.
        splits: images.
        out: folder for rows, checkpoints and `model.safetensors`; None leaves no files.
        seed: of parameters, order and noise.
    """
    start = time.process_time()
    model, history = train_network(settings, splits, out, seed=seed)
    seconds = time.process_time() - start
    bits = bits_per_dim(model, splits.test, splits.levels)
    draw = partial(sample, model, model_settings(settings, splits))
    return Generator(draw, count_parameters(model), seconds, bits, history, model)


def train_network(
    settings: Settings,
    splits: data.Splits,
    out: Path | None = None,
    *,
    conditional: bool = True,
    seed: int = 0,
) -> tuple[Flow, list[Row]]:
    """Trains the flow alone; returns it and the rows of `train.fit`.

    Args:
        settings: from `with_defaults`.
        splits: images.
        out: folder for rows, checkpoints and `model.safetensors`; None leaves no files.
        conditional: whether the flow is conditioned on the class.
        seed: of parameters, order and noise.
    """
    key_init, key_statistics, key_train = jax.random.split(jax.random.key(seed), 3)
    steps, batch_size = require(settings.steps, "steps"), require(settings.batch_size, "batch_size")
    sizes = model_settings(settings, splits, conditional=conditional)
    flow = weights.build_model("flow", sizes, rngs=nnx.Rngs(key_init))
    if settings.network == "multiscale":
        begin_normalized(key_statistics, flow, splits, conditional=conditional)
    some = {name: value[:256] for name, value in splits.test.items()}
    model, history = fit(
        key_train,
        flow,
        partial(objectives.flow_bits_per_dim, levels=splits.levels, conditional=conditional),
        optimizer(settings),
        data.batches(splits.train, batch_size=batch_size, seed=seed),
        steps=steps,
        out=out,
        ema_decay=settings.ema_decay,
        evaluate=lambda model: {"held_out": bits_per_dim(model, some, splits.levels)},
        evaluate_every=max(steps // 6, 1),
    )
    if out is not None:
        weights.save_model(out / "model.safetensors", model, kind="flow", settings=sizes)
    return model, history


def sample(model: Flow, settings: Mapping[str, Any], key: Key, count: int) -> np.ndarray:
    """Returns images of classes drawn at random, float32 [count, h, w, c] in [0, 1].

    Args:
        model: as `weights.load_model` returns it.
        settings: from the model's file.
        key: of the draw.
        count: images.
    """
    size = min(CHUNK, count)
    parts = [
        _draw(*nnx.split(model), jax.random.fold_in(key, i), None, size, settings["levels"])
        for i in range(math.ceil(count / size))
    ]
    return np.concatenate(parts)[:count]


def draw_codes(key: Key, count: int, settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the normal numbers, and the labels, of which `sample` makes its images.

    Args:
        key: of the draw.
        count: images.
        settings: from the model's file.
    """
    size, classes = min(CHUNK, count), len(settings["classes"])
    codes, labels = [], []
    for i in range(math.ceil(count / size)):
        key_z, key_class = jax.random.split(jax.random.fold_in(key, i))
        codes.append(jax.random.normal(key_z, (size, math.prod(settings["shape"]))))
        labels.append(jax.random.randint(key_class, (size,), 0, max(classes, 1)))
    return {"codes": np.concatenate(codes)[:count], "labels": np.concatenate(labels)[:count]}


@partial(jax.jit, static_argnames=("structure", "count", "levels", "temperature"))
def _draw(
    structure: nnx.GraphDef,
    arrays: Any,
    key: Key,
    labels: jax.Array | None,
    count: int,
    levels: int,
    temperature: float = 1.0,
) -> jax.Array:
    flow = nnx.merge(structure, arrays)
    return ops.quantize(flow.sample(key, count, labels, temperature=temperature), levels=levels)


def sample_classes(
    key: Key, model: Flow, labels: jax.Array, *, levels: int, temperature: float = 1.0
) -> jax.Array:
    """Returns an image of each of the given classes.

    Args:
        key: of the draw.
        model: a flow with classes.
        labels: of the images.
        levels: of a pixel.
        temperature: factor of the normal deviates.
    """
    return _draw(*nnx.split(model), key, labels, len(labels), levels, temperature)


def model_settings(
    settings: Settings, splits: data.Splits, *, conditional: bool = True
) -> dict[str, Any]:
    """Returns what `weights.build_model` needs for a flow of these images.

    Args:
        settings: from `with_defaults`.
        splits: images.
        conditional: whether the flow is conditioned on the class.
    """
    sizes = {
        "network": require(settings.network, "network"),
        "shape": list(splits.train["image"].shape[1:]),
        "levels": splits.levels,
        "classes": list(splits.classes) if conditional else [],
    }
    hidden = require(settings.hidden, "hidden")
    if settings.network == "histogram":
        return {**sizes, "hidden": [hidden], "dropout": settings.dropout}
    return {**sizes, "hidden": hidden, "dense": DENSE}


def begin_normalized(
    key: Key, flow: Flow, splits: data.Splits, *, conditional: bool = True
) -> None:
    """Lets the flow's normalizations, in place, begin with the statistics of training images.

    Args:
        key: of the noise that dequantizes the images.
        flow: changed in place.
        splits: images.
        conditional: whether the flow is conditioned on the class.
    """
    first = {name: jnp.asarray(value[:2000]) for name, value in splits.train.items()}
    x = ops.dequantize(key, first["image"], levels=splits.levels)
    flow.data_dependent_init(x, first["labels"] if conditional else None)


def optimizer(settings: Settings) -> optax.GradientTransformation:
    """Returns Muon for the kernels of convolutions and Adam for all else, rates fall as a cosine.

    On the wide dense layers of a flow Muon would cost more than the rest of a step.

    Args:
        settings: from `with_defaults`.
    """
    steps = require(settings.steps, "steps")
    falling = partial(
        optax.warmup_cosine_decay_schedule, 0, warmup_steps=min(100, steps // 10), decay_steps=steps
    )
    rate = falling(require(settings.learning_rate, "learning_rate"))
    adam = optim.adamw_on_kernels(rate, weight_decay=settings.weight_decay)
    muon = optim.muon_on_kernels(falling(settings.convolution_rate))
    labels = partial(jax.tree.map, lambda parameter: "muon" if parameter.ndim == 4 else "adam")
    parts = optax.partition({"adam": adam, "muon": muon}, labels)
    return optax.chain(optax.clip_by_global_norm(5.0), parts)


def bits_per_dim(model: Flow, examples: Batch, levels: int) -> float:
    """Returns the mean over the images, at most 2000 of them, whose classes are unknown.

    Args:
        model: the flow.
        examples: `image` float32 [n, h, w, c] in [0, 1].
        levels: of a pixel.
    """
    bits = predict(model, examples["image"][:2000], function=_marginal_bits(levels), batch_size=128)
    return float(np.mean(bits))


@cache  # one function for each number of levels: `predict` compiles once for a function
def _marginal_bits(levels: int) -> Callable[[Flow, jax.Array], jax.Array]:
    """Bits per dimension of each image, with fresh noise."""

    def bits(model: Flow, images: jax.Array) -> jax.Array:
        x = ops.dequantize(jax.random.key(0), images, levels=levels)
        return losses.bits_per_dim(-model.log_prob(x), dims=math.prod(x.shape[1:]), levels=levels)

    return bits
