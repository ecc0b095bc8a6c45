"""The autoencoder, plain or denoising, and how far an image is from what it makes of it."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, losses, objectives, weights
from lectures_jax.models.autoencoder import Autoencoder
from lectures_jax.recipes.generator import Kind
from lectures_jax.recipes.optimizers import adam
from lectures_jax.recipes.settings import fill, require
from lectures_jax.train import fit, predict
from lectures_jax.train.history import Row


@dataclass(frozen=True)
class Settings:
    """How an autoencoder is built and trained."""

    dense: bool = True
    """dense networks, without convolutions"""
    latent: int | None = None
    """units of the code; None: 8 for digits, 32 for files"""
    hidden: int = 256
    """units of the dense layers"""
    noise: float = 0.0
    """deviation of the Gaussian noise that it is trained to remove, the image being in [0, 1]"""
    steps: int | None = None
    """training steps; None: 1200 for digits, 4000 for files"""
    batch_size: int = 64
    """images per step"""
    learning_rate: float = 3e-3
    """of Adam, falling as a cosine"""
    ema_decay: float = 0.99
    """of the averaged parameters"""


class Trained(NamedTuple):
    """A trained autoencoder.

    Attributes:
        model: the network with averaged parameters, in evaluation mode.
        history: the rows of `train.fit`.
    """

    model: Autoencoder
    history: list[Row]


def with_defaults(settings: Settings, kind: Kind) -> Settings:
    """Returns the settings with those that depend on the data.

    Args:
        settings: as the user chose them.
        kind: of the data set.
    """
    small = kind == "digits"
    return fill(settings, latent=8 if small else 32, steps=1200 if small else 4000)


def train(
    settings: Settings, images: np.ndarray, out: Path | None = None, *, seed: int = 0
) -> Trained:
    """Trains an autoencoder.

    Args:
        settings: from `with_defaults`.
        images: float32 [n, h, w, c] in [0, 1].
        out: folder for rows, checkpoints and `model.safetensors`; None leaves no files.
        seed: of parameters, order and noise.
    """
    sizes = model_settings(settings, images)
    model = weights.build_model("autoencoder", sizes, rngs=nnx.Rngs(seed))
    trained = fit_network(settings, model, images, out, seed=seed)
    if out is not None:
        path = out / "model.safetensors"
        weights.save_model(path, trained.model, kind="autoencoder", settings=sizes)
    return trained


def fit_network(
    settings: Settings, model: Autoencoder, images: np.ndarray, out: Path | None, *, seed: int = 0
) -> Trained:
    """Trains a network that was built elsewhere as `train` would.

    Args:
        settings: of the training.
        model: left as it is.
        images: float32 [n, h, w, c] in [0, 1].
        out: folder for rows and checkpoints; None leaves no files.
        seed: of order and noise.
    """
    steps = require(settings.steps, "steps")
    objective = objectives.autoencoder
    if settings.noise:
        objective = partial(objectives.denoising, deviation=settings.noise)
    model, history = fit(
        jax.random.key(seed),
        model,
        objective,
        adam(optax.cosine_decay_schedule(settings.learning_rate, steps)),
        data.batches({"image": images}, batch_size=settings.batch_size, seed=seed),
        steps=steps,
        out=out,
        ema_decay=settings.ema_decay,
        log_every=max(steps // 30, 1),
    )
    return Trained(model, history)


def model_settings(settings: Settings, images: np.ndarray) -> dict[str, Any]:
    """Returns what `weights.build_model` needs for an autoencoder of these images.

    Args:
        settings: from `with_defaults`.
        images: float32 [n, h, w, c].
    """
    return {
        "shape": list(images.shape[1:]),
        "latent": require(settings.latent, "latent"),
        "hidden": settings.hidden,
        "dense": settings.dense,
    }


def reconstruction_error(model: Any, images: np.ndarray) -> np.ndarray:
    """Returns `‖x − f(x)‖²` of each image: small near the data, and so a score of what is not data.

    Args:
        model: the autoencoder.
        images: float32 [n, h, w, c].

    Source:
        Japkowicz et al. (1995), sec. 3.
    """
    return predict(model, images, function=_error)


def _error(model: Any, images: jax.Array) -> jax.Array:
    rows = (x.reshape(len(x), -1) for x in (images, model(images)))
    return losses.squared_error(*rows).astype(jnp.float32)
