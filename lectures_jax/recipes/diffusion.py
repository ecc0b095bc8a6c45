"""The diffusion model: a small conditional U-Net that predicts noise or velocity, and samplers."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.tree_util import Partial

from lectures_jax import data, losses, objectives, ops, optim, weights
from lectures_jax.models.diffusion import Denoiser
from lectures_jax.nn.parameters import count_parameters
from lectures_jax.recipes.generator import Generator, Kind, to_unit_range
from lectures_jax.recipes.settings import fill, require
from lectures_jax.train import fit
from lectures_jax.typing import Key

CHUNK = 256  # images sampled by one call of the compiled program
STEPS = {"digits": 800, "idx": 2500, "images": 4000}
CHANNELS = {"digits": (32, 64), "idx": (48, 96), "images": (64, 96, 128)}
Prediction = Literal["noise", "velocity"]
OBJECTIVES: dict[Prediction, Any] = {
    "noise": partial(objectives.diffusion_noise, gamma=5.0),
    "velocity": objectives.diffusion_velocity,
}


@dataclass(frozen=True)
class Settings:
    """How a diffusion model is built, trained and sampled from."""

    steps: int | None = None
    """training steps; None: 800 for digits, 2500 for MNIST's format, 4000 for folders"""
    batch_size: int = 64
    """images per step"""
    channels: tuple[int, ...] | None = None
    """of the network's levels; None: 32, 64 for digits, more for larger images"""
    patch: int | None = None
    """side of the squares of pixels that become one cell; None: 1 for digits, 2 for files"""
    prediction: Prediction = "noise"
    """of the network: the noise, the course's loss, with min-SNR weights; or the velocity"""
    learning_rate: float = 5e-3
    """highest of Muon's one-cycle schedule, reached after a tenth of the steps"""
    ema_decay: float = 0.998
    """of the averaged parameters that sample"""
    class_dropout: float = 0.15
    """share of the images whose class is withheld"""
    schedule_steps: int = 1000
    """levels of noise"""
    sampling_steps: int = 20
    """calls of the network for one image"""


def with_defaults(settings: Settings, kind: Kind) -> Settings:
    """Returns the settings with those that depend on the data.

    Args:
        settings: as the user chose them.
        kind: of the data set.
    """
    patch = 1 if kind == "digits" else 2
    return fill(settings, steps=STEPS[kind], channels=CHANNELS[kind], patch=patch)


def train(
    settings: Settings, splits: data.Splits, out: Path | None = None, *, seed: int = 0
) -> Generator:
    """Trains the network to part image and noise; its samples have the training set's classes.

    Args:
        settings: from `with_defaults`.
        splits: images.
        out: folder for rows, checkpoints and `model.safetensors`; None leaves no files.
        seed: of parameters, order and noise.
    """
    start = time.process_time()
    model, history, sizes = train_network(settings, splits, out, seed=seed)
    seconds = time.process_time() - start
    draw = partial(generate, model, sizes, mixed_labels(splits))
    bits = bits_per_dim(settings, model, splits, seed=seed)
    return Generator(draw, count_parameters(model), seconds, bits, history, model)


def train_network(
    settings: Settings, splits: data.Splits, out: Path | None, *, seed: int
) -> tuple[Denoiser, list, dict[str, Any]]:
    """Trains the network alone, and returns it with the rows of the training and its settings.

    Args:
        settings: from `with_defaults`.
        splits: images.
        out: folder for rows, checkpoints and `model.safetensors`; None leaves no files.
        seed: of parameters, order and noise.
    """
    key_init, key_train = jax.random.split(jax.random.key(seed))
    steps, sizes = require(settings.steps, "steps"), model_settings(settings, splits)
    rate = optax.cosine_onecycle_schedule(steps, settings.learning_rate, pct_start=0.1)
    model, history = fit(
        key_train,
        weights.build_model("diffusion", sizes, rngs=nnx.Rngs(key_init)),
        partial(
            OBJECTIVES[settings.prediction],
            alpha_bar=signal_ratios(settings.schedule_steps, prediction=settings.prediction),
            class_dropout=settings.class_dropout,
        ),
        optim.muon_on_kernels(rate),
        data.batches(splits.train, batch_size=settings.batch_size, seed=seed),
        steps=steps,
        out=out,
        ema_decay=settings.ema_decay,
    )
    if out is not None:
        weights.save_model(out / "model.safetensors", model, kind="diffusion", settings=sizes)
    return model, history, sizes


def sample(model: Denoiser, settings: Mapping[str, Any], key: Key, count: int) -> np.ndarray:
    """Returns images of all classes in turn, float32 [count, h, w, c] in [0, 1].

    Args:
        model: as `weights.load_model` returns it.
        settings: from the model's file.
        key: of the noise.
        count: images.
    """
    return generate(model, settings, np.arange(len(settings["classes"])), key, count)


def model_settings(settings: Settings, splits: data.Splits) -> dict[str, Any]:
    """Returns what `weights.build_model` needs for a denoiser of these images, and for sampling.

    Args:
        settings: from `with_defaults`.
        splits: images.
    """
    return {
        "shape": list(splits.train["image"].shape[1:]),
        "classes": list(splits.classes),
        "channels": list(require(settings.channels, "channels")),
        "patch": require(settings.patch, "patch"),
        "prediction": settings.prediction,
        "schedule_steps": settings.schedule_steps,
        "sampling_steps": settings.sampling_steps,
    }


