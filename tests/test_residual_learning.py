"""Residual networks: their layers, their gradients, and the identity, on small exact cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.nn.initializers import lecun_normal
from tests.test_experiments import ROOT, load


@pytest.fixture(scope="module")
def residual():
    return load(ROOT / "experiments" / "ch3_vision" / "residual_learning.py")


def network(residual, kind, depth):
    return residual.Network(kind, (depth - 2) // 2, lecun_normal, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("depth", [8, 20, 44])
def test_the_three_have_as_many_layers_and_about_as_many_parameters(residual, depth):
    counts = []
    for kind in residual.JOINS:
        model = network(residual, kind, depth)
        assert len(model.layers()) == depth
        assert model.layers()[0] is model.first
        counts.append(sum(x.size for x in jax.tree.leaves(nnx.state(model))))
    assert max(counts) < 1.06 * min(counts)


def test_with_branches_of_zero_each_kind_is_what_its_formula_says(residual):
    x = jnp.linspace(-1, 1, 2 * residual.WIDTH).reshape(2, residual.WIDTH)
    for kind in residual.JOINS:
        model = network(residual, kind, 6)
        for branch in model.branches:
            branch.second.kernel[...] *= 0
        y = model.body(x)
        expected = {"plain": 0 * x, "sum": x, "concatenation": jnp.pad(x, ((0, 0), (0, 42)))}[kind]
        np.testing.assert_array_equal(y, expected)


def test_a_gradient_passes_beside_branches_of_zero_and_not_without_the_connection(residual):
    x = jnp.ones((1, residual.WIDTH))
    for kind, expected in (("plain", 0), ("sum", 1), ("concatenation", 1)):
        model = network(residual, kind, 6)
        for branch in model.branches:
            branch.second.kernel[...] *= 0
        gradient = jax.grad(lambda x, model=model: jnp.sum(model.body(x)))(x)
        np.testing.assert_array_equal(gradient, np.full(x.shape, expected))


def test_the_rate_of_the_least_loss_is_kept_and_gradients_are_those_of_the_layers(residual):
    config = residual.Config(rates=(0.0, 1e-2), steps=30, seeds=1)
    trained = residual.train_identity(config, "plain", 1)
    assert trained.gradient.shape == (1, 30, 4)
    assert np.all(trained.gradient[..., [0, -1]] == 0)  # the layers before and after the blocks
    assert np.all(trained.gradient[..., [1, 2]] > 0)
    fixed = residual.train_identity(residual.Config(rates=(0.0,), steps=30, seeds=1), "plain", 1)
    assert trained.loss < 0.9 * fixed.loss


def test_the_best_initialization_is_that_of_the_least_training_loss_not_of_the_score(residual):
    runs = {
        ("sum", init): residual.Trained(np.array([loss]), np.array([score]), np.zeros(1), 1)
        for init, loss, score in (("He", 0.1, 0.2), ("LeCun", 0.2, 0.9))
    }
    assert residual.best(runs, "sum").score == 0.2
