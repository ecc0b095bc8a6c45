"""Where a normalizing flow meets its loss: maximum likelihood."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax import losses, ops
from lectures_jax.ops._precision import upcast
from lectures_jax.typing import Batch, Key, Metrics


def flow(model, batch: Batch, key: Key) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean negative log-likelihood of vectors, in nats.

    Args:
        model: a `Flow`; `model.forward(x, condition, key=key)` gives vectors and log-determinants.
        batch: `x` [b, d]; for a conditional flow also `condition`, a vector or a class for each.
        key: for dropout.

    Returns:
        The loss, and `loss`.

    Source:
        Dinh et al. (2017), eq. 3.
    """
    z, log_det = model.forward(batch["x"], batch.get("condition"), key=key)
    loss = jnp.mean(losses.flow_nll(upcast(z), upcast(log_det)))
    return loss, {"loss": loss}


def flow_bits_per_dim(
    model, batch: Batch, key: Key, *, levels: int, conditional: bool = False
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean bits per dimension of images, with fresh dequantization noise.

    Args:
        model: a `Flow` of images in [0, 1).
        batch: `image` [b, h, w, c] in [0, 1]; `labels` [b], where `conditional`.
        key: for the noise and for dropout.
        levels: number of values that a pixel can take.
        conditional: conditions the flow on the labels.

    Returns:
        The loss, and `loss`.

    Source:
        Dinh et al. (2017), eq. 3 and sec. 4.1; Theis et al. (2016), sec. 3.1.
    """
    key_noise, key_dropout = jax.random.split(key)
    x = ops.dequantize(key_noise, batch["image"], levels=levels)
    z, log_det = model.forward(x, batch["labels"] if conditional else None, key=key_dropout)
    nll = losses.flow_nll(upcast(z), upcast(log_det))
    loss = jnp.mean(losses.bits_per_dim(nll, dims=math.prod(x.shape[1:]), levels=levels))
    return loss, {"loss": loss}
