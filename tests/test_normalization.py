"""Normalization of a deep network: what its scores are by hand, and what each kind keeps."""

import importlib.util
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def module(root):
    """The experiment's file as a module."""
    path = root / "experiments" / "ch3_vision" / "normalization.py"
    spec = importlib.util.spec_from_file_location("experiment_normalization", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def answers(module, kind, factor, images):
    """What a network answers whose hidden kernels are multiplied."""
    model = module.Network(kind, 3, rngs=nnx.Rngs(0))
    for layer in model.layers:
        layer.kernel[...] = factor * layer.kernel[...]
    return model(jnp.asarray(images))


@pytest.mark.parametrize("kind", ["batch", "layer", "group"])
def test_normalized_layers_do_not_see_the_size_of_their_weights(module, kind):
    images = RNG.random((16, 8, 8, 1), np.float32)
    first, large = (answers(module, kind, factor, images) for factor in (1, 10))
    np.testing.assert_allclose(first, large, atol=2e-3)
    plain, multiplied = (answers(module, "none", factor, images) for factor in (1, 10))
    np.testing.assert_allclose(multiplied, 1000 * plain, rtol=1e-3)


@pytest.mark.parametrize(("kind", "alone"), [("batch", False), ("layer", True), ("group", True)])
def test_which_kinds_answer_an_image_without_regard_to_its_batch(module, kind, alone):
    images = RNG.random((8, 8, 8, 1), np.float32)
    others = RNG.random((8, 8, 8, 1), np.float32) ** 3
    mixed = np.concatenate([images[:1], others])
    gap = answers(module, kind, 1, images)[0] - answers(module, kind, 1, mixed)[0]
    assert (np.abs(gap).max() < 1e-5) == alone


def test_the_largest_rate_by_hand(module):
    loss = np.array([[0.1, 2.0, np.nan], [0.2, 1.0, 3.0], [np.inf, 1.2, 3.0]])
    largest = module.largest_rates(np.array([0.1, 1.0, 10.0]), loss)
    np.testing.assert_array_equal(largest, [1, 1, 0.1])


def test_the_change_of_a_distribution_by_hand(module):  # one layer, two units, three rounds
    mean = np.array([[0.0, 1], [3, 1], [0, 1]])[None, :, None]
    deviation = np.array([[1.0, 1], [1, 1], [5, 1]])[None, :, None]
    np.testing.assert_allclose(module.change(mean, deviation)[0, :, 0], [0, 4.5**0.5, 8**0.5])


def test_only_batch_normalization_trains_a_deep_network_at_a_rate_of_one(module):
    config = module.Config(steps=40, seeds=1)
    settings = np.array([(1.0, 1.0)])
    losses = {
        kind: module.train_networks(settings, kind=kind, size=64, config=config)["loss"][0, 0, -1]
        for kind in ("none", "batch")
    }
    assert losses["batch"] < 1
    assert not losses["none"] < 2  # or it is no number


def test_the_statistics_of_one_class_or_of_two_images_mislead(module):
    config = replace(module.Config(), steps=60, seeds=1, depth=3)
    trained = module.train_networks(np.array([(0.3, 1.0)]), kind="batch", size=64, config=config)
    accuracies = module.batch_accuracies(config, jax.device_get(trained["weights"]))
    assert accuracies["running averages"] > 0.9
    assert accuracies["64 images"] > 0.85
    assert accuracies["2 images"] < 0.6
    assert accuracies["one class"] < 0.5
