"""The divergence from the standard normal: by hand and by quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from lectures_jax import losses
from tests.contract import Contract

RNG = np.random.default_rng(0)
MEAN, LOG_VAR = RNG.normal(size=(2, 4, 3)).astype(np.float32)

CONTRACT = {"gaussian_kl": Contract([(MEAN, LOG_VAR)], edges=[(0 * MEAN, 0 * LOG_VAR)])}


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 0.0), (1.0, 1.5)])  # ½ · 3 · shift²
def test_the_divergence_of_a_shifted_gaussian(shift, expected):
    kl = losses.gaussian_kl(jnp.full((1, 3), shift), jnp.zeros((1, 3)))
    np.testing.assert_allclose(kl, [expected])


@pytest.mark.parametrize(("mean", "log_var"), [(0.0, 0.0), (1.5, -2.0), (-0.7, 1.2), (0.0, -8.0)])
def test_the_divergence_equals_the_integral(mean, log_var):
    q, p = stats.norm(mean, np.exp(log_var / 2)), stats.norm()
    reach = 12 * q.std()
    expected, _ = integrate.quad(
        lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), mean - reach, mean + reach, epsabs=1e-12
    )
    with jax.enable_x64(True):
        result = losses.gaussian_kl(jnp.array([mean], float), jnp.array([log_var], float))
    np.testing.assert_allclose(result, expected, atol=1e-10)


def test_it_is_never_negative_and_small_ones_keep_their_digits():
    log_var = jnp.array([1e-4], jnp.float32)
    result = losses.gaussian_kl(jnp.zeros(1), log_var)
    np.testing.assert_allclose(result, 0.25e-8, rtol=0.3)  # ½ (e^v − 1 − v) ≈ v² / 4
