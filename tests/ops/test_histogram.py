"""Piecewise linear maps: by hand, against SciPy's integral, and back."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import BPoly

from lectures_jax import ops
from tests.contract import Contract

EDGE = np.array([-1.0, 1.0, 2.25], np.float32)
LOGITS = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
U = np.array([0.11, 0.5, 0.93], np.float32)

CONTRACT = {
    "piecewise_linear": Contract([(U, LOGITS)], edges=[(EDGE, 50 * LOGITS)]),
    "piecewise_linear_inverse": Contract([(U, LOGITS)], edges=[(EDGE, 50 * LOGITS)]),
}


def test_a_histogram_by_hand_and_back():
    logits = jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
    y, log_derivative = ops.piecewise_linear(jnp.array([0.5]), logits)
    np.testing.assert_allclose(y, [0.5 + 0.3 / 2], rtol=1e-6)
    np.testing.assert_allclose(log_derivative, [np.log(3 * 0.3)], rtol=1e-6)
    x, back = ops.piecewise_linear_inverse(y, logits)
    np.testing.assert_allclose(x, [0.5], rtol=1e-6)
    np.testing.assert_allclose(back, -log_derivative, rtol=1e-6)


def test_a_histogram_s_distribution_function_is_the_integral_of_its_shares(x64):
    logits = np.random.default_rng(4).normal(size=6)
    shares = np.exp(logits) / np.exp(logits).sum()
    integral = BPoly(6 * shares[None], np.linspace(0, 1, 7)).antiderivative()
    x = jnp.linspace(0, 0.999, 300)
    many = jnp.broadcast_to(jnp.asarray(logits), (300, 6))
    y, log_derivative = ops.piecewise_linear(x, many)
    np.testing.assert_allclose(y, integral(x), atol=1e-12)
    np.testing.assert_allclose(ops.piecewise_linear_inverse(y, many)[0], x, atol=1e-12)
    np.testing.assert_allclose(np.exp(log_derivative), 6 * shares[(np.asarray(x) * 6).astype(int)])


def test_no_bin_is_refused():
    with pytest.raises(ValueError, match="logits must hold at least one bin"):
        ops.piecewise_linear(jnp.zeros(2), jnp.zeros((2, 0)))
