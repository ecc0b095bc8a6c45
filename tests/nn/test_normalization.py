"""The layer against Flax's, step by step, and in evaluation."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from lectures_jax.nn.normalization import BatchNorm

X = np.random.default_rng(0).normal(2, 3, (4, 5, 6, 3)).astype(np.float32)


def test_outputs_and_moving_averages_equal_flax_s():
    ours = BatchNorm(3, momentum=0.9, rngs=nnx.Rngs(0))
    theirs = nnx.BatchNorm(3, momentum=0.9, rngs=nnx.Rngs(0))
    for step in range(3):
        x = jnp.asarray(X + step)
        np.testing.assert_allclose(ours(x), theirs(x), atol=1e-5)
        np.testing.assert_allclose(ours.mean[...], theirs.mean[...], rtol=1e-5)
        np.testing.assert_allclose(ours.var[...], theirs.var[...], rtol=1e-5)


def test_evaluation_uses_the_moving_averages_only():
    layer = BatchNorm(3, rngs=nnx.Rngs(0))
    view = nnx.view(layer, use_running_average=True)
    np.testing.assert_allclose(view(jnp.asarray(X)), X / np.sqrt(1 + 1e-5), rtol=1e-5)
    np.testing.assert_array_equal(view.mean[...], np.zeros(3))
    one, batch = view(jnp.asarray(X[:1])), view(jnp.asarray(X))
    np.testing.assert_array_equal(one[0], batch[0])