def mixed_labels(splits: data.Splits) -> np.ndarray:
    """Returns the labels of the training images in random order.

    Args:
        splits: images.
    """
    labels = splits.train["labels"]
    return labels[np.random.default_rng(0).permutation(len(labels))]


def signal_ratios(steps: int, *, prediction: Prediction = "noise") -> jax.Array:
    """Returns ᾱ of so many levels of noise, by the cosine schedule.

    At the last level, where sampling starts, it is 0 for velocities. Of noise alone the predicted
    noise does not tell the image, so that for noise it stays about 5e-4.

    Args:
        steps: levels.
        prediction: of the network.
    """
    if prediction == "velocity":
        return ops.zero_terminal_snr(ops.cosine_schedule(steps))
    return ops.cosine_schedule(steps, max_beta=min(50 / steps, 0.999))


def predictor(
    model: Denoiser, labels: jax.Array | None, *, prediction: Prediction = "noise"
) -> Any:
    """Returns what samplers call: a `Partial` of the network's noise, or of image and noise.

    Args:
        model: the network.
        labels: class of each image, the number of classes where it is withheld; None: no classes.
        prediction: of the network.
    """
    network = Partial(_call, model, labels)
    return ops.from_velocity_prediction(network) if prediction == "velocity" else network


def _call(
    model: Denoiser, labels: jax.Array | None, x_t: jax.Array, alpha_bar: jax.Array
) -> jax.Array:
    return model(x_t, jnp.broadcast_to(alpha_bar, x_t.shape[0]), labels)


def generate(
    model: Denoiser,
    settings: Mapping[str, Any],
    labels: Sequence[int] | np.ndarray,
    key: Key,
    count: int,
    *,
    sampler: Any = None,
    steps: int | None = None,
) -> np.ndarray:
    """Returns images of the labels, which are repeated as often as needed.

    Args:
        model: the network.
        settings: of `model_settings`.
        labels: classes in the order of the images.
        key: of the noise.
        count: images.
        sampler: as those of `ops`, called with `steps` and `first`; None: DPM++(2M).
        steps: of the sampler; None: the settings'.
    """
    shape = (CHUNK, *settings["shape"])
    labels = np.resize(labels, count)
    steps = settings["sampling_steps"] if steps is None else steps
    prediction = settings.get("prediction", "velocity")  # as in files that do not say
    alpha_bar = signal_ratios(settings["schedule_steps"], prediction=prediction)
    program = _compiled(sampler or ops.sample_dpm, shape, steps)
    parts = []
    for start in range(0, count, CHUNK):
        wanted = jnp.asarray(np.resize(labels[start : start + CHUNK], CHUNK))
        x = program(key, predictor(model, wanted, prediction=prediction), alpha_bar, start)
        parts.append(to_unit_range(x)[: count - start])
    return np.concatenate(parts)


@cache
def _compiled(sampler: Any, shape: tuple[int, ...], steps: int) -> Any:
    """A sampler as one program."""

    def call(key: jax.Array, predict: Partial, alpha_bar: jax.Array, first: Any) -> jax.Array:
        return sampler(key, predict, shape, alpha_bar, steps=steps, first=first)

    return jax.jit(call)


def bits_per_dim(
    settings: Settings, model: Denoiser, splits: data.Splits, *, seed: int = 0
) -> float:
    """Returns the variational bound of some test images of known class, in bits for each pixel.

    Args:
        settings: of the training.
        model: the network.
        splits: images.
        seed: of the noise.
    """
    count = min(CHUNK, len(splits.test["labels"]))
    x = 2 * jnp.asarray(splits.test["image"][:count]) - 1
    labels = jnp.asarray(splits.test["labels"][:count])
    # Steps that are even in the log-SNR, from where the noise is a sixth of a level on.
    first = 2 * np.log(splits.levels) + 2
    last = -7.6 if settings.prediction == "noise" else -10  # as in the training
    alpha_bar = jax.nn.sigmoid(jnp.linspace(first, last, settings.schedule_steps))
    terms = ops.variational_bound(
        jax.random.key(seed),
        predictor(model, labels, prediction=settings.prediction),
        x,
        alpha_bar,
        levels=splits.levels,
        draws=min(100, settings.schedule_steps - 1),
    )
    return float(jnp.mean(sum(terms))) / (x[0].size * np.log(2))


def ode_bits_per_dim(
    settings: Settings, model: Denoiser, splits: data.Splits, *, seed: int = 0
) -> float:
    """Returns the density of dequantized test images by the sampler's ODE, in bits per pixel.

    Args:
        settings: of the training.
        model: the network.
        splits: images.
        seed: of the noise.
    """
    count = min(64, len(splits.test["labels"]))
    key_noise, key_probes = jax.random.split(jax.random.key(seed))
    images = jnp.asarray(splits.test["image"][:count])
    labels = jnp.asarray(splits.test["labels"][:count])
    log_prob = ops.ode_log_prob(
        key_probes,
        predictor(model, labels, prediction=settings.prediction),
        2 * ops.dequantize(key_noise, images, levels=splits.levels) - 1,
        # Without the last ratio, which may be 0, where no image can be computed from its noise.
        signal_ratios(settings.schedule_steps, prediction=settings.prediction)[:-1],
        steps=settings.sampling_steps,
        probes=4,
    )
    pixels = images[0].size
    nll = -log_prob - pixels * np.log(2)  # pixels were stretched by 2
    return float(jnp.mean(losses.bits_per_dim(nll, dims=pixels, levels=splits.levels)))
