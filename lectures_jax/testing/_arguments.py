"""The clauses of the op contract about arguments: of another dtype or rank, or hidden by a mask."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax.testing._case import Case
from lectures_jax.testing._comparing import (
    assert_equal,
    is_key,
    largest,
    require,
    to_numpy,
)
from lectures_jax.testing._compiling import cheap_jit
from lectures_jax.testing._derivatives import gradient, is_float, split_floats

HALVES = (jnp.float16, jnp.bfloat16)
HALF_ROUNDING = 4.0  # units in the last place that a few roundings in 16 bits may be off
NOISE = 1 / 8  # of such a unit, of all results together: float32's own rounding, where they cancel
HIDDEN = (100.0, 1e30, np.nan)  # an exponential of them overflows, a square, and anything


def integers_for_floats_are_refused(case: Case) -> None:
    for position, arg in enumerate(case.args):
        if any(map(is_float, jax.tree.leaves(arg))):
            integers = jax.tree.map(lambda x: _spec(x, jnp.int32 if is_float(x) else x.dtype), arg)
            result = _refusal(case, position, integers)
            require(result is None, f"argument {position} may be integers: the result is {result}")


def another_axis_is_refused(case: Case) -> None:
    arrays = [n for n, arg in enumerate(case.args) if _is_array(arg)]
    if len(arrays) < 2:
        return  # there is nothing to broadcast against
    for position in arrays[1:]:  # the first one may have any number of leading axes
        longer = case.args[position][..., None]
        if _refusal(case, position, _spec(longer, longer.dtype)) is None:
            continue
        got = jax.tree.map(jnp.ravel, case.fn(*_replaced(case.args, position, longer)))
        try:
            assert_equal(got, jax.tree.map(jnp.ravel, case.result), exact=False)
        except AssertionError as error:
            raise AssertionError(f"argument {position} of shape {longer.shape}: {error}") from error


def half_precision_accumulates_in_float32(case: Case) -> None:
    leaves = jax.tree.leaves(case.args)
    if any(map(is_key, leaves)) or not any(map(is_float, leaves)):
        return  # a key gives other numbers in another dtype
    compute = cheap_jit(_results_and_gradients, static_argnums=(0, 2))
    for dtype in HALVES:
        half = jax.tree.map(lambda x, dtype=dtype: x.astype(dtype) if is_float(x) else x, case.args)
        rounded = jax.tree.map(lambda x, y: x.astype(y.dtype), half, case.args)
        got = compute(case.fn, half, case.differentiable)
        expected = compute(case.fn, rounded, case.differentiable)
        for name, a, b in zip(("results", "gradients"), got, expected, strict=True):
            _assert_rounded(name, jax.tree.leaves(a), jax.tree.leaves(b), dtype)


def what_is_hidden_has_no_effect(case: Case) -> None:
    if case.hide is None:
        return
    compute = cheap_jit(_results_and_gradients, static_argnums=(0, 2))
    results = []
    for value in (0.0, *HIDDEN):
        args = jax.tree.map(jnp.asarray, case.hide(value, *case.args))
        results.append((args, compute(case.fn, args, case.differentiable)))
    (shown, expected), *others = results
    for value, (args, got) in zip(HIDDEN, others, strict=True):
        try:
            assert_equal(got, expected, exact=False)
        except AssertionError as error:
            raise AssertionError(f"hidden values of {value}: {error}") from error
        if case.differentiable is False:
            continue
        changed, _ = split_floats(
            jax.tree.map(lambda x, y: jnp.float32(x != y), args, shown), case.differentiable
        )
        leaks = jax.tree.map(lambda c, g: jnp.any((c > 0) & (g != 0)), changed, got[1])
        require(not any(jax.tree.leaves(leaks)), f"hidden values of {value} have a gradient")


def _refusal(case: Case, position: int, spec: Any) -> str | None:
    """Returns None if the function refuses an argument of another shape or dtype, else a result."""
    specs = jax.tree.map(lambda x: _spec(x, x.dtype), case.args)
    try:
        result = jax.eval_shape(case.fn, *_replaced(specs, position, spec))
    except ValueError as error:
        require(case.names_an_argument(error), f"the message names no argument: {error}")
        return None
    return str(result)


def _replaced(args: tuple[Any, ...], position: int, arg: Any) -> tuple[Any, ...]:
    return (*args[:position], arg, *args[position + 1 :])


def _results_and_gradients(
    fn: Callable[..., Any], args: tuple[Any, ...], differentiable: bool | tuple[int, ...]
) -> tuple[Any, Any]:
    if differentiable is False:
        return fn(*args), ()
    return fn(*args), gradient(fn, *split_floats(args, differentiable))


def _assert_rounded(name: str, half: list[Any], wide: list[Any], dtype: Any) -> None:
    """Compares results in a dtype of 16 bits with those of a wider one, from the same numbers."""
    limits = jnp.finfo(dtype)
    unit = float(limits.eps)  # in the last place of 1
    noise = NOISE * unit * largest([_finite(to_numpy(y)) for y in wide if is_float(y)])
    for x, y in zip(half, wide, strict=True):
        if not is_float(y):
            assert_equal(x, y, exact=True)
            continue
        a, b = to_numpy(x), to_numpy(y.astype(dtype))
        allowed = HALF_ROUNDING * unit * largest([_finite(b)]) + noise
        allowed += float(limits.smallest_subnormal)
        finite = np.isfinite(a) & np.isfinite(b)
        worst = largest([a[finite] - b[finite]])
        close = worst <= allowed and np.array_equal(a[~finite], b[~finite], equal_nan=True)
        require(close, f"{name} in {x.dtype} are off by {worst:.3g}, {allowed:.3g} allowed")


def _finite(x: np.ndarray) -> np.ndarray:
    return x[np.isfinite(x)]


def _is_array(arg: Any) -> bool:
    return hasattr(arg, "shape") and not is_key(arg)


def _spec(x: Any, dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, dtype)
