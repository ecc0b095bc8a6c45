"""Half precision, widened where it does not suffice."""

import jax.numpy as jnp
from jaxtyping import Array


def upcast(x: Array) -> Array:
    """Returns floats in at least float32.

    float16 ends at 65 504, which the area of a large box exceeds; LAPACK and the special functions
    do not take 16-bit floats at all.
    """
    return x.astype(jnp.float32) if x.dtype.itemsize < 4 else x
