"""The op contract: what every pure array function of this library, or of yours, must satisfy.

A clause that does not hold raises an `AssertionError` of one line, which begins with the function
and the clause.
"""

import contextlib
import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.export
import jax.monitoring
import jax.numpy as jnp
import numpy as np

from lectures_jax.testing._comparing import (
    ROUNDING,
    assert_equal,
    is_key,
    largest,
    require,
    signature,
    to_numpy,
)
from lectures_jax.testing._compiling import cheap_jit
from lectures_jax.testing._derivatives import (
    derivatives,
    gradient,
    is_float,
    random_direction,
    split_floats,
)

PLATFORMS = ("cpu", "cuda", "tpu")
FLOATS = (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)
TRACE_EVENT = "/jax/core/compile/jaxpr_trace_duration"


def check_op(
    fn: Callable[..., Any],
    *examples: tuple[Any, ...],
    edges: Sequence[tuple[Any, ...]] = (),
    differentiable: bool | tuple[int, ...] = True,
    exact: bool = False,
    shared: tuple[int, ...] = (),
) -> None:
    """Proves that a pure array function keeps the op contract.

    Under `jit` it equals itself; called again it is not traced again; it calls nothing on the
    host; `jax.eval_shape` foretells the result; floats come out in the dtype in which they went
    in; `vmap` equals a loop; axes of size 0 work or raise a `ValueError` that names an argument;
    `jvp` and `vjp` equal finite differences in float64; `jax.export` for CPU, CUDA and TPU with a
    symbolic batch axis can be stored and loaded; gradients are finite at the edges.

    Args:
        fn: the function; bind its hyperparameters with `functools.partial`.
        examples: argument tuples away from kinks. Arguments are arrays, typed keys, trees of them,
            or None. Give axes that mean different things different sizes: the clause on empty axes
            empties together all axes that are as long as some argument's first axis.
        edges: argument tuples at kinks and where a fraction is 0/0.
        differentiable: all floating-point arguments, none, or those at these positions.
        exact: `jit` and `vmap` keep every bit, instead of agreeing up to rounding.
        shared: positions of the arguments that an exported program takes once for the whole batch.
            JAX cannot export convolutions whose kernels have a symbolic batch axis.

    Raises:
        AssertionError: if a clause does not hold.
    """
    work = [(args, CLAUSES) for args in examples]
    work += [(args, (gradients_finite_at_edges,)) for args in edges]
    for args, clauses in work:
        case = _Case(fn, jax.tree.map(jnp.asarray, args), differentiable, exact, shared)
        for clause in clauses:
            _prove(clause, case)


