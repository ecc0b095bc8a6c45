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
    in float64 too, and rounded. Forward-mode and backward-mode derivatives come from it, once.

    Args:
        function: function of the arrays that returns a number or a tuple of numbers.
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
    return jax.tree.map(_rounded, result)


def _rounded(x: Array) -> Array:
    # A float64 array that left would make the caller's next operation on it warn.
    return x.astype(jax.dtypes.canonicalize_dtype(x.dtype))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _traced(function: Callable[..., Any], sets: tuple[Array, ...]) -> Any:
    """The same with derivatives; JAX would round float64 arrays of NumPy on their way in."""
    return _call(function, sets)


@_traced.defjvp
def _derivative(function, primals, tangents):
    # From the gradients, as JAX would transpose the function outside of the context, and mix the
    # dtypes. A result is a few numbers, so that there are few gradients.
    (sets,), (directions,) = primals, tangents
    with jax.enable_x64(True):
        result, pull = jax.vjp(function, *_widened(sets))
        numbers, structure = jax.tree.flatten(result)
        chosen = [jax.tree.unflatten(structure, _one_of(numbers, n)) for n in range(len(numbers))]
        gradients = [pull(one) for one in chosen]
    leaves = [_rounded(x) for x in numbers]
    derivatives = [
        _along(directions, gradient, y.dtype)
        if jnp.issubdtype(y.dtype, jnp.floating)
        else np.zeros(y.shape, jax.dtypes.float0)
        for y, gradient in zip(leaves, gradients, strict=True)
    ]
    return tuple(jax.tree.unflatten(structure, part) for part in (leaves, derivatives))


def _one_of(numbers: list[Array], chosen: int) -> list[Any]:
    """Returns 1 for the chosen number and 0 for the others."""
    return [
        jnp.asarray(n == chosen, x.dtype)
        if jnp.issubdtype(x.dtype, jnp.floating)
        else np.zeros(x.shape, jax.dtypes.float0)
        for n, x in enumerate(numbers)
    ]


def _along(directions: tuple[Array, ...], gradient: tuple[Array, ...], dtype: Any) -> Array:
    return sum(
        (
            jnp.sum(g.astype(dtype) * d.astype(dtype))
            for g, d in zip(gradient, directions, strict=True)
        ),
        start=jnp.zeros((), dtype),
    )


def _widened(sets: tuple[Array | np.ndarray, ...]) -> tuple[Array, ...]:
    return tuple(jnp.asarray(x, jnp.float64) for x in sets)
