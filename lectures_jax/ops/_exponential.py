"""The exponential of a network's output, which may be any number."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

MOST_LOG_SIZE = 10.0  # of a box over its anchor: 22 026 anchors; its area squared is a float32


def bounded_exp(x: Float[Array, "*b"], *, most: float = math.inf) -> Float[Array, "*b"]:
    """Returns `exp(min(x, most))`, which is finite for every number.

    An infinity would be NaN as soon as it is multiplied by 0, subtracted from another, or
    differentiated. Where it is saturated the derivative is 0.

    Args:
        x: exponents.
        most: largest exponent; never more than nine tenths of that of the largest number, 79 in
            float32, so that sums of results are finite too.
    """
    largest = math.floor(0.9 * math.log(float(jnp.finfo(x.dtype).max)))
    limit = min(most, largest)
    return jnp.exp(jnp.where(x > limit, limit, x))  # `minimum` would multiply its derivative by 0
