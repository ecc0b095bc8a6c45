"""The clauses of the op contract about transformations: jit, vmap, derivatives, export."""

import functools
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from lectures_jax.testing._case import Case
from lectures_jax.testing._comparing import (
    ROUNDING,
    assert_equal,
    is_key,
    largest,
    require,
    signature,
    to_numpy,
)
from lectures_jax.testing._compiling import cheap_jit, count_traces
from lectures_jax.testing._derivatives import (
    derivatives,
    gradient,
    is_float,
    random_direction,
    split_floats,
)

PLATFORMS = ("cpu", "cuda", "tpu")
FLOATS = (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)


def jit_equals_eager(case: Case) -> None:
    assert_equal(jax.jit(case.fn)(*case.args), case.result, case.exact)


def no_second_trace(case: Case) -> None:
    _ = case.result  # the first call, which may trace and compile
    with count_traces() as traces:
        case.fn(*case.args)
    require(not traces, f"a second call traced {len(traces)} times; put `jax.jit` around the loop")


def no_host_callback(case: Case) -> None:
    names = _primitives(jax.make_jaxpr(case.fn)(*case.args).jaxpr)
    callbacks = sorted(name for name in names if "callback" in name)
    require(not callbacks, f"calls the host through {', '.join(callbacks)}")


def eval_shape_equals_result(case: Case) -> None:
    foretold = jax.tree.map(signature, jax.eval_shape(case.fn, *case.args))
    result = jax.tree.map(signature, case.result)
    require(foretold == result, f"eval_shape gives {foretold}, the call {result}")


def dtype_is_kept(case: Case) -> None:
    if not any(is_float(leaf) for leaf in jax.tree.leaves(case.args)):
        return
    with jax.enable_x64(True):
        for dtype in FLOATS:
            specs = jax.tree.map(functools.partial(_spec, dtype=dtype), case.args)
            out = [x.dtype for x in jax.tree.leaves(jax.eval_shape(case.fn, *specs)) if is_float(x)]
            wrong = [str(d) for d in out if d != dtype]
            require(not wrong, f"{jnp.dtype(dtype)} in, {', '.join(wrong)} out")


def vmap_equals_loop(case: Case) -> None:
    if not jax.tree.leaves(case.args):
        return
    others = jax.tree.map(_other, case.args)
    batch = jax.tree.map(_stack, case.args, others)
    loop = jax.tree.map(_stack, case.result, case.fn(*others))
    # `exact` is a promise about the code that the compiler makes for users.
    jit = jax.jit if case.exact else cheap_jit
    assert_equal(jit(jax.vmap(case.fn))(*batch), loop, case.exact)


def empty_axes_work(case: Case) -> None:
    leaves = jax.tree.leaves(case.args)
    compiled = cheap_jit(case.fn)
    for size in sorted({leaf.shape[0] for leaf in leaves if leaf.ndim and leaf.shape[0]}):
        empty = jax.tree.map(functools.partial(_emptied, size=size), case.args)
        try:
            compiled(*empty)
        except ValueError as error:
            clear = case.names_an_argument(error)
            require(clear, f"size {size} → 0: the message names no argument: {error}")


def derivatives_equal_differences(case: Case) -> None:
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


def export_survives_storage(case: Case) -> None:
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


def gradients_finite_at_edges(case: Case) -> None:
    x, rest = split_floats(case.args, case.differentiable)
    grads = cheap_jit(gradient, static_argnums=0)(case.fn, x, rest)
    for index, grad in enumerate(jax.tree.leaves(grads)):
        bad = int(np.sum(~np.isfinite(to_numpy(grad))))
        require(not bad, f"{bad} values of gradient {index} are not finite")


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


def _other(x: jax.Array) -> jax.Array:
    """Returns another array of the same shape, whose values are in the same order and range."""
    if is_key(x):
        return jax.random.fold_in(x, 1) if x.ndim == 0 else x[::-1]
    if is_float(x):
        return 0.75 * x
    return jnp.roll(x, 1, axis=0) if x.ndim else x
