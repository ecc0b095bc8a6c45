"""Formulas of sizes and costs against Flax's parameters, XLA's counts, and gradients' support."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import ops

COUNTS = ("conv_output_size", "count_linear", "count_conv", "count_separable", "receptive_field")
CONTRACT = dict.fromkeys(COUNTS, "It takes sizes and no arrays.")
X = jax.ShapeDtypeStruct((1, 9, 8, 6), jnp.float32)


def convolve(x, kernel, stride=1, padding="VALID", dilation=1, groups=1):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding if isinstance(padding, str) else [padding, padding],
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def xla_flops(fn, *shapes):
    return jax.jit(fn).lower(*shapes).compile().cost_analysis()["flops"]


def flax_parameters(*layers):
    return sum(p.size for p in jax.tree.leaves(nnx.state(list(layers), nnx.Param)))


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        (32, {"kernel": 5}, 28),
        (7, {"kernel": 2, "stride": 2}, 3),  # (7 − 2) / 2 + 1 = 3.5: the floor
        (8, {"kernel": 3, "padding": 1, "dilation": 2}, 6),
        (8, {"kernel": 3, "padding": (0, 1), "stride": 2}, 4),
        (9, {"kernel": 3, "padding": "SAME", "stride": 2}, 5),
        (9, {"kernel": 3, "padding": "VALID"}, 7),
    ],
)
def test_output_sizes_by_hand_and_by_xla(size, options, expected):
    assert ops.conv_output_size(size, **options) == expected
    padding = options.get("padding", 0)
    options = options | {"padding": (padding, padding) if isinstance(padding, int) else padding}
    kernel = jnp.zeros((options.pop("kernel"),) * 2 + (1, 1))
    out = jax.eval_shape(lambda x: convolve(x, kernel, **options), jnp.zeros((1, size, size, 1)))
    assert out.shape == (1, expected, expected, 1)


def test_a_dense_layer_equals_flax_and_xla():
    count = ops.count_linear(5, 3)
    assert count == (5 * 3 + 3, 2 * 5 * 3 + 3)
    assert count.parameters == flax_parameters(nnx.Linear(5, 3, rngs=nnx.Rngs(0)))
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in [(1, 5), (5, 3), (3,)]]
    assert count.flops == xla_flops(ops.linear, *shapes)
    assert ops.count_linear(5, 3, bias=False) == (15, 30)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_a_convolution_equals_flax_and_xla(groups):
    count = ops.count_conv(
        6, 12, kernel=3, size=(9, 8), stride=2, padding="VALID", groups=groups, bias=False
    )
    assert count.flops == 2 * count.parameters * 4 * 3
    layer = nnx.Conv(6, 12, (3, 3), feature_group_count=groups, use_bias=False, rngs=nnx.Rngs(0))
    assert count.parameters == flax_parameters(layer)
    kernel = jax.ShapeDtypeStruct((3, 3, 6 // groups, 12), jnp.float32)
    flops = xla_flops(lambda x, k: convolve(x, k, stride=2, groups=groups), X, kernel)
    assert count.flops == flops


def test_xla_leaves_the_padding_s_products_out():
    count = ops.count_conv(4, 8, kernel=3, size=32, bias=False)
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in [(1, 32, 32, 4), (3, 3, 4, 8)]]
    assert count.flops == 589_824
    # along each axis 32 · 3 products, less the two that fall outside
    assert xla_flops(lambda x, k: convolve(x, k, padding="SAME"), *shapes) == 2 * 94**2 * 4 * 8


def test_a_separable_convolution_equals_its_two_parts():
    count = ops.count_separable(6, 12, kernel=3, size=(9, 8), padding="VALID")
    rngs = nnx.Rngs(0)
    depthwise = nnx.Conv(6, 6, (3, 3), feature_group_count=6, use_bias=False, rngs=rngs)
    assert count.parameters == flax_parameters(depthwise, nnx.Conv(6, 12, (1, 1), rngs=rngs))
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in [(3, 3, 1, 6), (1, 1, 6, 12), (12,)]]

    def layer(x, depthwise, pointwise, bias):
        return convolve(convolve(x, depthwise, groups=6), pointwise) + bias.reshape(1, 1, 1, -1)

    assert count.flops == xla_flops(layer, X, *shapes)
    without = ops.count_separable(6, 12, kernel=3, size=(9, 8), bias=False)
    assert without.parameters == 3 * 3 * 6 + 6 * 12  # as the course prints it


CHAIN = [
    ops.Window(3, stride=2, padding=1),
    (2, 2),
    ops.Window(3, padding=2, dilation=2),
    (5, 1, 2),
]


def test_a_receptive_field_is_the_support_of_the_gradient():
    def network(x):  # along one axis
        for window in CHAIN:
            kernel, stride, padding, dilation = ops.Window(*window)
            x = jax.lax.conv_general_dilated(
                x, jnp.ones((1, 1, kernel)), (stride,), [(padding, padding)], None, (dilation,)
            )
        return x[0, 0]

    field = ops.receptive_field(CHAIN)
    support = np.asarray(jax.jacobian(network)(jnp.ones((1, 1, 96))))[:, 0, 0] != 0
    for i, seen in enumerate(support):
        first = field.offset + i * field.stride
        expected = np.arange(max(first, 0), min(first + field.size, 96))
        np.testing.assert_array_equal(np.flatnonzero(seen), expected)


def test_receptive_fields_by_hand():
    assert ops.receptive_field([]) == (1, 1, 0)
    assert ops.receptive_field([(3, 1, 1)] * 2) == (5, 1, -2)  # two 3×3 see what one 5×5 sees
    assert ops.receptive_field([(2, 2), (3, 1, 1)]) == (6, 2, -2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ops.conv_output_size(4, kernel=3, stride=0),
            "stride must be .*least 1, got 0",
        ),
        (lambda: ops.conv_output_size(4, kernel=5), "kernel must fit into the padded input of 4"),
        (
            lambda: ops.conv_output_size(4, kernel=3, padding=-1),
            "padding must be .* got -1",
        ),
        (lambda: ops.conv_output_size(0, kernel=1), "size must be .*at least 1, got 0"),
        (lambda: ops.count_conv(3, 4, kernel=1, size=4, groups=2), "groups must divide"),
        (lambda: ops.count_linear(0, 4), "inputs must be .*at least 1, got 0"),
        (lambda: ops.receptive_field([(3, 0)]), "stride must be .*least 1, got 0"),
    ],
)
def test_impossible_sizes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("op", "arguments", "options", "message"),
    [
        (ops.count_conv, (3, 4), {"kernel": 2.5, "size": 4}, "kernel must be .* got 2.5"),
        (ops.count_conv, (3, 4), {"kernel": (3, 1.0), "size": 4}, "kernel must be .* got 1.0"),
        (ops.count_linear, (3, 4.0), {}, "outputs must be an integer of at least 1, got 4.0"),
        (ops.conv_output_size, (4,), {"kernel": 3, "padding": 0.5}, "padding must be .* got 0.5"),
        (ops.receptive_field, ([(3, 1.5)],), {}, "stride must be .* got 1.5"),
        (ops.receptive_field, ([(3, 1, -1)],), {}, "padding must be .*at least 0, got -1"),
    ],
)
def test_sizes_that_are_no_integers_are_refused(op, arguments, options, message):
    unchecked = inspect.unwrap(op)  # without the suite's checks of types, which users do not have
    with pytest.raises(ValueError, match=message):
        unchecked(*arguments, **options)
