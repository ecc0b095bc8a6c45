"""Adam whose weight decay spares biases and the scales of normalization."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax


def adamw_on_kernels(
    learning_rate: float | optax.Schedule, *, weight_decay: float
) -> optax.GradientTransformation:
    """Returns Adam with decoupled weight decay on the kernels only.

    The state keeps the learning rate, so that a training's rows have it. A kernel is an array of
    two or more axes. Biases and the scales of normalization have one: decay
    would pull them to 0, where they are no simpler.

    Args:
        learning_rate: a constant, or a schedule of the step.
        weight_decay: share of a kernel that a step takes away, times the learning rate.

    Source:
        Loshchilov & Hutter (2019), algorithm 2; no decay of biases: He et al. (2019), sec. 3.1.
    """
    kernels = partial(jax.tree.map, lambda parameter: jnp.ndim(parameter) > 1)

    @optax.inject_hyperparams
    def adamw(learning_rate: Any) -> optax.GradientTransformation:
        return optax.adamw(learning_rate, weight_decay=weight_decay, mask=kernels)

    return adamw(learning_rate)
