"""Batch normalization: by hand, against Flax's layer, and the law that β and γ² are its moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import ops
from tests.contract import Contract

X = np.random.default_rng(0).normal(2, 3, (4, 5, 3)).astype(np.float32)
MEAN, VAR = np.array([1, 2, 3], np.float32), np.array([0.5, 1, 4], np.float32)
SCALE, BIAS = np.array([1, 0.5, 2], np.float32), np.array([0, 1, -1], np.float32)

CONTRACT = {
    "batch_moments": Contract([(X,)], edges=[(np.ones_like(X),)]),
    "batch_norm": Contract([(X, MEAN, VAR, SCALE, BIAS)], edges=[(X, MEAN, 0 * VAR, SCALE, BIAS)]),
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
