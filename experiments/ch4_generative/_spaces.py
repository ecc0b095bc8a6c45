"""Models as the latent map sees them: images to codes and back, whatever the model is."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import diffusion
import flow
import gan
import jax
import jax.numpy as jnp
import numpy as np
import optax
import vae
from _denoising import predictor, schedule
from flax import nnx

from lectures_jax import data, objectives, ops, train
from lectures_jax.models.autoencoder import (
    Autoencoder,
    ConvDecoder,
    ConvEncoder,
    DenseDecoder,
    dense_encoder,
)
from lectures_jax.models.diffusion import Denoiser
from lectures_jax.models.flow import Flow, adapt
from lectures_jax.models.image_flow import multiscale_flow
from lectures_jax.models.vae import Vae
from lectures_jax.typing import Batch, Key, Metrics, Objective


class Space(NamedTuple):
    """Images to codes and back."""

    encode: Callable[[np.ndarray], np.ndarray]
    decode: Callable[[np.ndarray], np.ndarray]


def space(
    model: Any,
    encode: Callable[[Any, jax.Array], jax.Array],
    decode: Callable[[Any, jax.Array], jax.Array],
) -> Space:
    """A model's own way there and back."""
    ask = partial(train.predict, model)
    return Space(partial(ask, function=encode), partial(ask, function=decode))


def learn_spaces(config: Any, splits: data.Splits, out: Path) -> dict[str, Space]:
    """Two VAEs of different seeds, an autoencoder, and the three other families."""
    shared = {"data": config.data, "root": config.root, "steps": config.steps}
    sizes = {"latent": config.latent, "hidden": config.hidden, "samples": (1,), "components": 2}
    settings = vae.filled(vae.Config(**shared, **sizes, seed=config.seed))
    shared["seed"] = config.seed
    channels = (config.hidden,) if config.hidden else None
    return {
        "VAE": learn_vae(settings, splits, out / "vae0"),
        "VAE, other seed": learn_vae(replace(settings, seed=config.seed + 1), splits, out / "vae1"),
        "autoencoder": learn_autoencoder(settings, splits, out / "autoencoder"),
        "GAN": learn_gan(gan.Config(**shared), settings, splits, out / "gan"),
        "flow": learn_flow(flow.Config(**shared, hidden=config.hidden), splits, out / "flow"),
        "diffusion": learn_diffusion(
            diffusion.Config(**shared, channels=channels), splits, out / "diffusion"
        ),
    }


def learn_vae(settings: vae.Config, splits: data.Splits, out: Path) -> Space:
    """Codes are the means of the posterior."""
    out.mkdir(parents=True, exist_ok=True)
    model = vae.learn(settings, splits, out).model
    return space(model, mean_code, Vae.decode)


def mean_code(model: Vae, images: jax.Array) -> jax.Array:
    """The likeliest code of each image."""
    return model.posterior(images)[0]


def learn_autoencoder(settings: vae.Config, splits: data.Splits, out: Path) -> Space:
    """The VAE's networks without its noise."""
    shape, rngs = splits.train["image"].shape[1:], nnx.Rngs(settings.seed + 7)
    z, size = settings.latent, settings.hidden
    encoder = encoder_of(settings, shape, z, rngs)
    if settings.data == "digits":
        decoder = DenseDecoder(z, shape, hidden=(size,), rngs=rngs)
    else:
        decoder = ConvDecoder(z, shape, hidden=size, rngs=rngs)
    model = Autoencoder(encoder, decoder)
    model = fit_as_vae(settings, splits, out, model, objectives.autoencoder)
    return space(model, Autoencoder.encode, Autoencoder.decode)


def learn_gan(config: gan.Config, settings: vae.Config, splits: data.Splits, out: Path) -> Space:
    """A GAN has no encoder: one is learnt that finds the z of images, drawn and real.

    Source: Asperti & Tonelli (2023), "Comparing the latent space of generative models", sec. 4.
    """
    out.mkdir(parents=True, exist_ok=True)
    generator = gan.learn(config, splits, out).model.generator
    structure, arrays = nnx.split(generator)

    def objective(model: Any, batch: Batch, key: Key) -> tuple[jax.Array, Metrics]:
        draw = nnx.merge(structure, arrays)
        z = jax.random.normal(key, (len(batch["image"]), config.latent))
        code = jnp.mean((model(draw(z)) - z) ** 2)
        picture = jnp.mean((draw(model(batch["image"])) - batch["image"]) ** 2)
        loss = 0.01 * code + picture  # little for z: it decides among codes that draw the same
        return loss, {"loss": loss, "code": code, "image": picture}

    rngs = nnx.Rngs(config.seed + 8)
    encoder = encoder_of(settings, splits.train["image"].shape[1:], config.latent, rngs)
    encoder = fit_as_vae(settings, splits, out / "encoder", encoder, objective)
    return Space(partial(train.predict, encoder), partial(train.predict, generator))


