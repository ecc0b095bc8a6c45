"""Derivatives of a function of any trees in its floating-point leaves, for the op contract."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

STEP = 1e-6  # of finite differences in float64, relative to the largest value of an argument


def is_float(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def split_floats(args: tuple[Any, ...], differentiable: bool | tuple[int, ...]) -> tuple[Any, Any]:
    """Returns the differentiable leaves and the others, None in each where the other has a leaf."""
    positions = range(len(args)) if differentiable is True else differentiable or ()

    def part(chosen: bool) -> tuple[Any, ...]:
        def keep(position: int, arg: Any) -> Any:
            mine = position in positions
            return jax.tree.map(lambda x: x if (mine and is_float(x)) is chosen else None, arg)

        return tuple(keep(position, arg) for position, arg in enumerate(args))

    return part(True), part(False)


def _results(fn: Callable[..., Any], x: Any, rest: Any) -> list[jax.Array]:
    args = jax.tree.map(lambda a, b: b if a is None else a, x, rest, is_leaf=lambda a: a is None)
    return [y for y in jax.tree.leaves(fn(*args)) if is_float(y)]


def gradient(fn: Callable[..., Any], x: Any, rest: Any) -> Any:
    return jax.grad(lambda x: sum(jnp.sum(y) for y in _results(fn, x, rest)))(x)


def derivatives(
    fn: Callable[..., Any], has_jvp: bool, x: Any, rest: Any, v: Any
) -> tuple[list[jax.Array], list[jax.Array], list[jax.Array], jax.Array]:
    """Returns the value, the difference d ≈ J v, J v (d where there is no `jvp`), and ⟨Jᵀ d, v⟩.

    All are one program: the time goes into compiling `fn`, whose common parts are compiled once.
    """
    f = functools.partial(_results, fn, rest=rest)
    sides = jax.tree.map(lambda a, b: jnp.stack([a - STEP * b, a + STEP * b]), x, v)
    difference = [(high - low) / (2 * STEP) for low, high in jax.vmap(f)(sides)]
    value, pull = jax.vjp(f, x)
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), pull(difference)[0], v)
    forward = jax.jvp(f, (x,), (v,))[1] if has_jvp else difference
    return value, difference, forward, jnp.asarray(sum(jax.tree.leaves(products)))


def random_direction(x: Any) -> Any:
    """Returns normal numbers in the shape of x, in units of the largest value of each array."""
    rng = np.random.default_rng(0)

    def one(a: jax.Array) -> jax.Array:
        largest = np.max(np.abs(a), initial=0)
        return jnp.asarray(rng.standard_normal(a.shape) * (largest if largest > 0 else 1))

    return jax.tree.map(one, x)
