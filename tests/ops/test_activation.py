"""Derivatives of activations: by hand, and JAX's derivative of the functions."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from lectures_jax.ops.activation import ACTIVATIONS
from tests.contract import Contract

Z = np.array([[-3.0, -0.7, 0.2], [1.3, 30.0, -30.0]], np.float32)

CONTRACT = {
    f"activation_derivative {name}": Contract(
        [(Z,)], edges=[(0 * Z,)], op=partial(ops.activation_derivative, activation=name)
    )
    for name in ACTIVATIONS
}


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("sigmoid", 1 / 4), ("tanh", 1), ("softplus", 1 / 2), ("gelu", 1 / 2)],
)
def test_derivatives_at_zero_by_hand(activation, expected):
    np.testing.assert_allclose(
        ops.activation_derivative(jnp.zeros(1), activation=activation), [expected]
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_equals_jax_s_derivative_also_where_that_jumps(activation):
    with jax.enable_x64(True):
        z = jnp.append(jnp.asarray(Z.ravel(), jnp.float64), 0.0)
        expected = jax.vmap(jax.grad(ACTIVATIONS[activation].value))(z)
        got = ops.activation_derivative(z, activation=activation)
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("z", [-40.0, -12.0, 5.0, 12.0, 40.0])
def test_a_saturated_derivative_is_small_and_not_zero(z):
    derivative = partial(ops.activation_derivative, jnp.float32([z]))
    np.testing.assert_allclose(
        derivative(activation="sigmoid"), [1 / (2 + 2 * np.cosh(z))], rtol=1e-5
    )
    np.testing.assert_allclose(derivative(activation="tanh"), [1 / np.cosh(z) ** 2], rtol=1e-5)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match=r"activation must be one of identity, .*, got 'swish'"):
        inspect.unwrap(ops.activation_derivative)(jnp.zeros(1), activation="swish")
