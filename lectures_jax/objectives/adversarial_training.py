"""Where a classifier meets its loss on the images that an attack makes of the batch's."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import losses, metrics
from lectures_jax.ops._precision import upcast
from lectures_jax.typing import Batch, Key, Metrics


def adversarial_training(
    model, batch: Batch, key: Key, *, attack: Callable[..., Array]
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean cross-entropy in nats on attacked images, and the accuracy there.

    `min_θ E max_δ L(θ, x + δ, y)`: the attack is the inner maximum; no gradient goes through it.
    It sees the network in evaluation mode, without dropout and with the averages of batch
    normalization.

    Args:
        model: `model(image, key=key)` gives one score per class.
        batch: `image`, and `labels` in [0, classes).
        key: for the attack, and for layers that draw random numbers.
        attack: `(key, logits_fn, images, labels) -> images`, such as `input_optimization.pgd` with
            its budget bound by `functools.partial`.

    Returns:
        The loss, and `loss` and `accuracy`.

    Source:
        Madry et al. (2018), eq. 2.1.
    """
    key_attack, key_model = jax.random.split(key)
    evaluated = nnx.view(
        model, deterministic=True, use_running_average=True, raise_if_not_found=False
    )
    images, labels = batch["image"], batch["labels"]
    attacked = jax.lax.stop_gradient(attack(key_attack, evaluated, images, labels))
    logits = upcast(model(attacked, key=key_model))
    loss = jnp.mean(losses.cross_entropy(logits, labels))
    return loss, {"loss": loss, "accuracy": metrics.accuracy(logits, labels)}
