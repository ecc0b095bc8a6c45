"""Where a classifier meets its loss."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax import losses, metrics
from lectures_jax.ops._precision import upcast
from lectures_jax.typing import Batch, Key, Metrics, check_range


def classification(
    model, batch: Batch, key: Key, *, smoothing: float = 0.0
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean cross-entropy in nats, and the accuracy.

    Args:
        model: `model(image, key=key)` gives one score per class.
        batch: `image`, and `labels` in [0, classes); a label out of range makes the loss NaN.
        key: for layers that draw random numbers.
        smoothing: share of the label that is spread over all classes.

    Returns:
        The loss, and `loss` and `accuracy`.

    Raises:
        ValueError: if `smoothing` is out of [0, 1].

    Source:
        Bishop (2006), eq. 4.108; smoothing: Szegedy et al. (2016), sec. 7.
    """
    check_range(smoothing=smoothing, low=0, high=1)
    logits = upcast(model(batch["image"], key=key))
    loss = jnp.mean(losses.cross_entropy(logits, batch["labels"]))
    if smoothing:
        # Against the even distribution the cross-entropy is -mean(log p).
        even = -jnp.mean(jax.nn.log_softmax(logits))
        loss = (1 - smoothing) * loss + smoothing * even
    return loss, {"loss": loss, "accuracy": metrics.accuracy(logits, batch["labels"])}
