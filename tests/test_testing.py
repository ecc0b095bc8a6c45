"""Each clause of the op contract holds for a sound op and catches a deliberately broken one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from lectures_jax.testing import check_op, count_traces

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]], np.float32)
calls = iter(range(1_000_000))


def scaled(x, y):
    return x * jnp.exp(-y)


def test_a_sound_op_passes():
    check_op(scaled, (X, X + 1), edges=[(X * 0, X)])
    check_op(jnp.sign, (X,), differentiable=False, exact=True)


def test_keys_integers_trees_and_missing_arrays_are_arguments_too():
    def op(key, batch, bias=None):
        noise = jax.random.uniform(key, batch["x"].shape, batch["x"].dtype)
        rows = jnp.arange(batch["labels"].shape[0])
        picked = (batch["x"] * noise)[rows, batch["labels"]]
        return {"picked": picked if bias is None else picked + bias, "labels": batch["labels"]}

    batch = {"x": X, "labels": np.array([2, 0])}
    check_op(op, (jax.random.key(0), batch, None))


def host(x):
    return jax.pure_callback(
        np.square, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="expand_dims"
    )


def single_precision(x):
    return x.astype(jnp.float32)


def retracing(x):
    return lax.scan(lambda carry, row: (carry + row, None), jnp.zeros_like(x[0]), x)[0]


def numpy_inside(x):
    return jnp.asarray(np.square(np.asarray(x)))


def branching(x):
    return x if x.sum() > 0 else -x


def impure(x):
    return x + next(calls)


def unstable_shape(x):
    return x[: int(isinstance(x, jax.core.Tracer)) + 1]


@jax.custom_batching.custom_vmap
def wrong_vmap(x):
    return x * 2


@wrong_vmap.def_vmap
def _(size, batched, x):
    return x * 3, True


@jax.custom_batching.custom_vmap
def no_vmap(x):
    return x * 2


@no_vmap.def_vmap
def _(size, batched, x):
    raise NotImplementedError("one image at a time")


def empty_crashes(x):
    return jnp.max(x, axis=0)


def empty_divides(x):
    return x / (1 // x.shape[0] + 1)


@jax.custom_jvp
def wrong_jvp(x):
    return x**2


@wrong_jvp.defjvp
def _(primals, tangents):
    return primals[0] ** 2, 3 * primals[0] * tangents[0]


@jax.custom_vjp
def wrong_vjp(x):
    return x**2


wrong_vjp.defvjp(lambda x: (x**2, x), lambda x, g: (x * g,))


def not_differentiable(x):
    return lax.while_loop(lambda y: jnp.any(y < 10), lambda y: y + jnp.abs(x) + 1, x)


def nan_gradient(x):
    return jnp.where(x == 0, 1, jnp.sin(x) / x)


def only_here(x):
    return jnp.where(jnp.asarray(jax.default_backend() == "cpu"), x, 0) + _cpu_only(x)


def _cpu_only(x):
    return lax.platform_dependent(x, cpu=lambda x: x)


@pytest.mark.parametrize(
    ("op", "clause"),
    [
        (impure, "jit equals eager: result 0 differs"),
        (numpy_inside, "jit equals eager: raised TracerArrayConversionError"),
        (branching, "jit equals eager: raised TracerBoolConversionError"),
        (unstable_shape, "jit equals eager: float32[2, 3] instead of float32[1, 3]"),
        (retracing, "no second trace: a second call traced"),
        (host, "no host callback: calls the host through pure_callback"),
        (single_precision, "dtype is kept: float16 in, float32 out"),
        (wrong_vmap, "vmap equals loop: result 0 differs"),
        (no_vmap, "vmap equals loop: raised NotImplementedError: one image at a time"),
        (empty_crashes, "empty axes work: size 2 → 0: the message names no argument"),
        (empty_divides, "empty axes work: raised ZeroDivisionError"),
        (wrong_jvp, "derivatives equal differences: jvp is off"),
        (wrong_vjp, "derivatives equal differences: vjp is off"),
        (only_here, "export survives storage: raised"),
    ],
)
def test_a_broken_op_is_caught_by_its_clause(op, clause):
    with pytest.raises(AssertionError) as caught:
        check_op(op, (X,))
    message = str(caught.value)
    assert clause in message
    assert getattr(op, "__name__", "") in message
    assert "\n" not in message


def test_an_op_declared_differentiable_must_be_so():
    op = jax.jit(not_differentiable)
    with pytest.raises(AssertionError, match="derivatives equal differences: raised ValueError"):
        check_op(op, (X,))
    check_op(op, (X,), differentiable=False)
    with pytest.raises(AssertionError, match="has no such float argument"):
        check_op(lambda n: n + 1, (np.arange(3),))


def test_a_nan_gradient_at_an_edge_is_caught():
    check_op(nan_gradient, (X,))
    with pytest.raises(AssertionError, match="gradients finite at edges: 6 values of gradient 0"):
        check_op(nan_gradient, (X,), edges=[(X * 0,)])


def test_results_that_must_be_exact_may_not_differ_by_rounding():
    def op(x):
        return jnp.where(isinstance(x, jax.core.Tracer), 1 + 1e-6, 1) * x

    check_op(op, (X,))
    with pytest.raises(AssertionError, match="jit equals eager: result 0 differs"):
        check_op(op, (X,), exact=True)


def test_only_the_declared_arguments_need_a_derivative():
    @jax.custom_jvp
    def op(x, y):
        return x * y

    op.defjvps(lambda t, out, x, y: t * y, lambda t, out, x, y: 0 * x * t)
    check_op(op, (X, X + 2), differentiable=(0,))
    with pytest.raises(AssertionError, match="jvp is off"):
        check_op(op, (X, X + 2), differentiable=(1,))


def test_an_error_that_names_the_argument_is_a_clear_one():
    def op(x):
        if not x.size:
            raise ValueError(f"x must not be empty, got {x.shape}.")
        return x.max(axis=0)

    check_op(op, (X,))


def test_traces_are_counted_inside_of_the_context_only():
    with count_traces() as traces:
        jax.jit(lambda x: x + 1)(1.0)
    assert len(traces) == 1
    jax.jit(lambda x: x + 2)(1.0)
    assert len(traces) == 1
