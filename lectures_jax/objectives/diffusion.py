"""Where a denoising network meets its loss: noise, image or velocity, at random noise levels.

The three objectives of diffusion differ in what the network predicts, and take the same arguments:
a `Denoiser` or anything that is called like it, images with or without labels, and the schedule
from which each example draws its signal ratio. That of flow matching has no schedule.
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
    return _mean(losses.noise_prediction(noisy.noise, noisy.predicted), weights, noisy.x0[0].size)


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
    return _mean(losses.x0_prediction(noisy.x0, noisy.predicted), weights, noisy.x0[0].size)


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
    return _mean(losses.velocity_prediction(target, noisy.predicted), weights, noisy.x0[0].size)


def flow_matching(
    model, batch: Batch, key: Key, *, class_dropout: float = 0.1
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean squared error of the velocity from noise to image, per value.

    `x_t = (1 − t) ε + t x0`, t uniform: straight lines, along which the velocity is `x0 − ε`. This
    is diffusion with another schedule and weight; `ops.sample_flow_matching` draws samples.

    Args:
        model: `model(x_t, t, labels, key=key)` predicts the velocity, t being the share of the
            image, in [0, 1]; its `num_classes` is 0 where it takes no labels.
        batch: `image` in [0, 1], and `labels` for a model with classes.
        key: for noise, time, dropped labels and the model, for each example its own.
        class_dropout: share of the examples whose label is dropped, for classifier-free guidance.

    Returns:
        The loss, and `loss` and `error`, which are the same.

    Raises:
        ValueError: if `class_dropout` is out of [0, 1].

    Source:
        Liu et al. (2023), eq. 1; Lipman et al. (2023), eq. 23 with σ_min = 0.
    """
    check_range(class_dropout=class_dropout, low=0, high=1)
    x0 = 2 * batch["image"] - 1
    key_noise, key_level, key_class, key_model = jax.random.split(key, 4)
    noise = ops.per_sample_normal(key_noise, x0.shape, dtype=x0.dtype)
    t = _places(key_level, len(x0)).astype(x0.dtype)
    labels = _labels(model, batch, key_class, class_dropout)
    x_t = noise + t.reshape(-1, *[1] * (x0.ndim - 1)) * (x0 - noise)
    predicted = model(x_t, t, labels, key=key_model)
    errors = losses.flow_matching(upcast(x0), upcast(noise), upcast(predicted))
    return _mean(errors, None, x0[0].size)


def _predict(model, batch: Batch, key: Key, alpha_bar: Array, class_dropout: float) -> _Noisy:
    """Adds noise to the images, drops labels, and calls the model."""
    check_range(class_dropout=class_dropout, low=0, high=1)
    x0 = 2 * batch["image"] - 1
    key_noise, key_level, key_class, key_model = jax.random.split(key, 4)
    noise = ops.per_sample_normal(key_noise, x0.shape, dtype=x0.dtype)
    steps = len(alpha_bar)
    levels = (_places(key_level, len(x0)) * steps).astype(jnp.int32)
    ratio = alpha_bar[jnp.minimum(levels, steps - 1)]
    labels = _labels(model, batch, key_class, class_dropout)
    x_t = ops.add_noise(x0, noise, ratio)
    noisy = _Noisy(x0, noise, ratio, model(x_t, ratio, labels, key=key_model))
    return _Noisy(*map(upcast, noisy))


def _labels(model, batch: Batch, key: Key, class_dropout: float) -> Int[Array, " b"] | None:
    """The labels with some dropped; None for a model without classes."""
    if not model.num_classes:
        return None
    dropped = jax.random.bernoulli(key, class_dropout, (len(batch["image"]),))
    return jnp.where(dropped, model.num_classes, batch["labels"])


def _places(key: Key, count: int) -> Float[Array, " count"]:
    """Numbers in [0, 1), each uniform and together evenly spread (Kingma et al. 2021, sec. 3.3)."""
    return (jax.random.uniform(key) + jnp.arange(count) / count) % 1


def _mean(errors: Array, weights: Array | None, values: int) -> tuple[Array, Metrics]:
    """The objective of squared errors of so many values each."""
    errors = errors / values
    loss = jnp.mean(errors if weights is None else weights * errors)
    return loss, {"loss": loss, "error": jnp.mean(errors)}
