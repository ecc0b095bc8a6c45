"""Models of every family as a latent map sees them: images to codes and back."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, ops
from lectures_jax.models.autoencoder import Autoencoder, ConvEncoder, dense_encoder
from lectures_jax.models.diffusion import Denoiser
from lectures_jax.models.flow import Flow
from lectures_jax.models.vae import Vae
from lectures_jax.recipes import autoencoder, diffusion, flow, gan, vae
from lectures_jax.recipes.generator import Kind
from lectures_jax.recipes.optimizers import adam
from lectures_jax.recipes.settings import require
from lectures_jax.train import fit, predict
from lectures_jax.typing import Batch, Key, Metrics

KIN = ("VAE", "VAE, other seed", "autoencoder")
"""Models that differ by chance or by a loss."""


@dataclass(frozen=True)
class Settings:
    """How the models are built and trained; each number is that of the model's own recipe if None.

    The VAE's sizes are also those of the autoencoder and of the GAN's encoder.
    """

    steps: int | None = None
    """training steps of each model; None: as in its own recipe"""
    latent: int | None = None
    """units of the VAEs' and the autoencoder's codes; None: as in `recipes.vae`"""
    hidden: int | None = None
    """units or channels of the networks, but for the GAN; None: as in each model's recipe"""
    families: tuple[Literal["GAN", "flow", "diffusion"], ...] = ("GAN", "flow", "diffusion")
    """models of other kinds, beside two VAEs and an autoencoder"""


class Space(NamedTuple):
    """Images to codes and back.

    Attributes:
        encode: `images -> codes`, float32 [n, h, w, c] and [n, z].
        decode: `codes -> images`.
    """

    encode: Callable[[np.ndarray], np.ndarray]
    decode: Callable[[np.ndarray], np.ndarray]


def share_recovered(
    images: np.ndarray, mapped: np.ndarray, *, rebuilt: np.ndarray, mean: np.ndarray
) -> float:
    """Returns the share of the image error that a map between two models recovers.

    0: as far from the images as the mean training image is; 1: as near as the target model's own
    reconstructions; below 0, worse than the mean.

    Args:
        images: that no model was trained on, [n, h, w, c].
        mapped: the target model's decodings of the mapped codes, [n, h, w, c] or, of several maps,
            [m, n, h, w, c].
        rebuilt: the target model's own reconstructions, [n, h, w, c].
        mean: mean training image, [h, w, c].
    """
    worst, best, error = (np.mean((x - images) ** 2) for x in (mean, rebuilt, mapped))
    return float((worst - error) / (worst - best))


def train_spaces(
    settings: Settings, kind: Kind, splits: data.Splits, out: Path, *, seed: int = 0
) -> dict[str, Space]:
    """Trains two VAEs of different seeds, an autoencoder, and the other families.

    Args:
        settings: of all models.
        kind: of the data set.
        splits: images.
        out: folder, with one folder for each model.
        seed: of parameters, order and noise.
    """
    steps, hidden = settings.steps, settings.hidden
    of_vae = vae.Settings(steps=steps, latent=settings.latent, hidden=hidden)
    of_vae = vae.with_defaults(of_vae, kind)
    of_gan = gan.Settings(steps=steps)
    of_flow = flow.Settings(network="multiscale", steps=steps, hidden=hidden)
    of_diffusion = diffusion.Settings(steps=steps, channels=(hidden,) if hidden else None)
    trainings = {
        "VAE": partial(train_vae, of_vae, seed=seed),
        "VAE, other seed": partial(train_vae, of_vae, seed=seed + 1),
        "autoencoder": partial(train_autoencoder, of_vae, seed=seed),
        "GAN": partial(train_gan, gan.with_defaults(of_gan, kind), of_vae, seed=seed),
        "flow": partial(train_flow, flow.with_defaults(of_flow, kind), seed=seed),
        "diffusion": partial(
            train_diffusion, diffusion.with_defaults(of_diffusion, kind), seed=seed
        ),
    }
    folders = {"VAE": "vae0", "VAE, other seed": "vae1"}
    spaces = {}
    for name, train in trainings.items():
        if name in (*KIN, *settings.families):
            folder = out / folders.get(name, name.lower())
            folder.mkdir(parents=True, exist_ok=True)
            spaces[name] = train(splits, folder)
    return spaces


def train_vae(settings: vae.Settings, splits: data.Splits, out: Path, *, seed: int) -> Space:
    """Trains a VAE, whose codes are the means of the posterior.

    Args:
        settings: from `vae.with_defaults`.
        splits: images.
        out: folder of the run.
        seed: of parameters, order and noise.
    """
    model, _ = vae.train_network(settings, splits, out, seed=seed)
    return _space(model, Vae.encode, Vae.decode)


def train_autoencoder(
    settings: vae.Settings, splits: data.Splits, out: Path, *, seed: int
) -> Space:
    """Trains the VAE's networks without its noise.

    Args:
        settings: from `vae.with_defaults`.
        splits: images.
        out: folder of the run.
        seed: of parameters and order.
    """
    like_vae = autoencoder.Settings(
        dense=require(settings.dense, "dense"),
        latent=settings.latent,
        hidden=require(settings.hidden, "hidden"),
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate / 3,
        ema_decay=settings.ema_decay,
    )
    model = autoencoder.train(like_vae, splits.train["image"], out, seed=seed + 7).model
    return _space(model, Autoencoder.encode, Autoencoder.decode)


