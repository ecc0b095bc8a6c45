"""Cross-entropies, from logits."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, ScalarLike

from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import check_range, checked


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


@checked
@in_float32
def sigmoid_focal_loss(
    logits: Float[Array, "*b"],
    targets: Float[Array, "*b"],
    *,
    alpha: ScalarLike | None = 0.25,
    gamma: ScalarLike = 2.0,
) -> Float[Array, "*b"]:
    """Returns `−α_t (1 − p_t)^γ log p_t`, in nats: well classified examples count less.

    `p_t` is `σ(logit)` and `α_t` is α where the target is 1, `1 − σ(logit)` and `1 − α` where it is
    0, and both are mixed in proportion for a target between them.

    Args:
        logits: log-odds of the positive class.
        targets: probability of the positive class, in [0, 1].
        alpha: weight of the positive class, in [0, 1]; None weighs nothing.
        gamma: γ, at least 0; the greater, the less a well classified example counts. 0 gives the
            cross-entropy.

    Returns:
        One value per logit, at least 0.

    Raises:
        ValueError: if `alpha` or `gamma` is out of its range.

    Source:
        Lin et al. (2017), eq. 5.
    """
    check_range(alpha=alpha, low=0, high=1)
    check_range(gamma=gamma, low=0)
    # 1 − p_t, without a difference from 1: it keeps its digits where the example is easy.
    wrong = targets * jax.nn.sigmoid(-logits) + (1 - targets) * jax.nn.sigmoid(logits)
    # The derivative of a power below 1 is infinite at 0.
    power = jnp.where(wrong > 0, wrong, 1) ** gamma
    weight = jnp.where(wrong > 0, power, jnp.where(gamma == 0, 1, 0))
    if alpha is not None:
        weight = weight * (alpha * targets + (1 - alpha) * (1 - targets))
    return weight * binary_cross_entropy(logits, targets)
