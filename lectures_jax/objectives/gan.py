"""Where the two players of an adversarial game meet their losses."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import losses
from lectures_jax.ops._precision import upcast
from lectures_jax.typing import Batch, Key, Metrics, check_range


def gan_discriminator(
    model,
    batch: Batch,
    key: Key,
    *,
    loss: Callable[[Array, Array], Array] = losses.discriminator_minimax,
    r1: float = 0.0,
    r2: float = 0.0,
    gradient_penalty: float = 0.0,
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the discriminator's loss on real images and as many generated ones.

    Args:
        model: with `generator(z)`, `logits(images)` and `latent`, as `models.gan.Gan`.
        batch: `image`, real images.
        key: for z, and for the points of the gradient penalty.
        loss: function of the logits of real and of generated images.
        r1: γ; γ / 2 is the weight of the squared gradient norm at real images.
        r2: γ; γ / 2 is the weight of the squared gradient norm at generated images.
        gradient_penalty: weight of `(gradient norm − 1)²` between real and generated images, 10 for
            a Wasserstein GAN.

    Returns:
        The loss, and `real` and `fake`, the mean predicted probability of being real of real and of
        generated images, and `penalty`, where there is one.

    Raises:
        ValueError: if a weight is negative, or the model does not give one logit per image.

    Source:
        Goodfellow et al. (2014), eq. 1; Mescheder et al. (2018), eq. 9 and 10; Gulrajani et al.
        (2017), eq. 3.
    """
    check_range(r1=r1, r2=r2, gradient_penalty=gradient_penalty, low=0)
    key_z, key_penalty = jax.random.split(key)
    real = batch["image"]
    fake = jax.lax.stop_gradient(_draw(model, key_z, len(real)))
    # Two calls: batch normalization, where there is any, normalizes either by itself.
    logits = _logits(model, real), _logits(model, fake)
    total = jnp.mean(loss(*logits))
    metrics = {
        "real": jnp.mean(jax.nn.sigmoid(logits[0])),
        "fake": jnp.mean(jax.nn.sigmoid(logits[1])),
    }
    logit_fn = nnx.view(model, use_running_average=True, raise_if_not_found=False).logits
    penalty = jnp.zeros(())
    for weight, x in ((r1, real), (r2, fake)):
        if weight:
            penalty += weight / 2 * jnp.mean(losses.r1_penalty(logit_fn, x))
    if gradient_penalty:
        penalties = losses.gradient_penalty(key_penalty, logit_fn, real, fake)
        penalty += gradient_penalty * jnp.mean(penalties)
    if r1 or r2 or gradient_penalty:
        metrics["penalty"] = penalty
    return total + penalty, metrics


def gan_generator(
    model,
    batch: Batch,
    key: Key,
    *,
    loss: Callable[[Array], Array] = losses.generator_non_saturating,
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the generator's loss on as many images as the batch has.

    Args:
        model: with `generator(z)`, `logits(images)` and `latent`, as `models.gan.Gan`.
        batch: `image`; only the number of images is used.
        key: for z.
        loss: function of the logits of generated images.

    Raises:
        ValueError: if the model does not give one logit per image.

    Source:
        Goodfellow et al. (2014), sec. 3.
    """
    fake = _draw(model, key, len(batch["image"]))
    return jnp.mean(loss(_logits(model, fake))), {}


def gan_generator_relativistic(model, batch: Batch, key: Key) -> tuple[Float[Array, ""], Metrics]:
    """Returns the generator's loss on the logits of its images relative to those of real ones.

    Args:
        model: with `generator(z)`, `logits(images)` and `latent`, as `models.gan.Gan`; its
            discriminator is trained by `losses.discriminator_relativistic`.
        batch: `image`, real images to compare with.
        key: for z.

    Raises:
        ValueError: if the model does not give one logit per image.

    Source:
        Jolicoeur-Martineau (2019), eq. 8.
    """
    fake = _draw(model, key, len(batch["image"]))
    real_logits, fake_logits = _logits(model, batch["image"]), _logits(model, fake)
    return jnp.mean(losses.discriminator_relativistic(fake_logits, real_logits)), {}


def _logits(model, images: Float[Array, "b *_"]) -> Float[Array, " b"]:
    logits = upcast(model.logits(images))
    if logits.shape != (len(images),):
        raise ValueError(
            f"model.logits must give one number per image, shape ({len(images)},), got shape "
            f"{logits.shape}."
        )
    return logits


def _draw(model, key: Key, count: int) -> Float[Array, "b *_"]:
    return model.generator(jax.random.normal(key, (count, model.latent)))
