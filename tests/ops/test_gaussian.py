"""The diagonal Gaussian: by hand, against SciPy, and samples with the given moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lectures_jax import ops
from tests.contract import Contract

RNG = np.random.default_rng(0)
X, MEAN, LOG_VAR = (RNG.normal(size=(4, 3)).astype(np.float32) for _ in range(3))
ANY = np.resize(np.array([-400, 90, -90, 400], np.float32), X.shape)  # a network's output

CONTRACT = {
    "gaussian_log_prob": Contract([(X, MEAN, LOG_VAR)], edges=[(MEAN, MEAN, ANY)]),
    "standard_normal_log_prob": Contract([(X,)], edges=[(np.ones((2, 5000), np.float32),)]),
    "reparameterize": Contract(
        [(jax.random.key(0), MEAN, LOG_VAR)], edges=[(jax.random.key(0), MEAN, ANY)]
    ),
}


def test_the_density_by_hand():
    # variance 4, one deviation away: −½ (log 2π + log 4 + 1)
    value = ops.gaussian_log_prob(jnp.array([3.0]), jnp.array([1.0]), jnp.log(jnp.array([4.0])))
    np.testing.assert_allclose(value, -0.5 * (np.log(2 * np.pi) + np.log(4) + 1), rtol=1e-6)


def test_the_density_equals_scipy_s():
    expected = stats.norm(MEAN, np.exp(LOG_VAR / 2)).logpdf(X).sum(axis=-1)
    value = ops.gaussian_log_prob(*map(jnp.asarray, (X, MEAN, LOG_VAR)))
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_the_standard_normal_is_the_gaussian_of_mean_0_and_variance_1():
    value = ops.standard_normal_log_prob(jnp.asarray(X))
    np.testing.assert_allclose(value, stats.norm().logpdf(X).sum(axis=-1), rtol=1e-5)
    zero = jnp.zeros((4, 3))
    np.testing.assert_array_equal(value, ops.gaussian_log_prob(jnp.asarray(X), zero, zero))


def test_samples_have_the_mean_and_the_variance():
    mean, log_var = jnp.full((20_000, 2), 3.0), jnp.full((20_000, 2), jnp.log(0.25))
    z = ops.reparameterize(jax.random.key(0), mean, log_var)
    np.testing.assert_allclose(z.mean(axis=0), [3, 3], atol=0.02)
    np.testing.assert_allclose(z.std(axis=0), [0.5, 0.5], atol=0.02)
    assert abs(np.corrcoef(z.T)[0, 1]) < 0.03


def test_the_gradient_reaches_both_parameters():
    mean, log_var, key = jnp.array([2.0]), jnp.array([0.0]), jax.random.key(0)
    grads = jax.grad(lambda m, v: ops.reparameterize(key, m, v)[0], argnums=(0, 1))(mean, log_var)
    noise = ops.reparameterize(key, mean, log_var) - mean
    np.testing.assert_allclose(grads[0], [1])
    np.testing.assert_allclose(grads[1], noise / 2, rtol=1e-6)  # d exp(v / 2) ε at v = 0


@pytest.mark.parametrize("log_var", [-100.0, -400.0])
def test_a_point_on_the_mean_is_finite_under_a_tiny_variance(log_var):
    x = jnp.ones(2)
    value, derivative = jax.value_and_grad(lambda v: ops.gaussian_log_prob(x, x, v))(
        jnp.full(2, log_var)
    )
    np.testing.assert_allclose(value, -log_var - np.log(2 * np.pi), rtol=1e-6)
    np.testing.assert_allclose(derivative, -0.5)
