"""Likelihoods under diffusion models: bounds and densities of Gaussian data, known exactly."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from tests.contract import Contract

RNG = np.random.default_rng(0)
X, _ = (RNG.normal(size=(2, 3, 1)).astype(np.float32) for _ in range(2))
SCHEDULE = np.float32([0.98, 0.7, 0.4, 0.1, 0.02])
KEY = jax.random.key(0)
MEAN, DEVIATION = 0.5, 0.6


def gaussian(x, alpha_bar):
    """Image and noise that are expected in x if the images are N(MEAN, DEVIATION²)."""
    variance = alpha_bar * DEVIATION**2 + 1 - alpha_bar
    away = x - jnp.sqrt(alpha_bar) * MEAN
    x0 = MEAN + DEVIATION**2 * jnp.sqrt(alpha_bar) / variance * away
    return ops.Denoised(x0, jnp.sqrt(1 - alpha_bar) * away / variance)


CONTRACT = {
    "variational_bound": Contract(
        [(KEY, X, SCHEDULE)],
        op=lambda key, x, alpha_bar: ops.variational_bound(
            key, gaussian, x, alpha_bar, levels=5, draws=2
        ),
    ),
    "ode_log_prob": Contract(
        [(KEY, X, SCHEDULE)],
        op=lambda key, x, alpha_bar: ops.ode_log_prob(
            key, gaussian, x, alpha_bar, steps=3, probes=2
        ),
    ),
}


@pytest.mark.parametrize("probes", [None, 1])
def test_the_density_of_the_ode_is_the_gaussian_s(probes):
    """On data whose axes are independent even one probe is exact."""
    with jax.enable_x64(True):
        alpha_bar = jnp.asarray(np.cos(np.linspace(0.1, np.pi / 2, 50)) ** 2)
        x = RNG.normal(size=(5, 3, 1))
        got = ops.ode_log_prob(KEY, gaussian, jnp.asarray(x), alpha_bar, steps=40, probes=probes)
        first = float(alpha_bar[0])
        variance = first * DEVIATION**2 + 1 - first
        expected = -((x - np.sqrt(first) * MEAN) ** 2 / variance + np.log(2 * np.pi * variance)) / 2
        np.testing.assert_allclose(got, expected.sum(axis=(1, 2)), rtol=1e-6)


def test_hutchinson_s_trace_is_right_on_average():
    """Data with correlated axes: single probes are off, their mean is not."""
    alpha_bar = jnp.asarray(np.cos(np.linspace(0.1, 1.5, 50)) ** 2, jnp.float32)
    covariance = jnp.array([[0.5, 0.3], [0.3, 0.4]])

    def correlated(x, a):
        gain = jnp.linalg.inv(a * covariance + (1 - a) * jnp.eye(2))
        return jnp.sqrt(1 - a) * x @ gain

    x = jnp.array([[0.3, -0.8]])
    log_prob = partial(ops.ode_log_prob, KEY, correlated, x, alpha_bar, steps=10)
    exact = float(log_prob()[0])
    one, many = float(log_prob(probes=1)[0]), float(log_prob(probes=400)[0])
    assert abs(one - exact) > 0.02
    np.testing.assert_allclose(many, exact, atol=0.05)


def test_the_variational_bound_of_gaussian_data_is_known():
    """`½ Σ ΔSNR · E‖x − x̂0‖²`: the posterior's variance, of every term once."""
    alpha_bar = ops.linear_schedule(100, last=0.1)
    x = MEAN + DEVIATION * jax.random.normal(KEY, (4000, 4))
    terms = ops.variational_bound(KEY, gaussian, x, alpha_bar, levels=3, draws=99)
    a = np.asarray(alpha_bar, np.float64)
    snr = a / (1 - a)
    variance = DEVIATION**2 * (1 - a) / (a * DEVIATION**2 + 1 - a)
    expected = 4 * np.sum((snr[:-1] - snr[1:]) / 2 * variance[1:])
    np.testing.assert_allclose(jnp.mean(terms.diffusion), expected, rtol=0.02)
    last = a[-1]
    prior = 4 / 2 * (last * (MEAN**2 + DEVIATION**2) - last - np.log(1 - last))
    np.testing.assert_allclose(jnp.mean(terms.prior), prior, rtol=0.1, atol=1e-4)


def test_a_part_of_the_terms_estimates_the_sum():
    """A schedule whose terms are nearly equal, so that every choice of them is a good one."""
    snr = (np.exp(np.linspace(6, 0.01, 100)) - 1) / DEVIATION**2
    alpha_bar = jnp.asarray(snr / (1 + snr), jnp.float32)
    x = MEAN + DEVIATION * jax.random.normal(KEY, (4000, 4))
    bound = partial(ops.variational_bound, KEY, gaussian, x, alpha_bar, levels=3)
    few, all_of_them = (jnp.mean(bound(draws=n).diffusion) for n in (9, 99))
    np.testing.assert_allclose(few, all_of_them, rtol=0.05)


def test_reconstruction_is_certain_where_noise_is_less_than_a_level():
    x = jnp.array([[-1.0, 0, 1]])
    bound = partial(ops.variational_bound, KEY, gaussian, x, levels=3, draws=1)
    certain = bound(jnp.array([0.999, 0.5])).reconstruction
    uncertain = bound(jnp.array([1e-6, 1e-7])).reconstruction
    np.testing.assert_allclose(certain, 0, atol=1e-4)
    np.testing.assert_allclose(uncertain, 3 * np.log(3), rtol=0.01)


def test_bad_arguments_are_named():
    x, alpha_bar = jnp.asarray(X), jnp.asarray(SCHEDULE)
    with pytest.raises(ValueError, match=r"draws must be between 1 and len\(alpha_bar\) - 1 = 4"):
        ops.variational_bound(KEY, gaussian, x, alpha_bar, levels=2, draws=5)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        ops.ode_log_prob(KEY, gaussian, x, alpha_bar, steps=0)
