"""Convolutions: by hand, against torch's values and gradients, against their own matrix."""

import inspect
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.ops import _fast_convolution as fast
from lectures_jax.ops import _winograd as winograd
from lectures_jax.ops._precision import in_float32
from lectures_jax.ops._window import sliding_window
from lectures_jax.typing import checked
from tests.contract import Contract

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "convolution.npz")
RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


@checked
@in_float32
def many_channels(x: Float[Array, "n h w c"], kernel: Float[Array, "k k c d"]):
    """What `conv2d` does on CPU with larger images, which would take a test long."""
    window = sliding_window(x.shape, kernel.shape, stride=1, padding="SAME", dilation=1)
    return winograd.convolution(x, kernel, window)


X, BIAS = normal(2, 6, 7, 4), normal(6)

CONTRACT = {
    "conv2d": Contract(
        [(X, normal(3, 2, 4, 6), BIAS)],
        edges=[(np.ones((3, 40, 40, 4), np.float32), normal(3, 2, 4, 6), BIAS)],
        shared=(1,),
        op=partial(ops.conv2d, stride=2),
    ),
    "conv2d 3x3 of many channels": Contract(
        [(normal(2, 4, 5, 32), normal(3, 3, 32, 33))],
        shared=(1,),
        op=lambda x, kernel: (
            many_channels(x, kernel) if x.size and kernel.size else ops.conv2d(x, kernel)
        ),
    ),
    "conv2d of a large kernel to few channels": Contract(
        [(normal(1, 48, 50, 5), normal(7, 7, 5, 2), normal(2))], shared=(1,)
    ),
    "conv2d dilated": Contract(
        [(X, normal(3, 3, 4, 5))], shared=(1,), op=partial(ops.conv2d, dilation=2, padding=1)
    ),
    "conv2d depthwise": Contract(
        [(X, normal(3, 3, 1, 8))],
        edges=[(np.ones((3, 40, 40, 4), np.float32), normal(3, 3, 1, 8))],
        shared=(1,),
        op=partial(ops.conv2d, groups=4, stride=2),
    ),
    "conv2d grouped": Contract(
        [(X, normal(3, 3, 2, 6), None)],
        shared=(1,),
        op=partial(ops.conv2d, groups=2, padding=((2, 1), (0, 1))),
    ),
    "conv_transpose2d": Contract(
        [(X, normal(3, 3, 6, 4), BIAS)],
        shared=(1,),
        op=partial(ops.conv_transpose2d, stride=2, padding=1, output_padding=1),
    ),
    "separable_conv2d": Contract(
        [(X, normal(3, 3, 1, 4), normal(1, 1, 4, 6), BIAS)], shared=(1, 2)
    ),
    "conv_matrix": Contract(
        [(normal(2, 3, 4, 6),)], op=partial(ops.conv_matrix, height=3, width=5, padding="SAME")
    ),
}


def test_a_convolution_by_hand():
    x = jnp.arange(9.0).reshape(3, 3, 1)
    kernel = jnp.array([[1.0, 2], [0, -1]]).reshape(2, 2, 1, 1)
    y = ops.conv2d(x, kernel, jnp.array([10.0]), padding="VALID")
    # Upper left: 0 · 1 + 1 · 2 + 3 · 0 − 4 + 10; not flipped.
    np.testing.assert_array_equal(y[..., 0], [[8, 10], [14, 16]])


def test_the_course_s_matrix_of_a_3x3_kernel_on_a_4x4_image():
    weights = jnp.arange(1.0, 10).reshape(3, 3)
    matrix = ops.conv_matrix(weights[:, :, None, None], height=4, width=4)
    row = [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0, 0]
    np.testing.assert_array_equal(matrix, [np.roll(row, shift) for shift in (0, 1, 4, 5)])


def test_the_matrix_is_the_convolution_and_its_transpose_the_transposed_one():
    kernel, x = jnp.asarray(normal(3, 2, 4, 5)), jnp.asarray(X[0])
    matrix = ops.conv_matrix(kernel, height=6, width=7, stride=2, padding="SAME")
    y = ops.conv2d(x, kernel, stride=2)
    np.testing.assert_allclose(matrix @ x.ravel(), y.ravel(), atol=1e-4)
    # "SAME" takes 8 columns to 4 as it takes 7: the transposed convolution returns the larger size.
    wide = ops.conv_matrix(kernel, height=6, width=8, stride=2, padding="SAME")
    back = ops.conv_transpose2d(y, kernel, stride=2)
    np.testing.assert_allclose(wide.T @ y.ravel(), back.ravel(), atol=1e-4)


