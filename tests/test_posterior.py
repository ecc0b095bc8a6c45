"""Codes as areas: how far they are drawn, and what is measured of them, by hand."""

import importlib.util
import sys

import jax
import numpy as np
import pytest

from tests.recipes import tiny

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def posterior(root):
    """The experiment's file as a module."""
    path = root / "experiments" / "ch4_generative" / "posterior.py"
    spec = importlib.util.spec_from_file_location("experiment_posterior", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def test_codes_are_drawn_as_wide_as_each_unit_s_deviation(posterior):
    mean, log_var = np.full((20_000, 2), 3.0), np.tile(np.log([1.0, 0.01]), (20_000, 1))
    drawn = posterior.around(KEY, mean, log_var, size=2.0)
    np.testing.assert_allclose(drawn.mean(axis=0), 3, atol=0.05)
    np.testing.assert_allclose(drawn.std(axis=0), [2, 0.2], rtol=0.03)


def test_in_any_direction_they_are_as_far_in_all_and_alike_in_each_unit(posterior):
    mean, log_var = np.zeros((20_000, 2)), np.tile(np.log([1.0, 0.01]), (20_000, 1))
    directed, other = (
        posterior.around(KEY, mean, log_var, size=2.0, directed=d) for d in (True, False)
    )
    np.testing.assert_allclose(other.std(axis=0), np.full(2, 2 * 0.505**0.5), rtol=0.03)
    square = lambda x: np.mean(np.sum(x**2, axis=1))
    np.testing.assert_allclose(square(other), square(directed), rtol=0.03)


def test_two_narrow_areas_have_together_the_deviation_of_the_prior(posterior):
    """Codes at 1 and -1: each is narrow, all together have deviation 1 and tell log 2 nats."""
    mean = np.tile(np.array([[1], [-1]], np.float32), (250, 1))[None]
    measured = posterior.measure_codes(mean, np.full_like(mean, np.log(1e-4)))
    np.testing.assert_allclose(measured["mean_size"], [1])
    np.testing.assert_allclose(measured["deviation"], [0.01], rtol=1e-5)
    np.testing.assert_allclose(measured["deviation_of_all"], [1], rtol=1e-3)
    np.testing.assert_allclose(measured["information"], [np.log(2)], rtol=1e-3)
    assert measured["mismatch"] > 3


def test_codes_of_the_prior_have_no_information_and_no_mismatch(posterior):
    measured = posterior.measure_codes(*np.zeros((2, 1, 50, 3), np.float32))
    for name, expected in {"deviation": 1, "information": 0, "mismatch": 0}.items():
        np.testing.assert_allclose(measured[name], [expected], atol=1e-5)


def test_the_weight_of_the_divergence_is_the_network_s_own(posterior):
    model = posterior.train(
        posterior.Config(steps=60, hidden=8, seeds=1), 2, (0.0, 1000.0), tiny.splits()
    )
    weight = model.history["beta"]
    np.testing.assert_array_equal(weight[:, 0], 0)
    np.testing.assert_array_equal(weight[:, 1], 1000)
    free, held = model.history["divergence"][-1]
    assert held < 0.1 * free
