"""Thresholds of suppression as arrays: a number is rounded so that comparisons are exact."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def overlap_limit(limit: int | float | Array, boxes: Array) -> Array:
    """Returns the threshold of an overlap, in the dtype in which boxes of these are compared."""
    dtype = np.dtype(np.float64 if boxes.dtype.itemsize == 8 else np.float32)
    return _at_most(limit, dtype) if isinstance(limit, int | float) else limit.astype(dtype)


def score_limit(number: int | float | Array, dtype: np.dtype) -> Array:
    """Returns the threshold of a score in the dtype of the scores."""
    return _rounded(number, dtype) if isinstance(number, int | float) else number.astype(dtype)


@functools.lru_cache(maxsize=256)  # as arguments, Python's numbers cost more than a small search
def _rounded(number: int | float, dtype: np.dtype) -> Array:
    with jax.ensure_compile_time_eval():
        return jnp.asarray(number, dtype)


@functools.lru_cache(maxsize=256)
def _at_most(limit: int | float, dtype: np.dtype) -> Array:
    """Returns the largest number of the dtype that is not above the limit.

    A float is above it exactly if it is above the limit, whose own rounding may lie on either side:
    an IoU of 3/10 is above 0.3, but not above float32(0.3).
    """
    rounded = np.asarray(limit, dtype)
    if rounded.item() > limit:
        rounded = np.nextafter(rounded, np.asarray(-np.inf, dtype))
    with jax.ensure_compile_time_eval():
        return jnp.asarray(rounded)
