"""Functions computed in float64, whether or not it is enabled where they are called."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

Result = TypeVar("Result")


def in_float64(function: Callable[..., Result], *sets: Array | np.ndarray) -> Result:
    """Calls a function with arrays of float64, and rounds the result to JAX's default precision.

    A difference of large, nearly equal sums would leave little of float32. The gradient is computed
    in float64 too, and rounded.

    Args:
        function: function of the arrays.
        sets: arrays of floats.

    Returns:
        What the function returns.
    """
    if any(isinstance(x, Tracer) for x in sets):
        return _traced(function, sets)
    return _call(function, sets)


def _call(function: Callable[..., Any], sets: tuple[Array | np.ndarray, ...]) -> Any:
    with jax.enable_x64(True):
        result = function(*_widened(sets))
    # A float64 array that left would make the caller's next operation on it warn.
    return jax.tree.map(lambda x: x.astype(jax.dtypes.canonicalize_dtype(x.dtype)), result)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _traced(function: Callable[..., Any], sets: tuple[Array, ...]) -> Any:
    """The same with a gradient; JAX would round float64 arrays of NumPy on their way in."""
    return _call(function, sets)


def _forward(function, sets):
    return _call(function, sets), sets


def _backward(function, sets, gradient):
    # Here, as JAX would transpose the function outside of the context, and mix the dtypes.
    with jax.enable_x64(True):
        result, pull = jax.vjp(function, *_widened(sets))
        grads = pull(jax.tree.map(_as_gradient_of, gradient, result))
    return (tuple(grad.astype(x.dtype) for grad, x in zip(grads, sets, strict=True)),)


_traced.defvjp(_forward, _backward)


def _widened(sets: tuple[Array | np.ndarray, ...]) -> tuple[Array, ...]:
    return tuple(jnp.asarray(x, jnp.float64) for x in sets)


def _as_gradient_of(gradient: Any, result: Array) -> Any:
    return gradient if gradient.dtype == jax.dtypes.float0 else gradient.astype(result.dtype)
