"""Where a denoising network meets its loss: noise, image or velocity, at random levels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lectures_jax import losses, ops
from lectures_jax.typing import Batch, Key, Metrics


class _Noisy(NamedTuple):
    """A batch at the levels that were drawn, and what the network said."""

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
        model: `model(x_t, alpha_bar, labels, key=key)`; its `num_classes` may be 0.
        batch: `image` in [0, 1], and `labels` for a model with classes.
        key: each example draws noise and level from a key of its own.
        alpha_bar: the schedule; each example takes a ratio of it at random.
        class_dropout: share of the examples whose class is not told, for guidance.
        gamma: of min-SNR weighting, None weighs all levels alike.

    Returns:
        The loss, and `loss` and the unweighted `error`.

    Source:
        Ho et al. (2020), algorithm 1; Hang et al. (2023).
    """
    seen = _ask(model, batch, key, alpha_bar, class_dropout)
    weights = losses.min_snr_weights(seen.alpha_bar, gamma=gamma).noise if gamma else None
    return _mean(losses.noise_prediction(seen.noise, seen.predicted), weights, seen)


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
        model: as of `diffusion_noise`.
        batch: likewise.
        key: likewise.
        alpha_bar: likewise.
        class_dropout: likewise.
        gamma: likewise.

    Returns:
        The loss, and `loss` and the unweighted `error`.

    Source:
        Salimans & Ho (2022), sec. 4; Hang et al. (2023).
    """
    seen = _ask(model, batch, key, alpha_bar, class_dropout)
    weights = losses.min_snr_weights(seen.alpha_bar, gamma=gamma).x0 if gamma else None
    return _mean(losses.x0_prediction(seen.x0, seen.predicted), weights, seen)


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
        model: as of `diffusion_noise`.
        batch: likewise.
        key: likewise.
        alpha_bar: likewise.
        class_dropout: likewise.
        gamma: likewise.

    Returns:
        The loss, and `loss` and the unweighted `error`.

    Source:
        Salimans & Ho (2022), sec. 4; Hang et al. (2023).
    """
    seen = _ask(model, batch, key, alpha_bar, class_dropout)
    weights = losses.min_snr_weights(seen.alpha_bar, gamma=gamma).velocity if gamma else None
    target = ops.velocity(seen.x0, seen.noise, seen.alpha_bar)
    return _mean(losses.velocity_prediction(target, seen.predicted), weights, seen)


def _ask(model, batch: Batch, key: Key, alpha_bar: Array, class_dropout: float) -> _Noisy:
    x0 = 2 * batch["image"] - 1
    key_noise, key_level, key_class, key_model = jax.random.split(key, 4)
    noise = ops.per_sample_normal(key_noise, x0.shape, dtype=x0.dtype)
    ratio = alpha_bar[_levels(key_level, len(x0), len(alpha_bar))]
    labels = None
    if model.num_classes:
        dropped = jax.random.bernoulli(key_class, class_dropout, (len(x0),))
        labels = jnp.where(dropped, model.num_classes, batch["labels"])
    x_t = ops.add_noise(x0, noise, ratio)
    return _Noisy(x0, noise, ratio, model(x_t, ratio, labels, key=key_model))


def _levels(key: Key, count: int, steps: int) -> Int[Array, " count"]:
    """Steps that are random one by one and even over the batch (Kingma et al. 2021, sec. 3.3)."""
    place = (jax.random.uniform(key) + jnp.arange(count) / count) % 1
    return jnp.minimum((place * steps).astype(jnp.int32), steps - 1)


def _mean(errors: Array, weights: Array | None, seen: _Noisy) -> tuple[Array, Metrics]:
    errors = errors / seen.x0[0].size
    loss = jnp.mean(errors if weights is None else weights * errors)
    return loss, {"loss": loss, "error": jnp.mean(errors)}
