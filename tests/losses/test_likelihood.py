"""Reconstruction terms against SciPy; bounds exact on the linear-Gaussian model."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lectures_jax import losses, metrics, ops
from tests.contract import Contract

RNG = np.random.default_rng(0)
X = (RNG.integers(0, 17, (4, 3)) / 16).astype(np.float32)
MEAN = RNG.random((4, 3)).astype(np.float32)
LOGITS = RNG.normal(size=(4, 3)).astype(np.float32)
LOG_VAR = np.float32(-2.0)
WEIGHTS = RNG.normal(size=(4, 7)).astype(np.float32)
LEVELS = partial(losses.discretized_gaussian_reconstruction, levels=17)

CONTRACT = {
    "gaussian_reconstruction": Contract([(X, MEAN, LOG_VAR)], edges=[(X, X, np.float32(-400))]),
    "bernoulli_reconstruction": Contract([(X, LOGITS)], edges=[(X, 100 * LOGITS)]),
    "discretized_gaussian_reconstruction": Contract(
        [(X, MEAN, LOG_VAR)],
        op=LEVELS,
        differentiable=(1, 2),
        edges=[
            (X, X, np.float32(-12)),
            (1 - X.round(), X.round(), np.float32(-6)),
            (X, X, np.float32(-400)),
            (1 - X.round(), X.round(), np.float32(-400)),
            (X, 1e30 * (MEAN - 0.5), np.float32(0)),
        ],
    ),
    "iwae_bound": Contract([(WEIGHTS,)], edges=[(0 * WEIGHTS,)]),
}


def test_the_squared_error_s_constants_by_hand():
    # three pixels, each off by 1, variance 2: 3/4 + 3/2 log 4π
    result = losses.gaussian_reconstruction(jnp.zeros(3), jnp.ones(3), jnp.log(jnp.float32(2)))
    np.testing.assert_allclose(result, 0.75 + 1.5 * np.log(4 * np.pi), rtol=1e-6)


@pytest.mark.parametrize("log_var", [-100.0, -15.0, 0.0, 15.0, 100.0])
@pytest.mark.parametrize("deviations", [0.0, 1.0, 30.0])
def test_the_squared_error_is_finite_under_any_variance(log_var, deviations):
    mean = jnp.full(3, deviations * np.exp(log_var / 2), jnp.float32)
    loss = jax.value_and_grad(lambda v: losses.gaussian_reconstruction(0 * mean, mean, v))
    value, gradient = loss(jnp.float32(log_var))
    expected = 1.5 * (deviations**2 + np.log(2 * np.pi) + log_var)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, 1.5 * (1 - deviations**2), rtol=1e-5, atol=1e-6)


def test_the_best_variance_is_the_mean_squared_error():
    x, mean = jnp.asarray(X), jnp.asarray(MEAN)
    best = jnp.log(jnp.mean((x - mean) ** 2))
    gradient = jax.grad(lambda v: jnp.sum(losses.gaussian_reconstruction(x, mean, v)))(best)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)


def test_the_cross_entropy_equals_scipy_s_on_black_and_white():
    x = X.round()
    expected = stats.bernoulli(1 / (1 + np.exp(-LOGITS))).logpmf(x).sum(axis=-1)
    result = losses.bernoulli_reconstruction(jnp.asarray(x), jnp.asarray(LOGITS))
    np.testing.assert_allclose(result, -expected, rtol=1e-5)


@pytest.mark.parametrize(("mean", "log_var"), [(0.3, -2.0), (0.97, -6.0), (-3.0, 0.0), (0.5, 9.0)])
def test_the_levels_have_probabilities_that_sum_to_one(mean, log_var):
    levels = jnp.linspace(0, 1, 17)[:, None]
    result = LEVELS(levels, jnp.full((17, 1), mean), jnp.float32(log_var))
    np.testing.assert_allclose(np.exp(-result).sum(), 1, rtol=1e-4)


def test_a_level_has_the_gaussian_s_mass_around_it():
    # level 5/16, mean 0.4, σ = 0.1: Φ((11/32 − 0.4) / 0.1) − Φ((9/32 − 0.4) / 0.1)
    expected = stats.norm.cdf(-0.5625) - stats.norm.cdf(-1.1875)
    result = LEVELS(jnp.array([5 / 16]), jnp.array([0.4]), 2 * jnp.log(jnp.float32(0.1)))
    np.testing.assert_allclose(np.exp(-result), expected, rtol=1e-5)


@pytest.mark.parametrize("x", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("mean", [-5.0, 0.5, 6.0])
def test_far_levels_are_improbable_not_impossible(x, mean):
    value, gradient = jax.value_and_grad(LEVELS, argnums=1)(
        jnp.array([x]), jnp.array([mean]), jnp.float32(-8.0)
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient)
    if x == 0.5 and mean != x:
        assert np.sign(gradient) == np.sign(mean - x)


def test_one_level_is_refused():
    with pytest.raises(ValueError, match="levels must be at least 2, got 1"):
        losses.discretized_gaussian_reconstruction(
            jnp.zeros(1), jnp.zeros(1), jnp.float32(0), levels=1
        )


def test_the_bound_by_hand():
    log_weights = jnp.log(jnp.array([1.0, 2, 5]))
    np.testing.assert_allclose(losses.iwae_bound(log_weights), np.log(8 / 3), rtol=1e-6)


def test_weights_far_below_float32_s_range_do_not_underflow():
    log_weights = jnp.array([-1000.0, -1000])
    np.testing.assert_allclose(losses.iwae_bound(log_weights), -1000)


def test_no_weight_has_no_mean():
    with pytest.raises(ValueError, match="log_weights must hold at least one"):
        losses.iwae_bound(jnp.zeros((3, 0)))


class Linear(NamedTuple):
    """`z ~ N(0, I)`, `x = W z + b + σ ε`: everything about it is known."""

    kernel: np.ndarray
    bias: np.ndarray
    variance: float

    def log_prob(self, x):
        d = len(self.bias)
        covariance = self.kernel @ self.kernel.T + self.variance * np.eye(d)
        return stats.multivariate_normal(self.bias, covariance).logpdf(x)

    def posterior(self, x):
        precision = np.eye(self.kernel.shape[1]) + self.kernel.T @ self.kernel / self.variance
        covariance = np.linalg.inv(precision)
        return (x - self.bias) @ self.kernel / self.variance @ covariance, covariance


@pytest.fixture(scope="module")
def linear():
    """Orthogonal columns, so that the posterior is diagonal as an encoder's."""
    kernel = np.linalg.qr(RNG.normal(size=(6, 2)))[0] * [1.3, 0.6]
    return Linear(kernel, RNG.normal(size=6), 0.2)


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def expected_reconstruction(model, x, mean, covariance):
    """`E −log p(x|z)` in closed form: the loss at the mean, and the spread of the means."""
    decoded = jnp.asarray(mean @ model.kernel.T + model.bias)
    spread = np.trace(model.kernel @ covariance @ model.kernel.T) / (2 * model.variance)
    log_var = jnp.float64(np.log(model.variance))
    return losses.gaussian_reconstruction(jnp.asarray(x), decoded, log_var) + spread