FORWARD = {
    "strided": partial(ops.conv2d, stride=2, padding=1),
    "dilated": partial(ops.conv2d, dilation=2, padding=((2, 2), (1, 1))),
    "grouped": partial(ops.conv2d, groups=2, padding="VALID"),
    "depthwise": partial(ops.conv2d, groups=4, padding=1, stride=(2, 1)),
    "dilated depthwise": partial(ops.conv2d, groups=4, padding="SAME", dilation=2),
    "pointwise": partial(ops.conv2d, stride=2),
    "up 2x2": partial(ops.conv_transpose2d, stride=2),
    "up 4x4": partial(ops.conv_transpose2d, stride=2, padding=1),
    "up 3x3": partial(ops.conv_transpose2d, stride=2, padding=1, output_padding=1),
    "up 3x3 by 1": partial(ops.conv_transpose2d, padding="SAME"),
    "up 2x2 by 3": partial(ops.conv_transpose2d, stride=3, padding="VALID"),
}


@pytest.mark.parametrize("name", FORWARD)
def test_values_and_gradients_equal_torch_s(name):
    golden = {part: jnp.asarray(GOLDEN[f"{name}/{part}"]) for part in ("x", "kernel", "g")}

    @jax.jit
    def both(x, kernel, g):
        y, pull = jax.vjp(FORWARD[name], x, kernel)
        return y, *pull(g)

    results = both(golden["x"], golden["kernel"], golden["g"])
    for part, result in zip(("y", "dx", "dkernel"), results, strict=True):
        np.testing.assert_allclose(result, GOLDEN[f"{name}/{part}"], atol=2e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_transposed_convolution_is_the_gradient_of_the_convolution(stride):
    kernel, g = jnp.asarray(normal(3, 2, 4, 6)), jnp.asarray(normal(3, 4, 6))
    y = ops.conv_transpose2d(g, kernel, stride=stride)
    _, pull = jax.vjp(partial(ops.conv2d, kernel=kernel, stride=stride), jnp.zeros(y.shape))
    np.testing.assert_allclose(y, pull(g)[0], atol=1e-5)


def test_cells_that_share_a_weight_add_their_gradients():
    kernel, x = jnp.asarray(normal(2, 2, 4, 3)), jnp.asarray(X[0])
    _, pull = jax.vjp(lambda kernel: ops.conv2d(x, kernel, padding="VALID"), kernel)
    g = normal(5, 6, 3)
    tap = sum(np.outer(X[0, p, q + 1], g[p, q]) for p in range(5) for q in range(6))
    np.testing.assert_allclose(pull(jnp.asarray(g))[0][0, 1], tap, atol=1e-4)


def test_a_separable_convolution_is_a_convolution_with_a_kernel_of_low_rank():
    depthwise, pointwise = jnp.asarray(normal(3, 3, 1, 8)), jnp.asarray(normal(1, 1, 8, 5))
    full = jnp.einsum("ijcm,cmd->ijcd", depthwise.reshape(3, 3, 4, 2), pointwise.reshape(4, 2, 5))
    x = jnp.asarray(X)
    y = ops.separable_conv2d(x, depthwise, pointwise, stride=2)
    np.testing.assert_allclose(y, ops.conv2d(x, full, stride=2), atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((3, 3, 4, 6), {"stride": 2}),
        ((3, 3, 5, 6), {"stride": 2}),
        ((5, 3, 1, 6), {"dilation": 2}),
        ((1, 1, 4, 6), {}),
        ((3, 3, 1, 4), {"groups": 4, "stride": 2}),
        ((3, 3, 2, 6), {"groups": 2}),
        ((7, 7, 4, 3), {}),
    ],
)
def test_both_platforms_formulations_agree_in_value_and_gradient(shape, options, monkeypatch):
    monkeypatch.setattr(fast, "LEAST", 0)
    stride, dilation, groups = (options.get(name, 1) for name in ("stride", "dilation", "groups"))
    x, kernel = (jnp.asarray(normal(*s)) for s in ((2, 9, 8, groups * shape[2]), shape))
    padding = ((1, 0), (2, 1))
    window = sliding_window(x.shape, shape[:2], stride=stride, padding=padding, dilation=dilation)

    def run(formulation):
        call = partial(formulation, window=window, groups=groups)
        return jax.vjp(lambda x, kernel: jnp.sin(call(x, kernel)).sum(), x, kernel)[1](1.0)

    for ours, theirs in zip(run(fast.convolution), run(fast.plain), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def convolutions(jaxpr) -> list:
    """The convolutions of a program, also inside of loops and branches."""
    equations = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            equations.append(equation.params)
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "eqns")):
            if hasattr(value, "eqns"):
                equations += convolutions(value)
            elif hasattr(value, "jaxpr"):
                equations += convolutions(value.jaxpr)
    return equations


@pytest.mark.parametrize("groups", [1, 2])
def test_on_cpu_a_gradient_holds_canonical_convolutions_of_one_group_only(groups):
    x, kernel = jnp.asarray(normal(2, 5, 7, 5 * groups)), jnp.asarray(normal(3, 3, 5, 6))
    window = sliding_window(x.shape, (3, 3), stride=2, padding="SAME", dilation=1)

    def gradient(formulation):
        call = partial(formulation, window=window, groups=groups)
        _, pull = jax.vjp(call, x, kernel)
        return convolutions(jax.make_jaxpr(pull)(jnp.zeros((2, 3, 4, 6))).jaxpr)

    def canonical(params):
        images, kernel, result = params["dimension_numbers"]
        order = (images, kernel, result) == ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
        return order and params["feature_group_count"] == 1

    assert all(map(canonical, gradient(fast.convolution)))
    assert len(gradient(fast.convolution)) == 2 * groups
    assert not all(map(canonical, gradient(fast.plain)))