def learn_flow(config: flow.Config, splits: data.Splits, out: Path) -> Space:
    """Couplings that are told no class, whose part of the code would be lost.

    Codes are those of the middles of the pixels' levels.
    """
    key_init, key_adapt, key_train = jax.random.split(jax.random.key(config.seed), 3)
    hidden = config.hidden or flow.WIDTH
    config, levels = flow.filled(config), splits.levels
    shape = splits.train["image"].shape[1:]
    model = multiscale_flow(shape, hidden=hidden, dense=flow.DENSE, rngs=nnx.Rngs(key_init))
    first = jnp.asarray(splits.train["image"][:2000])
    adapt(model, ops.dequantize(key_adapt, first, levels=levels))
    model, _ = train.fit(
        key_train,
        model,
        partial(objectives.flow_bits_per_dim, levels=levels),
        flow.optimizer(config),
        data.batches(splits.train, batch_size=config.batch_size, seed=config.seed),
        steps=config.steps,
        out=out,
        ema_decay=config.ema_decay,
    )

    def encode(model: Flow, images: jax.Array) -> jax.Array:
        return model.forward((jnp.round(images * (levels - 1)) + 0.5) / levels)[0]

    def decode(model: Flow, z: jax.Array) -> jax.Array:
        return jnp.clip((levels * model.inverse(z)[0] - 0.5) / (levels - 1), 0, 1)

    return space(model, encode, decode)


def learn_diffusion(config: diffusion.Config, splits: data.Splits, out: Path) -> Space:
    """Codes are the noise that DDIM finds for images whose class it is not told."""
    model = diffusion.learn(config, splits, out).model
    # Without the last, endless step: where no signal is left all images have the same noise.
    alpha_bar, steps = schedule(config)[:-1], min(20, config.schedule_steps - 1)
    shape = splits.train["image"].shape[1:]

    def predict(model: Denoiser, count: int) -> Any:
        return predictor(model, jnp.full(count, len(splits.classes)))

    def encode(model: Denoiser, images: jax.Array) -> jax.Array:
        asked, x = predict(model, len(images)), 2 * images - 1
        noise = ops.invert_diffusion(asked, x, alpha_bar, steps=steps, iterations=1)
        return noise.reshape(len(images), -1)

    def decode(model: Denoiser, z: jax.Array) -> jax.Array:
        path = ops.sampling_schedule(alpha_bar, steps=steps)
        x = ops.solve_ddim(predict(model, len(z)), z.reshape(-1, *shape), path)[0][-1]
        return jnp.clip((x + 1) / 2, 0, 1)

    return space(model, encode, decode)


def encoder_of(settings: vae.Config, shape: tuple[int, ...], size: int, rngs: nnx.Rngs) -> Any:
    """The VAE's encoder, for codes of another size."""
    if settings.data == "digits":
        return dense_encoder(shape, size, hidden=(settings.hidden,), rngs=rngs)
    return ConvEncoder(shape, size, hidden=settings.hidden, rngs=rngs)


def fit_as_vae(
    settings: vae.Config, splits: data.Splits, out: Path, model: Any, objective: Objective
) -> Any:
    """Trains a network on as many images as the VAE."""
    out.mkdir(parents=True, exist_ok=True)
    model, _ = train.fit(
        jax.random.key(settings.seed + 7),
        model,
        objective,
        optax.adam(optax.cosine_decay_schedule(settings.learning_rate / 3, settings.steps)),
        data.batches(splits.train, batch_size=settings.batch_size, seed=settings.seed),
        steps=settings.steps,
        out=out,
        ema_decay=settings.ema_decay,
        log_every=settings.steps,
    )
    return model
