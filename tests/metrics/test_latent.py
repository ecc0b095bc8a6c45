"""Active units, and the two parts of the divergence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import losses, metrics

RNG = np.random.default_rng(0)


def test_units_that_ignore_the_image_are_not_active():
    mean = RNG.normal(size=(100, 3)) * [1.0, 0.05, 0.2]  # variances 1, 0.0025, 0.04
    assert metrics.active_units(jnp.asarray(mean, jnp.float32)) == 2


def test_a_collapsed_posterior_knows_nothing_and_is_the_prior():
    zero = jnp.zeros((50, 3))
    scores = metrics.aggregate_posterior(jax.random.key(0), zero, zero)
    np.testing.assert_allclose(scores, [0, 0], atol=1e-5)


def test_separate_codes_tell_the_images_apart():
    mean = 100 * jnp.asarray(RNG.normal(size=(50, 3)), jnp.float32)
    scores = metrics.aggregate_posterior(jax.random.key(0), mean, jnp.zeros((50, 3)))
    np.testing.assert_allclose(scores.information, np.log(50), rtol=1e-4)


def test_both_parts_sum_to_the_divergence():
    mean, log_var = (jnp.asarray(RNG.normal(size=(4000, 2)), jnp.float32) for _ in range(2))
    scores = metrics.aggregate_posterior(jax.random.key(1), mean, log_var)
    divergence = losses.gaussian_kl(mean, log_var)
    error = 3 * np.std(divergence) / 4000**0.5
    np.testing.assert_allclose(sum(scores), divergence.mean(), atol=max(error, 0.05))


def test_the_mismatch_of_a_known_aggregate():
    # means N(0, 3) and variance 1 together are N(0, 4): KL is ½ (4 − 1 − log 4)
    mean = jnp.asarray(RNG.normal(size=(4000, 1)) * 3**0.5, jnp.float32)
    scores = metrics.aggregate_posterior(jax.random.key(0), mean, jnp.zeros((4000, 1)))
    np.testing.assert_allclose(scores.mismatch, 0.5 * (3 - np.log(4)), atol=0.1)
    np.testing.assert_allclose(scores.information, 0.5 * np.log(4), atol=0.05)


def test_no_code_is_refused():
    nothing = jnp.zeros((0, 2))
    with pytest.raises(ValueError, match="mean must hold at least one code"):
        metrics.active_units(nothing)
    with pytest.raises(ValueError, match="mean must hold at least one code"):
        metrics.aggregate_posterior(jax.random.key(0), nothing, nothing)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_a_large_mean_is_no_variance_and_hides_none(dtype):
    constant = jnp.full((1000, 2), {2: 30.1, 4: 3333.3}[jnp.dtype(dtype).itemsize], dtype)
    assert metrics.active_units(constant, threshold=0.0) == 0
    step = jnp.arange(1000)[:, None] % 2 * float(jnp.finfo(dtype).eps) * 2**15
    assert metrics.active_units(constant + jnp.asarray(step, dtype), threshold=1e-8) == 2


def test_a_negative_threshold_is_refused():
    with pytest.raises(ValueError, match="threshold must be at least 0, got -1"):
        metrics.active_units(jnp.zeros((2, 2)), threshold=-1.0)
