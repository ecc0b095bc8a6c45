"""Layers against Flax's own, and the two ways to join a block's output to its input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import ops
from lectures_jax.nn.convolution import Conv, ConvTranspose
from lectures_jax.nn.residual import ResidualConcat, ResidualSum
from lectures_jax.nn.separable import SeparableConv

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 7, 4)), jnp.float32)


@pytest.mark.parametrize(
    "options",
    [
        {"strides": 2, "padding": 1},
        {"padding": "VALID", "kernel_dilation": 2},
        {"feature_group_count": 4, "use_bias": False},
    ],
)
def test_the_layer_equals_flax_s_in_value_and_gradient(options):
    ours, theirs = (layer(4, 8, (3, 3), rngs=nnx.Rngs(0), **options) for layer in (Conv, nnx.Conv))

    def value_and_gradient(layer):
        structure, params = nnx.split(layer)
        loss = lambda params, x: jnp.sin(nnx.merge(structure, params)(x)).sum()
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(nnx.to_pure_dict(params), X)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4),
        value_and_gradient(ours),
        value_and_gradient(theirs),
    )


def test_flax_s_input_dilation_is_refused():
    with pytest.raises(ValueError, match="input_dilation must be 1"):
        Conv(4, 8, (3, 3), input_dilation=2, rngs=nnx.Rngs(0))(X)


def test_a_flop_count_still_sees_the_layer():
    layer = Conv(4, 8, (3, 3), padding="VALID", use_bias=False, rngs=nnx.Rngs(0))
    cost = jax.jit(layer.__call__).lower(X).compile().cost_analysis()
    assert cost["flops"] == 2 * 2 * 4 * 5 * 8 * 9 * 4


def test_the_transposed_layer_equals_flax_s():
    layer = ConvTranspose(4, 3, 4, stride=2, rngs=nnx.Rngs(0))
    theirs = nnx.ConvTranspose(4, 3, (4, 4), 2, transpose_kernel=True, rngs=nnx.Rngs(0))
    theirs.kernel[...] = layer.kernel[...]
    np.testing.assert_allclose(layer(X), theirs(X), atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (3, 1)])
def test_the_transposed_layer_keeps_the_variance(kernel, stride):
    x = jax.random.normal(jax.random.key(0), (2, 10, 10, 64))
    y = ConvTranspose(64, 64, kernel, stride=stride, rngs=nnx.Rngs(0))(x)
    assert 0.8 < float(jnp.var(y[:, 4:-4, 4:-4])) < 1.25


def test_a_separable_layer_is_the_op_and_has_its_parameters():
    layer = SeparableConv(4, 6, stride=2, rngs=nnx.Rngs(0))
    y = ops.separable_conv2d(X, layer.depthwise.kernel[...], layer.pointwise.kernel[...], stride=2)
    np.testing.assert_allclose(layer(X), y, atol=1e-5)
    sizes = jax.tree.map(jnp.size, jax.tree.leaves(nnx.state(layer, nnx.Param)))
    assert sum(sizes) == 9 * 4 + 4 * 6 + 6


def test_a_sum_adds_and_a_concatenation_keeps_both():
    block = SeparableConv(4, 4, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(ResidualSum(block)(X), X + block(X))
    joined = ResidualConcat(block)(X)
    np.testing.assert_array_equal(joined[..., :4], X)
    np.testing.assert_array_equal(joined[..., 4:], block(X))


def test_a_shortcut_brings_x_to_the_shape_of_the_block():
    block = SeparableConv(4, 6, stride=2, rngs=nnx.Rngs(0))
    shortcut = Conv(4, 6, (1, 1), strides=2, rngs=nnx.Rngs(1))
    y = ResidualSum(block, shortcut=shortcut)(X)
    np.testing.assert_array_equal(y, shortcut(X) + block(X))
    with pytest.raises(ValueError, match="f must keep the shape"):
        ResidualSum(block)(X)
    with pytest.raises(ValueError, match="f must keep all axes"):
        ResidualConcat(block)(X)
