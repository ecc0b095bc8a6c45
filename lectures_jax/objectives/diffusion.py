"""Where a denoising network meets its loss: noise, image or velocity, at random noise levels.

The three objectives differ in what the network predicts, and take the same arguments: a `Denoiser`
or anything that is called like it, images with or without labels, and the schedule from which each
example draws its signal ratio.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lectures_jax import losses, ops
from lectures_jax.ops._precision import upcast
from lectures_jax.typing import Batch, Key, Metrics, check_range


class _Noisy(NamedTuple):
    """A batch at the signal ratios that were drawn, and the prediction."""

    x0: Float[Array, "b h w c"]
    noise: Float[Array, "b h w c"]
    alpha_bar: Float[Array, " b"]
    predicted: Float[Array, "b h w c"]


def diffusion_noise(
    model,
    batch: Batch,
    key: Key,
    *,
    alpha_bar: Float[Array, " t"],
    class_dropout: float = 0.1,
    gamma: float | None = None,
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean squared error of the predicted noise, per value.

    Args:
        model: `model(x_t, alpha_bar, labels, key=key)` predicts the noise; its `num_classes` is 0
            where it takes no labels.
        batch: `image` in [0, 1], and `labels` for a model with classes.
        key: for noise, signal ratio, dropped labels and the model, for each example its own.
        alpha_bar: the schedule; each example takes one of its signal ratios at random.
        class_dropout: share of the examples whose label is dropped, for classifier-free guidance.
        gamma: of min-SNR weighting; None weighs all noise levels the same.

    Returns:
        The loss, and `loss` and `error`, the same without weights.

    Raises:
        ValueError: if `class_dropout` is out of [0, 1], or `gamma` is negative.

    Source:
        Ho et al. (2020), algorithm 1; Hang et al. (2023).
    """
    noisy = _predict(model, batch, key, alpha_bar, class_dropout)
    weights = losses.min_snr_weights(noisy.alpha_bar, gamma=gamma).noise if gamma else None
    return _mean(losses.noise_prediction(noisy.noise, noisy.predicted), weights, noisy)


def diffusion_x0(
    model,
    batch: Batch,
    key: Key,
    *,
    alpha_bar: Float[Array, " t"],
    class_dropout: float = 0.1,
    gamma: float | None = None,
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean squared error of the predicted image, per value.

    Args:
        model: `model(x_t, alpha_bar, labels, key=key)` predicts the image; its `num_classes` is 0
            where it takes no labels.
        batch: `image` in [0, 1], and `labels` for a model with classes.
        key: for noise, signal ratio, dropped labels and the model, for each example its own.
        alpha_bar: the schedule; each example takes one of its signal ratios at random.
        class_dropout: share of the examples whose label is dropped, for classifier-free guidance.
        gamma: of min-SNR weighting; None weighs all noise levels the same.

    Returns:
        The loss, and `loss` and `error`, the same without weights.

    Raises:
        ValueError: if `class_dropout` is out of [0, 1], or `gamma` is negative.

    Source:
        Salimans & Ho (2022), sec. 4; Hang et al. (2023).
    """
    noisy = _predict(model, batch, key, alpha_bar, class_dropout)
    weights = losses.min_snr_weights(noisy.alpha_bar, gamma=gamma).x0 if gamma else None
    return _mean(losses.x0_prediction(noisy.x0, noisy.predicted), weights, noisy)


def diffusion_velocity(
    model,
    batch: Batch,
    key: Key,
    *,
    alpha_bar: Float[Array, " t"],
    class_dropout: float = 0.1,
    gamma: float | None = None,
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean squared error of the predicted velocity, per value.

    Args:
        model: `model(x_t, alpha_bar, labels, key=key)` predicts the velocity; its `num_classes` is
            0 where it takes no labels.
        batch: `image` in [0, 1], and `labels` for a model with classes.
        key: for noise, signal ratio, dropped labels and the model, for each example its own.
        alpha_bar: the schedule; each example takes one of its signal ratios at random.
        class_dropout: share of the examples whose label is dropped, for classifier-free guidance.
        gamma: of min-SNR weighting; None weighs all noise levels the same.

    Returns:
        The loss, and `loss` and `error`, the same without weights.

    Raises:
        ValueError: if `class_dropout` is out of [0, 1], or `gamma` is negative.

    Source:
        Salimans & Ho (2022), sec. 4; Hang et al. (2023).
    """
    noisy = _predict(model, batch, key, alpha_bar, class_dropout)
    weights = losses.min_snr_weights(noisy.alpha_bar, gamma=gamma).velocity if gamma else None
    target = ops.velocity(noisy.x0, noisy.noise, noisy.alpha_bar)
    return _mean(losses.velocity_prediction(target, noisy.predicted), weights, noisy)


def _predict(model, batch: Batch, key: Key, alpha_bar: Array, class_dropout: float) -> _Noisy:
    """Adds noise to the images, drops labels, and calls the model."""
    check_range(class_dropout=class_dropout, low=0, high=1)
    x0 = 2 * batch["image"] - 1
    key_noise, key_level, key_class, key_model = jax.random.split(key, 4)
    noise = ops.per_sample_normal(key_noise, x0.shape, dtype=x0.dtype)
    ratio = alpha_bar[_levels(key_level, len(x0), len(alpha_bar))]
    labels = None
    if model.num_classes:
        dropped = jax.random.bernoulli(key_class, class_dropout, (len(x0),))
        labels = jnp.where(dropped, model.num_classes, batch["labels"])
    x_t = ops.add_noise(x0, noise, ratio)
    noisy = _Noisy(x0, noise, ratio, model(x_t, ratio, labels, key=key_model))
    return _Noisy(*map(upcast, noisy))


def _levels(key: Key, count: int, steps: int) -> Int[Array, " count"]:
    """Steps, each uniform and together evenly spread (Kingma et al. 2021, sec. 3.3)."""
    place = (jax.random.uniform(key) + jnp.arange(count) / count) % 1
    return jnp.minimum((place * steps).astype(jnp.int32), steps - 1)


def _mean(errors: Array, weights: Array | None, noisy: _Noisy) -> tuple[Array, Metrics]:
    errors = errors / noisy.x0[0].size
    loss = jnp.mean(errors if weights is None else weights * errors)
    return loss, {"loss": loss, "error": jnp.mean(errors)}