@pytest.mark.parametrize("channels", [1, 4])
def test_on_cpu_the_gradient_of_a_kernel_of_few_channels_is_one_product(channels):
    x, kernel = jnp.asarray(normal(2, 7, 6, channels)), jnp.asarray(normal(3, 3, channels, 6))
    window = sliding_window(x.shape, (3, 3), stride=2, padding="SAME", dilation=1)
    y, pull = jax.vjp(lambda kernel: fast.convolution(x, kernel, window, 1), kernel)
    program = jax.make_jaxpr(pull)(y).jaxpr
    assert not convolutions(program)
    assert str(program).count("dot_general") == 1


def test_no_work_is_done_for_a_gradient_that_nobody_asked_for():
    def loss(kernel):
        return ops.conv2d(jnp.asarray(X), kernel).sum()

    program = jax.jit(jax.grad(loss)).lower(jnp.asarray(normal(3, 3, 4, 6))).as_text()
    assert program.count("stablehlo.convolution") <= 2


def test_a_gradient_inside_of_a_loop_equals_the_one_outside():
    kernel = jnp.asarray(normal(3, 3, 4, 6))
    grad = jax.grad(lambda kernel: jnp.sin(ops.conv2d(jnp.asarray(X), kernel)).sum())
    _, inside = lax.scan(lambda carry, _: (carry, grad(carry)), kernel, length=2)
    np.testing.assert_allclose(inside[1], jax.jit(grad)(kernel), atol=1e-4)


def test_per_example_gradients_equal_a_loop():
    kernel = jnp.asarray(normal(3, 3, 1, 4))
    grad = jax.grad(lambda kernel, x: jnp.sin(ops.conv2d(x, kernel, groups=4)).sum())
    each = jax.jit(jax.vmap(grad, (None, 0)))(kernel, jnp.asarray(X))
    np.testing.assert_allclose(each[1], grad(kernel, jnp.asarray(X[1])), atol=1e-4)


K = normal(3, 3, 4, 6)
BAD = [
    (ops.conv2d, (X[0, 0], K), {}, "x must be floats of shape"),
    (ops.conv2d, (X.astype(int), K), {}, "x must be floats of shape .*, got int"),
    (ops.conv2d, (X[:0], K), {}, "x must hold at least one value"),
    (ops.conv2d, (X, K[0]), {}, "kernel must be floats of shape"),
    (ops.conv2d, (X, K[:, :, :3]), {}, r"kernel must be .* 4, outputs.* got shape \(3, 3, 3, 6\)"),
    (ops.conv2d, (X.astype(np.float16), K), {}, "kernel must have x's dtype float16, got float32"),
    (ops.conv2d, (X, K), {"groups": 3}, "groups must divide"),
    (ops.conv2d, (X, K), {"stride": 0}, "stride must be .* at least 1.* got 0"),
    (ops.conv2d, (X, K), {"dilation": (1, 0)}, "dilation must be"),
    (ops.conv2d, (X, K), {"padding": "FULL"}, "padding must be .* got 'FULL'"),
    (ops.conv2d, (X, K), {"padding": -1}, "padding must be"),
    (ops.conv2d, (X[:, :2], K), {"padding": "VALID"}, "x must be at least as large as the window"),
    (ops.conv2d, (X, K[:2]), {"dilation": 2}, "'SAME' needs an odd size"),
    (ops.conv2d, (X, K, BIAS[:5]), {}, r"bias must be .* got float32\[5\]"),
    (ops.conv_transpose2d, (X, K), {}, "kernel must be .* beside x"),
    (ops.conv_transpose2d, (X, K.swapaxes(2, 3)), {"output_padding": 1}, "output_padding must be"),
    (
        ops.conv_transpose2d,
        (X[:, :1], K.swapaxes(2, 3)),
        {"padding": 2},
        "padding must leave something",
    ),
    (ops.separable_conv2d, (X, K, K), {}, "depthwise_kernel must be"),
    (ops.separable_conv2d, (X, K[:, :, :1, :4], K), {}, "pointwise_kernel must be"),
    (ops.conv_matrix, (K,), {"height": 0, "width": 3}, "height and width must be"),
]


@pytest.mark.parametrize(("op", "arrays", "options", "message"), BAD)
def test_bad_input_is_named(op, arrays, options, message):
    # The suite's checks of types, which users do not have, would refuse the options first.
    op = inspect.unwrap(op) if options else op
    with pytest.raises(ValueError, match=message):
        op(*map(jnp.asarray, arrays), **options)
