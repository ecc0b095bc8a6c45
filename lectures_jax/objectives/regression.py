"""Where a network with real-valued outputs meets its loss."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax import losses
from lectures_jax.ops._precision import upcast
from lectures_jax.typing import Batch, Key, Metrics


def regression(model, batch: Batch, key: Key) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean over the examples of the squared error.

    `mean_i Σ_d (f(x_i)_d − y_id)²`

    Args:
        model: `model(x, key=key)` gives one row of numbers per example.
        batch: `x`, the inputs, and `y`, the targets, a row each.
        key: for layers that draw random numbers.

    Returns:
        The loss, and `loss`.

    Raises:
        ValueError: if the model gives one number per example instead of a row.

    Source:
        Bishop (2006), eq. 1.2, without its factor ½ and divided by the number of examples.
    """
    predicted = upcast(model(batch["x"], key=key))
    if predicted.ndim < 2:  # or one sum of all examples would be their mean
        raise ValueError(f"model must give a row per example, got shape {predicted.shape}.")
    loss = jnp.mean(losses.squared_error(predicted, upcast(batch["y"])))
    return loss, {"loss": loss}