def test_with_the_true_posterior_the_bound_is_the_likelihood(linear, float64):
    x = RNG.normal(size=(5, 6))
    mean, covariance = linear.posterior(x)
    log_var = np.broadcast_to(np.log(np.diag(covariance)), mean.shape)
    kl = losses.gaussian_kl(jnp.asarray(mean), jnp.asarray(log_var))
    bound = -expected_reconstruction(linear, x, mean, covariance) - kl
    np.testing.assert_allclose(bound, linear.log_prob(x), atol=1e-10)
    # and any other posterior stays below
    wider = losses.gaussian_kl(jnp.asarray(mean), jnp.asarray(log_var + 0.3))
    lower = -expected_reconstruction(linear, x, mean, np.exp(0.3) * covariance) - wider
    assert np.all(np.asarray(lower) < linear.log_prob(x) - 0.01)


def log_weights(key, model, x, mean, log_var, samples):
    shape = (len(x), samples, mean.shape[-1])
    mean, log_var = (jnp.broadcast_to(v[:, None], shape) for v in (mean, log_var))
    z = ops.reparameterize(key, mean, log_var)
    decoded = z @ model.kernel.T + model.bias.reshape(1, 1, -1)
    many = jnp.broadcast_to(x[:, None], decoded.shape)
    error = losses.gaussian_reconstruction(many, decoded, jnp.float64(np.log(model.variance)))
    prior = ops.gaussian_log_prob(z, jnp.zeros_like(z), jnp.zeros_like(z))
    return prior - error - ops.gaussian_log_prob(z, mean, log_var)


def test_with_the_true_posterior_all_weights_are_the_likelihood(linear, float64):
    x = RNG.normal(size=(5, 6))
    mean, covariance = linear.posterior(x)
    log_var = np.broadcast_to(np.log(np.diag(covariance)), mean.shape)
    w = log_weights(jax.random.key(0), linear, *map(jnp.asarray, (x, mean, log_var)), 3)
    np.testing.assert_allclose(w, np.tile(linear.log_prob(x)[:, None], 3), atol=1e-10)
    np.testing.assert_allclose(metrics.effective_sample_size(w), np.full(5, 3), rtol=1e-10)


