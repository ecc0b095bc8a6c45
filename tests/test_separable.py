"""Separable networks against plain ones: what is counted, chosen, and equal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.test_experiments import ROOT, load


@pytest.fixture(scope="module")
def separable():
    return load(ROOT / "experiments" / "ch3_vision" / "separable.py")


def network(module, kind, width):
    return module.Network(kind, width, inputs=1, classes=10, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("kind", [False, True], ids=["plain", "separable"])
def test_what_is_counted_are_the_weights_of_the_two_layers(separable, kind):
    model = network(separable, kind, 5)
    layers = nnx.state(model.second), nnx.state(model.third)
    weights = sum(x.size for x in jax.tree.leaves(layers))
    assert separable.count(kind, 5, 8).parameters == weights
    assert weights == 2 * (9 * 5 + 25 if kind else 9 * 25)


def test_operations_by_hand_on_the_full_map_and_on_the_halved(separable):
    assert separable.count(False, 2, 8).flops == 2 * 36 * (64 + 16)
    assert separable.count(True, 2, 8).flops == 2 * (18 + 4) * (64 + 16)


def test_the_width_of_equal_parameters(separable):  # 9 n + n² next to 9 · 16²
    assert separable.separable_width(16, 8) == 44
    assert separable.count(True, 44, 8).parameters == 4664
    assert separable.count(False, 16, 8).parameters == 4608


def test_a_separable_network_is_a_plain_one_with_kernels_of_low_rank(separable):
    plain, other = (network(separable, kind, 4) for kind in (False, True))
    plain.first, plain.norms, plain.classify = other.first, other.norms, other.classify
    for name in ("second", "third"):
        layer = getattr(other, name)
        kernels = layer.depthwise.kernel[...][:, :, 0], layer.pointwise.kernel[...][0, 0]
        both = jnp.einsum("klc,cd->klcd", *kernels)
        getattr(plain, name).kernel[...] = both
    images = np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(plain(images), other(images), atol=1e-5)


def test_equal_accuracy_is_that_of_the_narrowest_by_validation_alone(separable):
    def trained(width, validation, test):
        cost = separable.count(True, width, 8)
        scores = (np.array([score]) for score in (validation, test))
        return separable.Trained(width, *scores, cost, np.zeros(1))

    plain = trained(8, 0.95, 0.95)
    rows = [trained(32, 0.97, 0.99), trained(16, 0.945, 0.5), trained(4, 0.93, 0.99)]
    assert separable.as_accurate(plain, rows).width == 16
    assert separable.as_accurate(trained(8, 0.99, 0.1), rows).width == 32  # none: the widest
