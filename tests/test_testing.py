"""Each clause of the op contract holds for a sound op and catches a deliberately broken one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jaxtyping import Array, Bool, Float

from lectures_jax.testing import check_op, count_traces
from lectures_jax.typing import checked

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]], np.float32)
calls = iter(range(1_000_000))


@checked
def scaled(x: Float[Array, "n m"], y: Float[Array, "n m"]):
    return x * jnp.exp(-y)


def test_a_sound_op_passes():
    check_op(scaled, (X, X + 1), edges=[(X * 0, X)])
    check_op(checked_sign, (X,), differentiable=False, exact=True)


def test_keys_integers_trees_and_missing_arrays_are_arguments_too():
    def op(key, batch, bias=None):
        if not jnp.issubdtype(batch["x"].dtype, jnp.floating):
            raise ValueError(f"batch must hold floats, got {batch['x'].dtype}.")
        noise = jax.random.uniform(key, batch["x"].shape, batch["x"].dtype)
        rows = jnp.arange(batch["labels"].shape[0])
        picked = (batch["x"] * noise)[rows, batch["labels"]]
        return {"picked": picked if bias is None else picked + bias, "labels": batch["labels"]}

    batch = {"x": X, "labels": np.array([2, 0])}
    check_op(op, (jax.random.key(0), batch, None))


@checked
def checked_sign(x: Float[Array, "n m"]):
    return jnp.sign(x)


@checked
def unchecked_tree(x: Float[Array, "n m"], params: dict[str, Array]):
    return x * params["scale"]


def broadcasting(x, y):
    if not all(jnp.issubdtype(a.dtype, jnp.floating) for a in (x, y)):
        raise ValueError(f"x and y must be floats, got {x.dtype} and {y.dtype}.")
    return x - jnp.expand_dims(y, tuple(range(x.ndim - y.ndim)))


@checked
def summing_in_half(x: Float[Array, "n m"]):
    return lax.reduce_window(x, np.zeros((), x.dtype), lax.add, x.shape, x.shape, "VALID")


@checked
def masked_once(x: Float[Array, "n m"], mask: Bool[Array, "n m"]):
    return jnp.where(mask, 0, jnp.exp(x))


@checked
def masked_too_late(x: Float[Array, "n m"], mask: Bool[Array, "n m"]):
    return jnp.where(mask, 0, x).sum(axis=0) + 0 * jnp.exp(-jnp.abs(x)).sum(axis=0)


@checked
def masked_twice(x: Float[Array, "n m"], mask: Bool[Array, "n m"]):
    return jnp.where(mask, 0, jnp.exp(jnp.where(mask, 0, x)))


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


@checked
def not_differentiable(x: Float[Array, "n m"]):
    return lax.while_loop(lambda y: jnp.any(y < 10), lambda y: y + jnp.abs(x) + 1, x)


@checked
def nan_gradient(x: Float[Array, "n m"]):
    return jnp.where(x == 0, 0, jnp.sqrt(jnp.abs(x)))


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
    @checked
    def op(x: Float[Array, "n m"]):
        return jnp.where(isinstance(x, jax.core.Tracer), 1 + 1e-6, 1) * x

    check_op(op, (X,))
    with pytest.raises(AssertionError, match="jit equals eager: result 0 differs"):
        check_op(op, (X,), exact=True)


def test_only_the_declared_arguments_need_a_derivative():
    @jax.custom_jvp
    def product(x, y):
        return x * y

    product.defjvps(lambda t, out, x, y: t * y, lambda t, out, x, y: 0 * x * t)

    @checked
    def op(x: Float[Array, "n m"], y: Float[Array, "n m"]):
        return product(x, y)

    check_op(op, (X, X + 2), differentiable=(0,))
    with pytest.raises(AssertionError, match="jvp is off"):
        check_op(op, (X, X + 2), differentiable=(1,))


def test_an_error_that_names_the_argument_is_a_clear_one():
    @checked
    def op(x: Float[Array, "n m"]):
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


def test_integers_for_floats_are_caught():
    with pytest.raises(AssertionError, match="floats are refused: argument 0 may be integers"):
        check_op(lambda x: 2.0 * x, (X,))
    with pytest.raises(AssertionError, match="floats are refused: argument 1 may be integers"):
        check_op(unchecked_tree, (X, {"scale": X}))


def test_an_axis_that_broadcasts_is_caught():
    with pytest.raises(AssertionError, match=r"axis is refused: argument 1 of shape \(2, 1\)"):
        check_op(broadcasting, (X[:, :2], X[0, :2]))


def test_sums_in_half_precision_are_caught():
    many = np.ones((40, 50), np.float32)
    check_op(summing_in_half, edges=[(X,)])
    with pytest.raises(AssertionError, match="results in bfloat16 are off by"):
        check_op(summing_in_half, edges=[(many,)])


def test_gradients_that_sum_in_half_precision_are_caught():
    @jax.custom_vjp
    def add(x, y):
        return x + y[None]

    def pull(_, g):
        return g, summing_in_half(g[:, :1])[0] * jnp.ones_like(g[0])

    add.defvjp(lambda x, y: (add(x, y), None), pull)
    with pytest.raises(AssertionError, match="gradients in bfloat16 are off by"):
        check_op(add, edges=[(np.ones((999, 2), np.float32), np.ones(2, np.float32))])


def test_what_a_mask_hides_must_not_reach_results_or_gradients():
    mask = np.array([[True, False, False], [False, True, False]])
    hide = lambda value, x, mask: (jnp.where(mask, value, x), mask)
    check_op(masked_twice, (X, mask), hide=hide)
    for op in (masked_once, masked_too_late):
        check_op(op, (X, mask))
        with pytest.raises(AssertionError, match="what is hidden has no effect: hidden values of"):
            check_op(op, (X, mask), hide=hide)
