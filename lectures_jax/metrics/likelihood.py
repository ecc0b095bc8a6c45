"""How far estimates of a likelihood can be trusted."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._precision import upcast
from lectures_jax.typing import checked


@checked
def effective_sample_size(log_weights: Float[Array, "*b k"]) -> Float[Array, "*b"]:
    """Returns `(Σ w)² / Σ w²`: the number of equally weighted samples of the same worth.

    Args:
        log_weights: logarithms of the k importance weights of each estimate, such as the
            logarithms that `losses.iwae_bound` averages.

    Returns:
        Values from 1, where one sample has all the weight, to k, where all have the same.

    Raises:
        ValueError: if there is no sample.

    Source:
        Kong (1992); Owen (2013), eq. 9.13.
    """
    if not log_weights.shape[-1]:
        raise ValueError(f"log_weights must hold at least one, got shape {log_weights.shape}.")
    share = jax.nn.softmax(upcast(log_weights), axis=-1)
    return (1 / jnp.sum(share**2, axis=-1)).astype(log_weights.dtype)
