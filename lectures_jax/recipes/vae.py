"""The variational autoencoder, and distributions of its codes to draw images from."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, losses, objectives, ops, weights
from lectures_jax.models.autoencoder import DenseDecoder, dense_encoder
from lectures_jax.models.vae import Vae
from lectures_jax.nn.parameters import count_parameters
from lectures_jax.recipes.generator import Generator, Kind
from lectures_jax.recipes.mixture import fit_code_mixture
from lectures_jax.recipes.optimizers import adam
from lectures_jax.recipes.settings import fill, require
from lectures_jax.train import evaluate, fit, predict
from lectures_jax.train.history import Row
from lectures_jax.typing import Key, Objective


@dataclass(frozen=True)
class Settings:
    """How a VAE is built and trained."""

    dense: bool | None = None
    """dense networks, without convolutions; None: for digits, not for files"""
    steps: int | None = None
    """training steps; None: 1200 for digits, 6000 for files"""
    batch_size: int = 64
    """images per step"""
    latent: int | None = None
    """units of the code; None: 16 for digits, 32 for files"""
    hidden: int | None = None
    """units of the dense layers; None: 512 for digits, 256 for files"""
    learning_rate: float = 3e-3
    """of Adam, falling as a cosine"""
    ema_decay: float = 0.99
    """of the averaged parameters"""
    beta: float = 1.0
    """weight of the divergence"""
    warmup: int = 0
    """steps in which the weight rises from 0"""
    free_bits: float = 0.0
    """nats of each unit that cost nothing"""
    computed_variance: bool = False
    """compute the decoder's variance from the error (Asperti & Trentin) instead of training it"""
    components: int = 10
    """Gaussians of the mixture fitted to the codes"""
    samples: tuple[int, ...] = (1, 8, 64, 512)
    """K of the likelihood bounds; the largest gives the bits per dimension"""
    bound_images: int | None = None
    """test images that the bounds are averaged over; None: 1000 small ones or 200 larger ones"""


def with_defaults(settings: Settings, kind: Kind) -> Settings:
    """Returns the settings with those that depend on the data.

    Args:
        settings: as the user chose them.
        kind: of the data set.
    """
    small = kind == "digits"
    if small:
        return fill(settings, dense=True, steps=1200, latent=16, hidden=512)
    return fill(settings, dense=False, steps=6000, latent=32, hidden=256)


def train(
    settings: Settings, splits: data.Splits, out: Path | None = None, *, seed: int = 0
) -> Generator:
    """Trains a VAE on `splits.train`; its samples are of a Gaussian mixture fitted to its codes.

    Args:
        settings: from `with_defaults`.
        splits: images.
        out: folder for rows, checkpoints and `model.safetensors`; None leaves no files.
        seed: of parameters, order and noise.
    """
    start = time.process_time()
    model, history = train_network(settings, splits, out, seed=seed)
    key_codes = jax.random.split(jax.random.key(seed), 3)[2]
    codes = draw_codes(key_codes, model, splits.train["image"])
    mixture = fit_code_mixture(codes, components=settings.components, seed=seed)
    seconds = time.process_time() - start

    def sample_mixture(key: Key, count: int) -> np.ndarray:
        return decode(model, mixture.sample(key, count))

    bits = bits_per_dim(settings, model, splits)
    return Generator(sample_mixture, count_parameters(model), seconds, bits, history, model)


