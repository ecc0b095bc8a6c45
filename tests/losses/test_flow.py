"""The likelihood of flows: against SciPy, and the cost of an even density."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from lectures_jax import losses
from tests.contract import Contract

Z = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
LOG_DET = np.array([0.5, -1.0, 2.0, 0.0], np.float32)

CONTRACT = {
    "flow_nll": Contract([(Z, LOG_DET)]),
    "bits_per_dim": Contract([(LOG_DET,)], op=partial(losses.bits_per_dim, dims=3, levels=17)),
}


def test_the_likelihood_equals_scipy_s():
    expected = -scipy.stats.norm.logpdf(Z).sum(1) - LOG_DET
    np.testing.assert_allclose(
        losses.flow_nll(jnp.asarray(Z), jnp.asarray(LOG_DET)), expected, rtol=1e-6
    )


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_an_even_density_costs_the_logarithm_of_the_levels(levels):
    assert losses.bits_per_dim(jnp.zeros(1), dims=64, levels=levels)[0] == np.float32(
        np.log2(levels)
    )


def test_bits_per_dimension_by_hand():
    # 6 log 2 nats are 6 bits, 2 of each of 3 dimensions; 4 levels are 2 bits more
    bits = losses.bits_per_dim(jnp.array([6 * np.log(2)], jnp.float32), dims=3, levels=4)
    np.testing.assert_allclose(bits, [4], rtol=1e-6)
    with pytest.raises(ValueError, match="dims must be at least 1, got 0"):
        losses.bits_per_dim(jnp.zeros(1), dims=0, levels=4)
