"""Residual convolutions: blocks of zero, equal parameters, and the scan against a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.nn.initializers import he_normal
from tests.test_experiments import ROOT, load


@pytest.fixture(scope="module")
def residual():
    return load(ROOT / "experiments" / "ch3_vision" / "residual_convolutions.py")


def network(residual, kind, depth=6, width=3):
    return residual.Network(kind, (depth - 2) // 2, width, he_normal, rngs=nnx.Rngs(0))


def test_with_branches_of_zero_the_map_passes_beside_them_and_not_without_the_connection(residual):
    x = jnp.linspace(-1, 1, 4 * 4 * 3).reshape(1, 4, 4, 3)
    for kind in residual.JOINS:
        model = network(residual, kind)
        for branch in model.branches:
            branch.second.kernel[...] *= 0
        expected = {"plain": 0 * x, "sum": x, "concatenation": jnp.pad(x, [(0, 0)] * 3 + [(0, 4)])}
        np.testing.assert_array_equal(model.body(x), expected[kind])


@pytest.mark.parametrize("kind", ["plain", "sum"])
def test_the_scan_over_blocks_is_one_block_after_the_other(residual, kind):
    model = network(residual, kind)
    x = y = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    for branch in model.branches:
        y = residual.JOINS[kind](branch)(y)
    np.testing.assert_allclose(model.body(x), y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("depth", [8, 20, 44])
def test_the_concatenation_has_at_most_a_fifth_more_parameters(residual, depth):
    counts = []
    for kind in residual.JOINS:
        model = nnx.eval_shape(lambda kind=kind: network(residual, kind, depth, width=8))
        counts.append(sum(x.size for x in jax.tree.leaves(nnx.state(model))))
    assert max(counts) < 1.22 * min(counts)
