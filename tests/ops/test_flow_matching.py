"""Flow matching: Gaussian data, for which the velocity and the samples are known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from tests.contract import Contract

KEY = jax.random.key(0)
MEAN = jnp.array([[0.5, -1.0]])
COVARIANCE = jnp.array([[0.5, 0.2], [0.2, 0.3]])


def gaussian(x, t):
    """E[x0 − ε | x_t] where the data are N(MEAN, COVARIANCE)."""
    variance = t**2 * COVARIANCE + (1 - t) ** 2 * jnp.eye(2)
    gain = (t * COVARIANCE - (1 - t) * jnp.eye(2)) @ jnp.linalg.inv(variance)
    return MEAN + (x - t * MEAN) @ gain.T


def one_image(x, t):
    """The velocity where all data are one image, `MEAN`."""
    return (MEAN - x) / (1 - t)


CONTRACT = {
    "sample_flow_matching": Contract(
        [(KEY,)],
        op=lambda key: ops.sample_flow_matching(key, gaussian, (3, 2), steps=3),
        differentiable=False,
    ),
}

sample = partial(ops.sample_flow_matching, KEY)


def test_samples_of_a_gaussian_have_its_mean_and_covariance():
    x = np.asarray(sample(gaussian, (20_000, 2), steps=200))
    np.testing.assert_allclose(x.mean(axis=0), MEAN[0], atol=0.015)
    np.testing.assert_allclose(np.cov(x, rowvar=False), COVARIANCE, atol=0.015)


def test_the_error_of_a_gaussian_falls_with_order_one():
    """The path from noise ε ends at `mean + √covariance ε`, since the velocity is a gradient."""
    values, axes = np.linalg.eigh(COVARIANCE)
    root = axes @ np.diag(np.sqrt(values)) @ axes.T
    exact = MEAN + ops.per_sample_normal(KEY, (50, 2)) @ root
    ends = (sample(gaussian, (50, 2), steps=n) for n in (20, 40, 80))
    errors = np.array([float(jnp.abs(x - exact).max()) for x in ends])
    np.testing.assert_allclose(np.log2(errors[:-1]) - np.log2(errors[1:]), 1, atol=0.15)


@pytest.mark.parametrize("steps", [1, 7])
def test_straight_paths_are_exact_in_any_number_of_steps(steps):
    x = sample(one_image, (4, 2), steps=steps)
    np.testing.assert_allclose(x, jnp.tile(MEAN, (4, 1)), atol=1e-5)


def test_a_batch_goes_on_where_another_ended():
    whole, rest = sample(gaussian, (5, 2), steps=3), sample(gaussian, (2, 2), steps=3, first=3)
    np.testing.assert_array_equal(whole[3:], rest)


def test_a_network_of_half_precision_gives_float32():
    x = sample(lambda x, t: gaussian(x, t).astype(jnp.bfloat16), (5, 2), steps=10)
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x, sample(gaussian, (5, 2), steps=10), atol=0.03)


def test_no_step_is_refused():
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        sample(gaussian, (1, 2), steps=0)
