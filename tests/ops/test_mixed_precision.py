"""Half precision beside float32: computed in float32, and not rounded to 16 bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import losses, ops

RNG = np.random.default_rng(0)
X, Y = (jnp.asarray(RNG.normal(3, 1, (4, 300)), jnp.float32) for _ in range(2))
SCALE = jnp.asarray(RNG.normal(size=300), jnp.float32)
BOXES = jnp.cumsum(jnp.abs(X[:, :4]), axis=1)
CASES = {
    "squared_error": (losses.squared_error, (X, Y)),
    "layer_norm": (ops.layer_norm, (X, SCALE, SCALE)),
    "iou": (ops.iou, (BOXES, BOXES + 1)),
    "add_noise": (ops.add_noise, (X, Y, jnp.float32(0.7))),
    "gaussian_kl": (losses.gaussian_kl, (X, -Y)),
}


@pytest.fixture(autouse=True)
def promotion():
    """The suite has it strict for ops; users have what JAX does by itself."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_result_is_that_of_the_widened_array(name, dtype, transform):
    function, arrays = CASES[name]
    for narrow in range(len(arrays)):
        mixed = [x.astype(dtype) if n == narrow else x for n, x in enumerate(arrays)]
        got = transform(function)(*mixed)
        assert got.dtype == jnp.float32
        expected = transform(function)(*(x.astype(jnp.float32) for x in mixed))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_the_two_formats_of_16_bits_have_float32_in_common():
    loss = losses.squared_error(X.astype(jnp.bfloat16), Y.astype(jnp.float16))
    assert loss.dtype == jnp.float32


def test_each_gradient_has_the_dtype_of_its_array():
    half = X.astype(jnp.bfloat16)
    gradients = jax.grad(lambda *x: losses.squared_error(*x).sum(), (0, 1))(half, Y)
    assert [g.dtype for g in gradients] == [jnp.bfloat16, jnp.float32]
