"""How far layers travel: by hand for one step, and what sigmoids do to it."""

import numpy as np
import pytest

from tests.test_experiments import ROOT, load


@pytest.fixture(scope="module")
def travel():
    return load(ROOT / "experiments" / "ch2_training" / "layer_travel.py")


def first_steps(travel, kind, *, rates=(0.1,), steps=1):
    config = travel.Config(rates=rates, steps=steps, width=32, seeds=2)
    return travel.train_networks(config, kind, 5)


def test_a_step_of_gradient_descent_travels_the_rate_times_the_gradient(travel):
    x = first_steps(travel, "relu", rates=(0.25,))
    assert x.travel.shape == x.gradient.shape == (2, 1, 6)
    np.testing.assert_allclose(x.travel, 0.25 * x.gradient, rtol=1e-3)


def test_sigmoids_keep_the_first_layer_in_place_and_relus_do_not(travel):
    sigmoid, relu = (first_steps(travel, kind) for kind in travel.KINDS)
    assert np.all(travel.first_over_last(sigmoid) < 0.25**2)
    assert np.all(travel.first_over_last(relu) > 0.3)


def test_a_derivative_of_one_lets_the_first_layer_travel(travel, monkeypatch):
    activation = travel.ACTIVATIONS["sigmoid"]
    linear = type("Linear", (), {"value": staticmethod(lambda x: x)})
    monkeypatch.setattr(travel, "ACTIVATIONS", {"sigmoid": linear})
    assert activation.value(0.0) == 0.5
    assert np.all(travel.first_over_last(first_steps(travel, "sigmoid")) > 0.3)


def test_the_rate_of_the_least_training_loss_is_kept(travel):
    x = first_steps(travel, "relu", rates=(0.0, 0.1, 100.0), steps=20)
    assert x.rate == 0.1
    none = first_steps(travel, "relu", rates=(0.0,), steps=2)
    np.testing.assert_array_equal(none.travel, 0)
