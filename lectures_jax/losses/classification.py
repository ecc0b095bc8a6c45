"""Cross-entropies, from logits."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import checked


@checked
@in_float32
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
    label = labels.astype(jnp.int32)[..., None]
    classes = jnp.arange(logits.shape[-1], dtype=jnp.int32)
    own = label == classes.reshape((1,) * labels.ndim + (-1,))
    chosen = jnp.take_along_axis(logits, label, axis=-1, mode="clip")
    # log(1 + Σ exp(others − chosen)), so that a small loss is no difference of large numbers.
    others = jnp.where(own, -jnp.inf, logits - chosen)
    top = jax.lax.stop_gradient(jnp.max(others, axis=-1, initial=0))
    top = jnp.where(jnp.isfinite(top), top, 0)
    rest = jnp.sum(jnp.exp(others - top[..., None]), axis=-1)
    known = (labels >= 0) & (labels < logits.shape[-1])
    return jnp.where(known, top + jnp.log1p(rest + jnp.expm1(-top)), jnp.nan)


@checked
@in_float32
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
    return targets * jax.nn.softplus(-logits) + (1 - targets) * jax.nn.softplus(logits)
