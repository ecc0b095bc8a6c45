"""Enlarged maps: by hand, against torch and SciPy, and by transposed convolution."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from tests.contract import Contract

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "convolution.npz")
X = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32)
KERNEL = np.random.default_rng(1).normal(size=(3, 3, 3, 2)).astype(np.float32)
BIAS = np.array([0.5, -1], np.float32)

CONTRACT = {
    "upsample_nearest": Contract([(X,)], exact=True),
    "upsample_nearest by many cells": Contract(
        [], edges=[(X,)], op=partial(ops.upsample_nearest, factor=32)
    ),
    "upsample_bilinear by many cells": Contract(
        [], edges=[(X,)], op=partial(ops.upsample_bilinear, factor=32)
    ),
    "upsample_bilinear": Contract([(X,)], op=partial(ops.upsample_bilinear, factor=(2, 3))),
    "upsample_conv2d": Contract([(X, KERNEL, BIAS)], shared=(1,)),
    "bilinear_kernel": "takes no arrays",
}


def test_nearest_repeats_every_cell():
    y = ops.upsample_nearest(jnp.asarray(X), factor=(2, 3))
    np.testing.assert_array_equal(y, X.repeat(2, axis=1).repeat(3, axis=2))


@pytest.mark.parametrize(("border", "mode"), [("zeros", "constant"), ("edge", "reflect")])
def test_a_convolution_of_the_enlarged_map_in_value_and_gradient(border, mode):
    """Computed on the small map, it is that of the large one; its reflection repeats its edge."""

    def on_the_large(x, kernel, bias):
        large = jnp.pad(ops.upsample_nearest(x), ((0, 0), (1, 1), (1, 1), (0, 0)), mode=mode)
        return ops.conv2d(large, kernel, bias, padding="VALID")

    arguments = [jnp.asarray(x) for x in (X, KERNEL, BIAS)]
    y, pull = jax.vjp(partial(ops.upsample_conv2d, border=border), *arguments)
    expected, expected_pull = jax.vjp(on_the_large, *arguments)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    for gradient, other in zip(pull(jnp.cos(y)), expected_pull(jnp.cos(y)), strict=True):
        np.testing.assert_allclose(gradient, other, atol=1e-4)


def test_an_unknown_border_is_refused():
    with pytest.raises(ValueError, match="border must be one of zeros, edge, got 'wrap'"):
        ops.upsample_conv2d(jnp.asarray(X), jnp.asarray(KERNEL), border="wrap")


def test_bilinear_by_hand():
    y = ops.upsample_bilinear(jnp.array([0.0, 4]).reshape(1, 2, 1))
    np.testing.assert_array_equal(y[..., 0], [[0, 1, 3, 4]] * 2)


def test_bilinear_equals_torch_s_in_value_and_gradient():
    y, pull = jax.vjp(partial(ops.upsample_bilinear, factor=3), jnp.asarray(GOLDEN["bilinear/x"]))
    np.testing.assert_allclose(y, GOLDEN["bilinear/y"], atol=1e-6)
    np.testing.assert_allclose(
        pull(jnp.asarray(GOLDEN["bilinear/g"]))[0], GOLDEN["bilinear/dx"], atol=1e-5
    )


@pytest.mark.parametrize("factor", [1, 2, 3, 32])
def test_a_transposed_convolution_with_a_tent_interpolates_in_the_interior(factor):
    x = jnp.asarray(X)
    kernel = ops.bilinear_kernel(factor=factor, channels=3)
    y = ops.conv_transpose2d(x, kernel, stride=factor)
    inside = slice(factor // 2, -(factor // 2) or None)
    np.testing.assert_allclose(
        y[:, inside, inside],
        ops.upsample_bilinear(x, factor=factor)[:, inside, inside],
        atol=1e-5,
    )
    assert kernel.shape[0] == 2 * factor - factor % 2


def test_a_factor_is_an_integer_of_at_least_one():
    for op in (ops.upsample_nearest, ops.upsample_bilinear):
        with pytest.raises(ValueError, match="factor must be"):
            op(jnp.asarray(X), factor=0)
    with pytest.raises(ValueError, match="factor and channels must be"):
        ops.bilinear_kernel(factor=2, channels=0)
