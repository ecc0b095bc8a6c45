"""Where a classifier meets its loss."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax import losses, metrics
from lectures_jax.typing import Batch, Key, Metrics


def classification(model, batch: Batch, key: Key) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean cross-entropy in nats, and the accuracy.

    Args:
        model: `model(image, key=key)` gives one score per class.
        batch: `image`, and `labels` in [0, classes); a label out of range makes the loss NaN.
        key: for layers that draw random numbers.

    Returns:
        The loss, and `loss` and `accuracy`.

    Source:
        Bishop (2006), eq. 4.108.
    """
    logits = model(batch["image"], key=key)
    loss = jnp.mean(losses.cross_entropy(logits, batch["labels"]))
    return loss, {"loss": loss, "accuracy": metrics.accuracy(logits, batch["labels"])}
