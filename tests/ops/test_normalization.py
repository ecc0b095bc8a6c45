"""Normalization: by hand, against Flax and torch, and the law that β and γ² are its moments."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import ops
from tests.contract import Contract

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "convolution.npz")
X = np.random.default_rng(0).normal(2, 3, (4, 5, 3)).astype(np.float32)
MEAN, VAR = np.array([1, 2, 3], np.float32), np.array([0.5, 1, 4], np.float32)
SCALE, BIAS = np.array([1, 0.5, 2], np.float32), np.array([0, 1, -1], np.float32)
# Many values around a mean of many deviations, and values whose squares exceed float16.
SHIFTED = np.random.default_rng(1).normal(30, 1, (2, 20, 20, 3)).astype(np.float32)
HUGE = np.random.default_rng(2).normal(0, 1000, (2, 20, 20, 3)).astype(np.float32)
MANY = [(SHIFTED, SCALE, BIAS), (HUGE, SCALE, BIAS)]

CONTRACT = {
    "batch_moments": Contract([(X,)], edges=[(np.ones_like(X),), (SHIFTED,)]),
    "batch_norm": Contract(
        [(X, MEAN, VAR, SCALE, BIAS)],
        edges=[(X, MEAN, 0 * VAR, SCALE, BIAS), (SHIFTED, 0 * MEAN + 30, VAR, SCALE, BIAS)],
    ),
    "layer_norm": Contract([(X, SCALE, BIAS)], edges=[(0 * X, SCALE, BIAS), *MANY]),
    "spectral_norm": Contract(
        [(X[0], np.float32([1, 0.5, -1]))],
        # power iteration counts its vectors as constants, which finite differences do not
        differentiable=False,
        edges=[(0 * X[0], np.float32([1, 0.5, -1])), (HUGE, np.float32([1, 0.5, -1]))],
    ),
    "instance_norm": Contract([(X, SCALE, BIAS)], edges=[(0 * X, SCALE, BIAS), *MANY]),
    "group_norm": Contract(
        [(X.reshape(4, 1, 3, 5)[..., :4], np.float32([1, 2, 3, 4]), np.float32([4, 3, 2, 1]))],
        op=partial(ops.group_norm, groups=2),
    ),
    "group_norm of many cells": Contract([], edges=MANY, op=partial(ops.group_norm, groups=3)),
}


def test_batch_norm_by_hand():
    y = ops.batch_norm(
        jnp.array([[3.0]]), *(jnp.array([v]) for v in (1.0, 3.0, 5.0, 7.0)), epsilon=1.0
    )
    np.testing.assert_allclose(y, [[(3 - 1) / 2 * 5 + 7]])


def test_moments_equal_numpy_s():
    moments = ops.batch_moments(jnp.asarray(X))
    np.testing.assert_allclose(moments.mean, X.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(moments.var, X.var((0, 1)), rtol=1e-4)


def _by_batch(x, scale, bias):
    moments = ops.batch_moments(x)
    return ops.batch_norm(x, moments.mean, moments.var, scale, bias)


@pytest.mark.parametrize("value", [10000.3, -1e6, 0.1, 3e18])
@pytest.mark.parametrize(
    "norm",
    [_by_batch, ops.layer_norm, ops.instance_norm, partial(ops.group_norm, groups=2)],
    ids=["batch", "layer", "instance", "group"],
)
def test_equal_values_have_no_deviation_however_large_they_are(norm, value):
    # Their sum is rounded: deviations from a rounded mean would be brought to variance 1.
    x = jnp.full((3, 7, 5, 6), value)
    bias = jnp.arange(6.0)
    y = norm(x, jnp.ones(6), bias)
    np.testing.assert_array_equal(y, jnp.broadcast_to(bias, x.shape))


def test_the_mean_of_equal_values_is_that_value():
    np.testing.assert_array_equal(ops.batch_moments(jnp.full((1001, 2), 0.1)).mean, np.float32(0.1))


def test_a_constant_channel_has_no_negative_variance():
    assert np.all(ops.batch_moments(jnp.full((1000, 2), 1234.567)).var >= 0)


def test_the_normalized_batch_has_the_moments_that_scale_and_bias_ask_for():
    x = jnp.asarray(X)
    y = ops.batch_norm(x, *ops.batch_moments(x), jnp.asarray(SCALE), jnp.asarray(BIAS))
    moments = ops.batch_moments(y)
    np.testing.assert_allclose(moments.mean, BIAS, atol=1e-5)
    np.testing.assert_allclose(moments.var, SCALE**2, rtol=1e-3)


def test_training_equals_flax_s_layer_in_value_and_gradient():
    def theirs(x):
        return jnp.sum(jnp.sin(nnx.BatchNorm(3, rngs=nnx.Rngs(0))(x)))

    def ours(x):
        return jnp.sum(jnp.sin(ops.batch_norm(x, *ops.batch_moments(x), jnp.ones(3), jnp.zeros(3))))

    with jax.numpy_dtype_promotion("standard"):
        expected = jax.value_and_grad(theirs)(jnp.asarray(X))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5),
        jax.value_and_grad(ours)(jnp.asarray(X)),
        expected,
    )


def test_no_values_have_no_moments():
    with pytest.raises(ValueError, match="x must hold at least one value"):
        ops.batch_moments(jnp.zeros((0, 3)))


BY_NAME = {
    "layer": ops.layer_norm,
    "instance": ops.instance_norm,
    "group": partial(ops.group_norm, groups=2),
}


@pytest.mark.parametrize("name", BY_NAME)
def test_norms_within_one_example_equal_torch_s_in_value_and_gradient(name):
    norm = partial(BY_NAME[name], scale=jnp.ones(4), bias=jnp.zeros(4))
    y, pull = jax.vjp(norm, jnp.asarray(GOLDEN[f"{name}/x"]))
    np.testing.assert_allclose(y, GOLDEN[f"{name}/y"], atol=1e-5)
    np.testing.assert_allclose(
        pull(jnp.asarray(GOLDEN[f"{name}/g"]))[0], GOLDEN[f"{name}/dx"], atol=1e-5
    )


def test_layer_norm_by_hand():
    y = ops.layer_norm(jnp.array([[1.0, 3]]), jnp.array([2.0, 5]), jnp.array([0.0, 1]), epsilon=3.0)
    np.testing.assert_allclose(y, [[-1, 3.5]])  # mean 2, variance 1, root of 1 + 3 is 2


def test_groups_of_one_channel_are_instances():
    scale, bias, x = jnp.asarray(SCALE), jnp.asarray(BIAS), jnp.asarray(X)
    np.testing.assert_allclose(
        ops.group_norm(x, scale, bias, groups=3), ops.instance_norm(x, scale, bias), atol=1e-5
    )


def test_bad_groups_and_empty_maps_are_named():
    x, scale, bias = jnp.asarray(X), jnp.asarray(SCALE), jnp.asarray(BIAS)
    with pytest.raises(ValueError, match="groups must divide the 3 channels of x, got 2"):
        ops.group_norm(x, scale, bias, groups=2)
    for norm in (ops.instance_norm, partial(ops.group_norm, groups=3)):
        with pytest.raises(ValueError, match="x must hold at least one cell"):
            norm(x[:0], scale, bias)


def test_power_iteration_finds_the_largest_singular_value_and_its_gradient():
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 4, 5)), jnp.float32)
    matrix = np.asarray(kernel).reshape(-1, 5)
    u, s, vt = np.linalg.svd(matrix)
    start = jnp.ones(5)
    result = ops.spectral_norm(kernel, start, iterations=200)
    np.testing.assert_allclose(result.norm, s[0], rtol=1e-5)
    np.testing.assert_allclose(abs(result.direction @ vt[0]), 1, rtol=1e-5)
    gradient = jax.grad(lambda k: ops.spectral_norm(k, start, iterations=200).norm)(kernel)
    np.testing.assert_allclose(gradient.reshape(-1, 5), np.outer(u[:, 0], vt[0]), atol=2e-3)
    assert ops.spectral_norm(kernel, start).norm < s[0]  # one step stays below


def test_one_step_at_a_time_arrives_too():
    kernel, direction = jnp.diag(jnp.array([3.0, 2.0])), jnp.array([0.1, 1.0])
    for _ in range(20):
        norm, direction = ops.spectral_norm(kernel, direction)
    np.testing.assert_allclose(norm, 3, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 1e-30])
def test_the_norm_of_a_vanishing_kernel_is_finite(scale):
    result = ops.spectral_norm(scale * jnp.ones((3, 2)), jnp.ones(2))
    assert np.isfinite(result.norm)
    assert np.isfinite(result.direction).all()


def test_a_spectral_norm_needs_values_and_iterations():
    with pytest.raises(ValueError, match="kernel must hold at least one value"):
        ops.spectral_norm(jnp.zeros((0, 2)), jnp.ones(2))
    with pytest.raises(ValueError, match="iterations must be at least 1, got 0"):
        ops.spectral_norm(jnp.ones((3, 2)), jnp.ones(2), iterations=0)


@pytest.mark.parametrize(
    ("dtype", "mean", "tolerance"), [(jnp.bfloat16, 30, 0.02), (jnp.float32, 1e4, 1e-3)]
)
def test_the_variance_is_exact_where_the_mean_is_many_deviations(dtype, mean, tolerance):
    x = jnp.asarray(np.random.default_rng(0).normal(mean, 1, (4000, 2)), dtype)
    exact = np.asarray(x, np.float64)
    moments = ops.batch_moments(x)
    np.testing.assert_allclose(np.asarray(moments.var, float), exact.var(0), rtol=tolerance)
    with jax.numpy_dtype_promotion("standard"):
        y = ops.batch_norm(x, *ops.batch_moments(x.astype(jnp.float32)), jnp.ones(2), jnp.zeros(2))
    expected = (exact - exact.mean(0)) / exact.std(0)
    np.testing.assert_allclose(np.asarray(y, float), expected, atol=10 * tolerance)


def test_half_precision_of_large_values_is_normalized():
    x = jnp.asarray(np.random.default_rng(0).normal(0, 1000, (8, 64)), jnp.float16)
    y = ops.layer_norm(x, jnp.ones(64, jnp.float16), jnp.zeros(64, jnp.float16))
    np.testing.assert_allclose(np.asarray(y, float).std(1), 1, atol=1e-2)