@contextlib.contextmanager
def count_traces() -> Iterator[list[str]]:
    """Gives a list that grows by one entry whenever JAX traces a function inside of the context."""
    traces: list[str] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == TRACE_EVENT:
            traces.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield traces
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@dataclass(frozen=True)
class _Case:
    """One example of one function, and its results without `jit`, computed once."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    differentiable: bool | tuple[int, ...]
    exact: bool
    shared: tuple[int, ...]

    @functools.cached_property
    def result(self) -> Any:
        return self.fn(*self.args)

    @property
    def name(self) -> str:
        fn = self.fn
        while isinstance(fn, functools.partial):
            fn = fn.func
        return getattr(fn, "__name__", repr(fn))


def jit_equals_eager(case: _Case) -> None:
    assert_equal(jax.jit(case.fn)(*case.args), case.result, case.exact)


def no_second_trace(case: _Case) -> None:
    _ = case.result  # the first call, which may trace and compile
    with count_traces() as traces:
        case.fn(*case.args)
    require(not traces, f"a second call traced {len(traces)} times; put `jax.jit` around the loop")


def no_host_callback(case: _Case) -> None:
    names = _primitives(jax.make_jaxpr(case.fn)(*case.args).jaxpr)
    callbacks = sorted(name for name in names if "callback" in name)
    require(not callbacks, f"calls the host through {', '.join(callbacks)}")


def eval_shape_equals_result(case: _Case) -> None:
    foretold = jax.tree.map(signature, jax.eval_shape(case.fn, *case.args))
    result = jax.tree.map(signature, case.result)
    require(foretold == result, f"eval_shape gives {foretold}, the call {result}")


def dtype_is_kept(case: _Case) -> None:
    if not any(is_float(leaf) for leaf in jax.tree.leaves(case.args)):
        return
    with jax.enable_x64(True):
        for dtype in FLOATS:
            specs = jax.tree.map(functools.partial(_spec, dtype=dtype), case.args)
            out = [x.dtype for x in jax.tree.leaves(jax.eval_shape(case.fn, *specs)) if is_float(x)]
            wrong = [str(d) for d in out if d != dtype]
            require(not wrong, f"{jnp.dtype(dtype)} in, {', '.join(wrong)} out")


def vmap_equals_loop(case: _Case) -> None:
    if not jax.tree.leaves(case.args):
        return
    others = jax.tree.map(_rolled, case.args)
    batch = jax.tree.map(_stack, case.args, others)
    loop = jax.tree.map(_stack, case.result, case.fn(*others))
    # `exact` is a promise about the code that the compiler makes for users.
    jit = jax.jit if case.exact else cheap_jit
    assert_equal(jit(jax.vmap(case.fn))(*batch), loop, case.exact)


def empty_axes_work(case: _Case) -> None:
    leaves = jax.tree.leaves(case.args)
    compiled = cheap_jit(case.fn)
    for size in sorted({leaf.shape[0] for leaf in leaves if leaf.ndim and leaf.shape[0]}):
        empty = jax.tree.map(functools.partial(_emptied, size=size), case.args)
        try:
            compiled(*empty)
        except ValueError as error:
            known = inspect.signature(case.fn).parameters
            clear = any(re.search(rf"\b{name}\b", str(error)) for name in known)
            require(clear, f"size {size} → 0: the message names no argument: {error}")


def derivatives_equal_differences(case: _Case) -> None:
    if case.differentiable is False:
        return
    names = _primitives(jax.make_jaxpr(case.fn)(*case.args).jaxpr)
    has_jvp = not any(name.startswith("custom_vjp") for name in names)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: x.astype(jnp.float64) if is_float(x) else x, case.args)
        x, rest = split_floats(wide, case.differentiable)
        require(jax.tree.leaves(x), "declared differentiable, but has no such float argument")
        v = random_direction(x)
        results = cheap_jit(derivatives, static_argnums=(0, 1))(case.fn, has_jvp, x, rest, v)
        y, difference, forward, reverse = jax.tree.map(np.asarray, results)
    noise = 1e-8 * largest(y)  # of the difference: float64's rounding over the step
    allowed = ROUNDING * largest(difference) + noise
    error = largest([a - b for a, b in zip(forward, difference, strict=True)])
    require(error <= allowed, f"jvp is off by {error:.3g}, {allowed:.3g} allowed")
    norm = np.sqrt(sum(np.sum(np.square(d)) for d in difference))
    error, allowed = abs(reverse - norm**2), (ROUNDING * norm + noise) * norm
    require(error <= allowed, f"vjp is off by {error:.3g}, {allowed:.3g} allowed")


def export_survives_storage(case: _Case) -> None:
    if not jax.tree.leaves(case.args):
        return
    axes = tuple(None if n in case.shared else 0 for n in range(len(case.args)))

    def flat(*batch: Any) -> list[Any]:  # no NamedTuple may cross the edge of an export
        args = jax.tree.unflatten(jax.tree.structure(case.args), batch)
        return jax.tree.leaves(jax.vmap(case.fn, in_axes=axes)(*args))

    (size,) = jax.export.symbolic_shape("b")
    specs = [
        jax.ShapeDtypeStruct(leaf.shape if axis is None else (size, *leaf.shape), leaf.dtype)
        for arg, axis in zip(case.args, axes, strict=True)
        for leaf in jax.tree.leaves(arg)
    ]
    exported = jax.export.export(jax.jit(flat), platforms=PLATFORMS)(*specs)
    loaded = jax.export.deserialize(exported.serialize())
    same = loaded.mlir_module_serialized == exported.mlir_module_serialized
    require(same, "the program loaded is not the one stored")


def gradients_finite_at_edges(case: _Case) -> None:
    x, rest = split_floats(case.args, case.differentiable)
    grads = cheap_jit(gradient, static_argnums=0)(case.fn, x, rest)
    for index, grad in enumerate(jax.tree.leaves(grads)):
        bad = int(np.sum(~np.isfinite(to_numpy(grad))))
        require(not bad, f"{bad} values of gradient {index} are not finite")


CLAUSES = (
    jit_equals_eager,
    no_second_trace,
    no_host_callback,
    eval_shape_equals_result,
    dtype_is_kept,
    vmap_equals_loop,
    empty_axes_work,
    derivatives_equal_differences,
    export_survives_storage,
)


def _prove(clause: Callable[[_Case], None], case: _Case) -> None:
    try:
        clause(case)
    except Exception as error:
        kind = "" if isinstance(error, AssertionError) else f"raised {type(error).__name__}: "
        title = f"{case.name}: {clause.__name__.replace('_', ' ')}"
        raise AssertionError(f"{title}: {kind}{textwrap.shorten(str(error), 300)}") from error


def _primitives(jaxpr: Any) -> set[str]:
    """Returns the names of all primitives of a jaxpr and of the ones inside it."""
    names = set()
    for equation in jaxpr.eqns:
        names.add(equation.primitive.name)
        for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(value, "eqns"):
                names |= _primitives(value)
    return names


def _spec(x: jax.Array, dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, dtype if is_float(x) else x.dtype)


def _emptied(x: jax.Array, size: int) -> jax.Array:
    return x[tuple(slice(0) if n == size else slice(None) for n in x.shape)]


def _stack(*rows: jax.Array) -> jax.Array:
    return jnp.stack(rows)


def _rolled(x: jax.Array) -> jax.Array:
    """Returns another array of the same shape: rows moved on by one, a key folded."""
    if is_key(x):
        return jax.random.fold_in(x, 1) if x.ndim == 0 else x[::-1]
    return jnp.roll(x, 1, axis=0) if x.ndim else x
