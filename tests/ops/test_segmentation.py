"""From a class for each image to one for each pixel: a dense layer as a convolution."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from tests.contract import Contract

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 4, 2)).astype(np.float32)
KERNEL = RNG.normal(size=(3 * 4 * 2, 5)).astype(np.float32)

CONTRACT = {
    "dense_to_conv": Contract(
        [(KERNEL,)], op=partial(ops.dense_to_conv, height=3, width=4), exact=True
    )
}


def test_a_dense_layer_on_a_map_is_a_convolution_with_one_position():
    kernel = ops.dense_to_conv(jnp.asarray(KERNEL), height=3, width=4)
    y = ops.conv2d(jnp.asarray(X), kernel, padding="VALID")
    assert y.shape == (2, 1, 1, 5)
    np.testing.assert_allclose(y[:, 0, 0], X.reshape(2, -1) @ KERNEL, rtol=1e-5, atol=1e-5)


def test_inputs_that_are_no_map_are_refused():
    with pytest.raises(ValueError, match="inputs for each of 5×5 cells, got 24"):
        ops.dense_to_conv(jnp.asarray(KERNEL), height=5, width=5)