def test_the_importance_weighted_bound_rises_with_the_samples_and_stays_below(linear, float64):
    x = np.tile(RNG.normal(size=(1, 6)), (4000, 1))
    mean, covariance = linear.posterior(x)
    log_var = np.broadcast_to(np.log(np.diag(covariance)) + 0.8, mean.shape)  # a poor posterior
    w = log_weights(jax.random.key(0), linear, *map(jnp.asarray, (x, mean + 0.3, log_var)), 64)
    bounds = [float(jnp.mean(losses.iwae_bound(w[:, :k]))) for k in (1, 4, 16, 64)]
    assert np.all(np.diff(bounds) > 0.005)
    assert bounds[-1] < linear.log_prob(x[0])
    assert bounds[-1] > linear.log_prob(x[0]) - 0.05


def test_the_naive_estimate_arrives_too_but_few_samples_count(linear, float64):
    x = RNG.normal(size=(1, 6))
    zero = jnp.zeros((1, 2))
    w = log_weights(jax.random.key(0), linear, jnp.asarray(x), zero, zero, 200_000)
    np.testing.assert_allclose(losses.iwae_bound(w), linear.log_prob(x), atol=0.05)
    assert metrics.effective_sample_size(w)[0] < 0.2 * w.shape[-1]


def exact(x, mean, log_var, levels):
    """−log of a level's mass, in float64: in the lower tail, or by the midpoint where it is narrow.

    A level of width w at m deviations has the mass `w φ(m) (1 + (m² − 1) w² / 24 + …)`.
    """
    half, sigma = 0.5 / (levels - 1), np.exp(log_var / 2)
    m, w = (x - mean) / sigma, 2 * half / sigma
    if half < x < 1 - half and w * (1 + abs(m)) < 1e-2:
        return -(np.log(w) + stats.norm.logpdf(m) + np.log1p((m**2 - 1) * w**2 / 24))
    high = np.inf if x > 1 - half else m + w / 2
    low = -np.inf if x < half else m - w / 2
    low, high = (low, high) if low <= 0 else (-high, -low)
    return -(
        stats.norm.logcdf(high)
        + np.log1p(-np.exp(stats.norm.logcdf(low) - stats.norm.logcdf(high)))
    )


@pytest.mark.parametrize("log_var", [-80.0, -50.0, -15.0, -6.0, 0.0, 9.0, 15.0, 26.0, 100.0])
@pytest.mark.parametrize(("x", "mean"), [(0.5, 0.3), (0.5, 0.5), (1, 0.9), (0, 0.4), (0.25, 3)])
def test_a_level_has_its_mass_however_narrow_or_far_it_is(x, mean, log_var):
    levels, step = 257, 1e-4
    x, mean = float(np.float32(x)), float(np.float32(mean))
    expected = exact(x, mean, log_var, levels)
    low, high = (exact(x, mean, log_var + side * step, levels) for side in (-1, 1))

    def loss(log_var):
        arrays = jnp.float32([x]), jnp.float32([mean])
        return losses.discretized_gaussian_reconstruction(*arrays, log_var, levels=levels)

    value, gradient = jax.value_and_grad(loss)(jnp.float32(log_var))
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient, (high - low) / (2 * step), rtol=1e-3, atol=1e-4)


def test_the_mass_of_a_level_under_a_huge_variance_by_hand():
    arrays = (jnp.float32([0.5]), jnp.float32([0.3]), jnp.float32(26))
    result = losses.discretized_gaussian_reconstruction(*arrays, levels=256)
    expected = np.log(255) + 13 + 0.5 * np.log(2 * np.pi)  # −log of width, density at 0 of σ = e¹³
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    assert round(float(result), 2) == 19.46


def test_the_gradient_far_out_is_the_distance_in_deviations():
    def loss(mean):
        x, log_var = jnp.float32([0.5]), jnp.float32(-15)
        return losses.discretized_gaussian_reconstruction(x, mean[None], log_var, levels=256)

    variance, edge = np.exp(-15.0), 0.5 / 255  # the nearer edge of the level decides
    for mean in (0.9, 10.0, 1e4):
        gradient = jax.grad(loss)(jnp.float32(mean))
        np.testing.assert_allclose(gradient, (mean - 0.5 - edge) / variance, rtol=1e-3)
