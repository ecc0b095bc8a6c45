"""Losses of half precision, computed in float32."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from lectures_jax.ops._precision import upcast

F = TypeVar("F", bound=Callable[..., Any])


def in_float32(fn: F) -> F:
    """Returns a function that computes half precision in float32 and rounds its result once.

    A sum of terms that are rounded one by one, or a difference of nearly equal ones, has few right
    digits, and float16 ends at 65 504. Wider floats are left as they are.

    Args:
        fn: function of arrays and of trees of them.

    Returns:
        The same function; what it returns has the dtype of its arguments.
    """

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        # A network among the arguments is a tree too, and has a precision of its own.
        floats = [x for x in jax.tree.leaves((args, kwargs), is_leaf=callable) if _is_float(x)]
        if all(x.dtype.itemsize >= 4 for x in floats):
            return fn(*args, **kwargs)
        dtype = jnp.result_type(*floats)
        widen = lambda x: upcast(x) if _is_float(x) else x  # noqa: E731
        args, kwargs = jax.tree.map(widen, (args, kwargs), is_leaf=callable)
        result = fn(*args, **kwargs)
        return jax.tree.map(lambda y: y.astype(dtype) if _is_float(y) else y, result)

    return call  # pyright: ignore[reportReturnType]


def _is_float(x: Any) -> bool:
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)
