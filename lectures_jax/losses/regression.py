"""Losses on real-valued outputs."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import checked


@checked
@in_float32
def squared_error(x: Float[Array, "*b d"], y: Float[Array, "*b d"]) -> Float[Array, "*b"]:
    """Returns the squared error `Σ_d (x_d − y_d)²`.

    Args:
        x: predictions.
        y: targets.

    Returns:
        One value per example, at least 0: a sum over its outputs, not a mean.

    Source:
        Bishop (2006), eq. 1.2, without its factor ½.
    """
    return jnp.sum((x - y) ** 2, axis=-1)
