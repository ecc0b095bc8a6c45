"""Cross-entropies, from logits."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def cross_entropy(logits: Float[Array, "*b c"], labels: Int[Array, "*b"]) -> Float[Array, "*b"]:
    """Returns `−log softmax(logits)[label]` in nats.

    Args:
        logits: one score per class.
        labels: index of the true class, in [0, c).

    Returns:
        Values of at least 0; NaN where the label is out of range.

    Source:
        Bishop (2006), eq. 4.108.
    """
    log_probability = jax.nn.log_softmax(logits, axis=-1)
    chosen = jnp.take_along_axis(log_probability, labels[..., None], axis=-1, mode="clip")[..., 0]
    known = (labels >= 0) & (labels < logits.shape[-1])
    return jnp.where(known, -chosen, jnp.nan)


def binary_cross_entropy(
    logits: Float[Array, "*b"], targets: Float[Array, "*b"]
) -> Float[Array, "*b"]:
    """Returns `−y log σ(logit) − (1 − y) log(1 − σ(logit))` in nats.

    Args:
        logits: log-odds of the positive class.
        targets: y, probability of the positive class, in [0, 1].

    Returns:
        One value per logit, at least 0.

    Source:
        Bishop (2006), eq. 4.90.
    """
    return jnp.logaddexp(logits, jnp.zeros_like(logits)) - targets * logits
