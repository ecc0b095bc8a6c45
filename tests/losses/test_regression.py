"""Squared error by hand."""

import jax.numpy as jnp
import numpy as np

from lectures_jax import losses
from tests.contract import Contract

X = np.array([[1.0, 2.0, 3.0, 0.0], [0.5, 0.0, -1.0, 2.0], [1.0, 1.0, 1.0, 1.0]], np.float32)

CONTRACT = {"squared_error": Contract([(X, X[::-1] + 0.25)], edges=[(X, X)])}


def test_squared_error_sums_over_the_features_and_not_over_the_examples():
    loss = losses.squared_error(jnp.array([[1.0, 2], [0, 0]]), jnp.array([[0.0, 4], [0, 0]]))
    np.testing.assert_array_equal(loss, [5, 0])
