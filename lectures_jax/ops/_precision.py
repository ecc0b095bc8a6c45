"""Half precision, widened where it does not suffice."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

F = TypeVar("F", bound=Callable[..., Any])


def upcast(x: Array) -> Array:
    """Returns floats in at least float32.

    float16 ends at 65 504, which the area of a large box exceeds; LAPACK and the special functions
    do not take 16-bit floats at all.
    """
    return x.astype(jnp.float32) if x.dtype.itemsize < 4 else x


def in_float32(fn: F) -> F:
    """Returns a function that computes in float32 where some of its arrays of floats have 16 bits.

    Its results are rounded once, to the dtype that these arrays have in common by JAX's promotion
    (bfloat16 beside float32 is float32), and the gradients to those of the arrays: a sum in
    bfloat16 stops at 256 terms of equal size.
    """

    @functools.wraps(fn)
    def call(*args: Any, **options: Any) -> Any:
        floats = [x for x in jax.tree.leaves((args, options)) if _is_float(x)]
        if all(x.dtype.itemsize >= 4 for x in floats):
            return fn(*args, **options)
        dtype = jnp.result_type(*floats)
        args, options = jax.tree.map(lambda x: upcast(x) if _is_float(x) else x, (args, options))
        results = fn(*args, **options)
        return jax.tree.map(lambda y: y.astype(dtype) if _is_float(y) else y, results)

    return call  # pyright: ignore[reportReturnType]


def _is_float(x: Any) -> bool:
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)
