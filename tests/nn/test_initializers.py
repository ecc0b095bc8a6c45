"""Initializers that draw Flax's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.nn import initializers
from lectures_jax.ops._draws import draw


@pytest.mark.parametrize("name", ["lecun_normal", "he_normal"])
@pytest.mark.parametrize("shape", [(5, 7), (3, 3, 4, 6)])
def test_the_numbers_are_flax_s(name, shape):
    key = jax.random.key(0)
    expected = getattr(nnx.initializers, name)()(key, shape, jnp.float32)
    np.testing.assert_allclose(getattr(initializers, name)(key, shape), expected, rtol=1e-6)


def test_a_row_holds_the_numbers_of_every_shape():
    key, shape = jax.random.key(1), (2, 3, 5)
    for function in (jax.random.normal, jax.random.uniform):
        expected = function(key, shape, jnp.float32)
        np.testing.assert_array_equal(draw(function, key, shape, jnp.float32), expected)


def test_the_variance_is_that_of_the_definition():
    kernel = initializers.he_normal(jax.random.key(2), (3, 3, 16, 128))
    np.testing.assert_allclose(kernel.std(), (2 / 144) ** 0.5, rtol=0.02)
    assert jnp.abs(kernel).max() < 2.28 * (2 / 144) ** 0.5