def train_network(
    settings: Settings, splits: data.Splits, out: Path | None = None, *, seed: int = 0
) -> tuple[Vae, list[Row]]:
    """Trains the VAE alone; returns it and the rows of `train.fit`.

    Args:
        settings: from `with_defaults`.
        splits: images.
        out: folder for rows, checkpoints and `model.safetensors`; None leaves no files.
        seed: of parameters, order and noise.
    """
    key_init, key_train, _ = jax.random.split(jax.random.key(seed), 3)
    steps, sizes = require(settings.steps, "steps"), model_settings(settings, splits)
    model, history = fit(
        key_train,
        weights.build_model("vae", sizes, rngs=nnx.Rngs(key_init)),
        objective(settings),
        adam(optax.cosine_decay_schedule(settings.learning_rate, steps)),
        data.batches(splits.train, batch_size=settings.batch_size, seed=seed),
        steps=steps,
        out=out,
        ema_decay=settings.ema_decay,
        log_every=max(steps // 30, 1),
    )
    if out is not None:
        weights.save_model(out / "model.safetensors", model, kind="vae", settings=sizes)
    return model, history


def sample(model: Vae, settings: Mapping[str, Any], key: Key, count: int) -> np.ndarray:
    """Returns images of codes from the prior N(0, I), float32 [count, h, w, c] in [0, 1].

    Args:
        model: as `weights.load_model` returns it.
        settings: from the model's file.
        key: of the codes.
        count: images.
    """
    return decode(model, np.asarray(jax.random.normal(key, (count, settings["latent"]))))


def model_settings(settings: Settings, splits: data.Splits) -> dict[str, Any]:
    """Returns what `weights.build_model` needs for a VAE of these images.

    Args:
        settings: from `with_defaults`.
        splits: images.
    """
    return {
        "shape": list(splits.train["image"].shape[1:]),
        "latent": require(settings.latent, "latent"),
        "hidden": require(settings.hidden, "hidden"),
        "dense": require(settings.dense, "dense"),
        "variance": 1.0 if settings.computed_variance else 0.05,
        "learned_variance": not settings.computed_variance,
    }


def objective(settings: Settings) -> Objective:
    """Returns the evidence lower bound, weighted as the settings say.

    Args:
        settings: of the training.
    """
    beta: Any = settings.beta
    if settings.warmup:
        beta = optax.linear_schedule(0.0, settings.beta, settings.warmup)
    pixels = objectives.optimal_sigma_nll if settings.computed_variance else objectives.gaussian_nll
    return partial(objectives.elbo, beta=beta, free_bits=settings.free_bits, reconstruction=pixels)


def encode(model: Vae, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and log variance of the posterior of each image.

    Args:
        model: the VAE.
        images: float32 [n, h, w, c] in [0, 1].
    """
    return predict(model, images, function=Vae.posterior)


def decode(model: Vae, codes: np.ndarray) -> np.ndarray:
    """Returns the decoder's mean for each code.

    Args:
        model: the VAE.
        codes: [n, z].
    """
    return predict(model, codes, function=Vae.decode)


def draw_codes(key: Key, model: Vae, images: np.ndarray) -> np.ndarray:
    """Returns a sample from the posterior of each image.

    Args:
        key: of the draw.
        model: the VAE.
        images: float32 [n, h, w, c] in [0, 1].
    """
    mean, log_var = (jnp.asarray(x) for x in encode(model, images))
    return np.asarray(ops.reparameterize(key, mean, log_var))


def train_second_stage(
    key: Key, codes: np.ndarray, out: Path | None, *, hidden: int, batch_size: int, steps: int
) -> Callable[[Key, int], np.ndarray]:
    """Trains a VAE of the codes, and returns `(key, count) -> codes`, which draws from it.

    Args:
        key: of parameters, noise and order.
        codes: [n, z].
        out: folder for rows and checkpoints, which belongs to these codes; None leaves no files.
        hidden: units of the dense layers.
        batch_size: codes per step.
        steps: of the training.

    Source:
        Dai & Wipf (2019), sec. 4.
    """
    d = codes.shape[1]
    key_init, key_train = jax.random.split(key)
    rngs = nnx.Rngs(key_init)
    model = Vae(
        dense_encoder((d,), 2 * d, hidden=(hidden,), rngs=rngs),
        DenseDecoder(d, (d,), hidden=(hidden,), rngs=rngs),
        squash=jax.nn.identity,
        variance=1.0,
        learned_variance=True,
    )
    examples = {"image": codes, "labels": np.zeros(len(codes), np.int32)}
    model, _ = fit(
        key_train,
        model,
        objectives.elbo,
        adam(optax.cosine_decay_schedule(1e-3, steps)),
        data.batches(examples, batch_size=batch_size, seed=0),
        steps=steps,
        out=out,
        ema_decay=0.99,
        log_every=steps,
    )

    def draw(key: Key, count: int) -> np.ndarray:
        key_code, key_noise = jax.random.split(key)
        mean = model.decode(jax.random.normal(key_code, (count, d)))
        deviation = jnp.exp(model.pixel_log_var[...] / 2)
        return np.asarray(mean + deviation * jax.random.normal(key_noise, mean.shape))

    return draw


def held_out_images(settings: Settings, splits: data.Splits) -> np.ndarray:
    """Returns the test images that the likelihood bounds are averaged over.

    Each is decoded many hundred times, so that large images have to be fewer.

    Args:
        settings: of the training.
        splits: images.
    """
    images = splits.test["image"]
    small = images[0].size < 500
    return images[: fill(settings, bound_images=1000 if small else 200).bound_images]


def mean_bound(
    settings: Settings, model: Vae, bound: Objective, splits: data.Splits
) -> dict[str, float]:
    """Returns a bound of the likelihood of the held-out images, in nats, and what goes with it.

    Args:
        settings: of the training.
        model: the VAE.
        bound: an objective, such as `objectives.iwae`.
        splits: images.
    """
    images = held_out_images(settings, splits)
    return evaluate(model, bound, data.in_batches({"image": images}, batch_size=40))


def bits_per_dim(settings: Settings, model: Vae, splits: data.Splits) -> float:
    """Returns an upper bound of the bits per pixel of the held-out images' levels.

    Args:
        settings: of the training.
        model: the VAE.
        splits: images.
    """

    def level_nll(model: Vae, x: jax.Array, z: jax.Array) -> jax.Array:
        flat, mean = (v.reshape(len(v), -1) for v in (x, model.decode(z)))
        log_var = model.pixel_log_var[...]
        return losses.discretized_gaussian_reconstruction(flat, mean, log_var, levels=splits.levels)

    bound = partial(objectives.iwae, samples=max(settings.samples), reconstruction=level_nll)
    pixels = splits.test["image"][0].size
    return -mean_bound(settings, model, bound, splits)["log_likelihood"] / (pixels * np.log(2))
