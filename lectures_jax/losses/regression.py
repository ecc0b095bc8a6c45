"""Losses on real-valued outputs."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def squared_error(x: Float[Array, "*b d"], y: Float[Array, "*b d"]) -> Float[Array, "*b"]:
    """Returns `Σ_d (x_d − y_d)²`.

    Args:
        x: prediction.
        y: target.

    Source:
        Bishop (2006), eq. 1.2, without its factor ½.
    """
    return jnp.sum((x - y) ** 2, axis=-1)
