"""Effective sample sizes: by hand, at their bounds, and under the contract of an op."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import metrics
from lectures_jax.testing import check_op

WEIGHTS = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)


def test_it_keeps_the_contract_of_an_op():
    with jax.numpy_dtype_promotion("strict"):
        check_op(metrics.effective_sample_size, (WEIGHTS,), edges=[(0 * WEIGHTS,)])


def test_the_sample_size_by_hand():
    log_weights = jnp.log(jnp.array([1.0, 2, 5]))
    np.testing.assert_allclose(metrics.effective_sample_size(log_weights), 64 / 30, rtol=1e-6)


def test_it_lies_between_one_and_the_number_of_samples():
    sizes = metrics.effective_sample_size(jnp.array([[0.0, -200, -200], [3, 3, 3]]))
    np.testing.assert_allclose(sizes, [1, 3], rtol=1e-6)


def test_weights_far_below_float32_s_range_do_not_underflow():
    np.testing.assert_allclose(metrics.effective_sample_size(jnp.array([-1000.0, -1000])), 2)


def test_no_weight_is_refused():
    with pytest.raises(ValueError, match="log_weights must hold at least one"):
        metrics.effective_sample_size(jnp.zeros((3, 0)))