def train_gan(
    settings: gan.Settings, of_vae: vae.Settings, splits: data.Splits, out: Path, *, seed: int
) -> Space:
    """Trains a GAN, and then an encoder that predicts the z of images, drawn and real.

    Args:
        settings: from `gan.with_defaults`.
        of_vae: from `vae.with_defaults`: the encoder is the VAE's, and trained as long.
        splits: images.
        out: folder of the run.
        seed: of parameters, order and noise.

    Source:
        Asperti & Tonelli (2023), "Comparing the latent space of generative models", sec. 4.
    """
    generator = gan.train(settings, splits, out, seed=seed).model.generator

    def objective(model: Any, batch: Batch, key: Key, draw: Any) -> tuple[jax.Array, Metrics]:
        z = jax.random.normal(key, (len(batch["image"]), settings.latent))
        code = jnp.mean((model(draw(z)) - z) ** 2)
        image = jnp.mean((draw(model(batch["image"])) - batch["image"]) ** 2)
        loss = 0.01 * code + image  # little for z: it decides among codes that draw the same
        return loss, {"loss": loss, "code": code, "image": image}

    shape, hidden = splits.train["image"].shape[1:], require(of_vae.hidden, "hidden")
    rngs = nnx.Rngs(seed + 8)
    if of_vae.dense:
        encoder = dense_encoder(shape, settings.latent, hidden=(hidden,), rngs=rngs)
    else:
        encoder = ConvEncoder(shape, settings.latent, hidden=hidden, rngs=rngs)
    (out / "encoder").mkdir(exist_ok=True)
    options = {"seed": seed, "fixed": generator}
    encoder = _fit_as_vae(of_vae, splits, out / "encoder", encoder, objective, **options)
    return Space(partial(predict, encoder), partial(predict, generator))


def train_flow(settings: flow.Settings, splits: data.Splits, out: Path, *, seed: int) -> Space:
    """Trains couplings without classes, since a class would be a part of the code that is lost.

    Codes are those of the middles of the pixels' levels.

    Args:
        settings: from `flow.with_defaults`, of a multiscale flow.
        splits: images.
        out: folder of the run.
        seed: of parameters, order and noise.
    """
    model, _ = flow.train_network(settings, splits, out, conditional=False, seed=seed)
    levels = splits.levels

    def encode(model: Flow, images: jax.Array) -> jax.Array:
        return model.forward((jnp.round(images * (levels - 1)) + 0.5) / levels)[0]

    def decode(model: Flow, z: jax.Array) -> jax.Array:
        return jnp.clip((levels * model.inverse(z)[0] - 0.5) / (levels - 1), 0, 1)

    return _space(model, encode, decode)


def train_diffusion(
    settings: diffusion.Settings, splits: data.Splits, out: Path, *, seed: int
) -> Space:
    """Trains a diffusion model, whose codes are the noise that DDIM computes without a class.

    Args:
        settings: from `diffusion.with_defaults`.
        splits: images.
        out: folder of the run.
        seed: of parameters, order and noise.
    """
    model, *_ = diffusion.train_network(settings, splits, out, seed=seed)
    # Without the last, endless step: where no signal is left all images have the same noise.
    alpha_bar = diffusion.signal_ratios(settings.schedule_steps)[:-1]
    steps = min(20, settings.schedule_steps - 1)
    shape = splits.train["image"].shape[1:]

    def denoise(model: Denoiser, count: int) -> Any:
        return diffusion.predictor(model, jnp.full(count, len(splits.classes)))

    def encode(model: Denoiser, images: jax.Array) -> jax.Array:
        x, predict_x0 = 2 * images - 1, denoise(model, len(images))
        noise = ops.invert_diffusion(predict_x0, x, alpha_bar, steps=steps, iterations=1)
        return noise.reshape(len(images), -1)

    def decode(model: Denoiser, z: jax.Array) -> jax.Array:
        path = ops.sampling_schedule(alpha_bar, steps=steps)
        x = ops.solve_ddim(denoise(model, len(z)), z.reshape(-1, *shape), path)[0][-1]
        return jnp.clip((x + 1) / 2, 0, 1)

    return _space(model, encode, decode)


def _space(
    model: Any,
    encode: Callable[[Any, jax.Array], jax.Array],
    decode: Callable[[Any, jax.Array], jax.Array],
) -> Space:
    """A model's own way there and back."""
    call = partial(predict, model)
    return Space(partial(call, function=encode), partial(call, function=decode))


def _fit_as_vae(
    settings: vae.Settings,
    splits: data.Splits,
    out: Path,
    model: Any,
    objective: Any,
    *,
    seed: int,
    fixed: Any = None,
) -> Any:
    """Trains a network on as many images as the VAE."""
    steps = require(settings.steps, "steps")
    model, _ = fit(
        jax.random.key(seed + 7),
        model,
        objective,
        adam(optax.cosine_decay_schedule(settings.learning_rate / 3, steps)),
        data.batches(splits.train, batch_size=settings.batch_size, seed=seed),
        fixed=fixed,
        steps=steps,
        out=out,
        ema_decay=settings.ema_decay,
        log_every=steps,
    )
    return model
