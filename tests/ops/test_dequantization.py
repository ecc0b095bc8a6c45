"""Dequantization, logit and probit: by hand, against SciPy, and inverted."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from lectures_jax import ops
from tests.contract import Contract

KEY = jax.random.key(0)
LEVELS = np.arange(6, dtype=np.float32).reshape(2, 3) / 5
U = np.array([[0.1, 0.5, 0.97], [0.3, 0.02, 0.6]], np.float32)
Y = np.array([[-4.0, 0.3, 2.0], [0.0, 1.0, -2.0]], np.float32)

CONTRACT = {
    "dequantize": Contract(
        [(KEY, LEVELS)], op=partial(ops.dequantize, levels=6), differentiable=False
    ),
    "quantize": Contract([(U,)], op=partial(ops.quantize, levels=6), differentiable=False),
    "logit_transform": Contract([(U,)], edges=[(np.round(U),)]),
    "logit_transform_inverse": Contract([(Y,)], edges=[(100 * Y,)]),
    "probit": Contract([(U,)], edges=[(np.round(U),)]),
    "probit_inverse": Contract([(Y,)], edges=[(100 * Y,)]),
}


def test_noise_stays_within_the_level_and_fills_it():
    x = jnp.broadcast_to(jnp.asarray(LEVELS.ravel()), (4000, 6))
    y = ops.dequantize(KEY, x, levels=6)
    np.testing.assert_array_equal(ops.quantize(y, levels=6), x)
    part = np.asarray(y * 6 - jnp.arange(6.0)[None])
    assert scipy.stats.kstest(part.ravel(), "uniform").pvalue > 1e-3


def test_values_outside_count_to_the_outer_levels():
    result = ops.quantize(jnp.array([-0.3, 0.0, 0.5, 1.0, 2.0]), levels=3)
    np.testing.assert_array_equal(result, [0, 0, 0.5, 1, 1])


def test_the_logit_by_hand():
    y, log_derivative = ops.logit_transform(jnp.array([0.0, 0.5]), alpha=0.25)
    np.testing.assert_allclose(y, [np.log(1 / 3), 0], atol=1e-6)  # p = ¼ and ½
    np.testing.assert_allclose(log_derivative, np.log([0.5 / (3 / 16), 0.5 / 0.25]), rtol=1e-6)


def test_the_probit_equals_scipy_s(x64):
    u = np.linspace(0.001, 0.999, 41)
    y, log_derivative = ops.probit(jnp.asarray(u))
    np.testing.assert_allclose(y, scipy.special.ndtri(u), atol=1e-12)
    np.testing.assert_allclose(log_derivative, -scipy.stats.norm.logpdf(scipy.special.ndtri(u)))


@pytest.mark.parametrize(
    ("there", "back"),
    [(ops.logit_transform, ops.logit_transform_inverse), (ops.probit, ops.probit_inverse)],
    ids=["logit", "probit"],
)
def test_there_and_back_and_the_log_derivative_is_jax_s(there, back, x64):
    x = jnp.linspace(0.01, 0.99, 50)
    y, log_derivative = there(x)
    result, log_derivative_back = back(y)
    np.testing.assert_allclose(result, x, atol=1e-12)
    np.testing.assert_allclose(log_derivative_back, -log_derivative, atol=1e-11)
    derivative = jax.vmap(jax.grad(lambda x: there(x)[0]))(x)
    np.testing.assert_allclose(log_derivative, np.log(derivative), atol=1e-10)


def test_the_ends_stay_finite():
    for there in (ops.logit_transform, ops.probit):
        for value in there(jnp.array([0.0, 1.0])):
            assert np.all(np.isfinite(value))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.dequantize(KEY, jnp.zeros(2), levels=1), "levels must be at least 2, got 1"),
        (lambda: ops.quantize(jnp.zeros(2), levels=0), "levels must be at least 2, got 0"),
        (lambda: ops.logit_transform(jnp.zeros(2), alpha=0.5), "alpha must be in"),
    ],
)
def test_bad_hyperparameters_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_dequantized_values_are_below_one(dtype):
    y = ops.dequantize(KEY, jnp.ones(4_000_000, dtype), levels=256)
    assert y.dtype == dtype
    assert float(y.max()) < 1
    assert float(ops.quantize(y.max(), levels=256)) == 1
