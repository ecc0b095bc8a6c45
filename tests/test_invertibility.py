"""The thread of a flow: its least mass on maps that are known, and what is measured of a flow."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from lectures_jax import data
from lectures_jax.models.flow import Flow
from lectures_jax.nn.flow import Chain
from lectures_jax.nn.invertible import ActNorm


@pytest.fixture(scope="module")
def thread(root):
    """The experiment's file as a module."""
    path = root / "experiments" / "ch4_generative" / "invertibility.py"
    spec = importlib.util.spec_from_file_location("experiment_invertibility", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("steepness", [1.0, 5.0, 50.0])
def test_the_steepest_straight_map_leaves_the_least_share(thread, steepness):
    """x = steepness · z leaves [0, 2] in the gap, a map of any other form no less."""
    z = np.random.default_rng(0).normal(size=200_000)
    measured = np.mean((z > 0) & (steepness * z < 2))
    np.testing.assert_allclose(thread.least_share(2, steepness), measured, atol=0.004)
    gentle = np.where(z < 0, z, np.tanh(z) * steepness)  # as steep at 0, gentler after it
    assert np.mean((z > 0) & (gentle < 2)) >= thread.least_share(2, steepness) - 0.004


def test_the_least_share_falls_with_the_steepness_and_grows_with_the_gap(thread):
    shares = [thread.least_share(1, steepness) for steepness in (1, 2, 4, 8)]
    assert np.all(np.diff(shares) < 0)
    assert shares[0] == pytest.approx(ndtr(1) - 0.5)
    assert thread.least_share(0, 3) == 0
    assert thread.least_share(2, 1) > shares[0]


def test_the_width_of_a_gap_by_hand(thread):
    points = np.array([[0.0, 0], [1, 0], [4, 4], [1, 3]])
    assert thread.gap_width(points, np.array([0, 0, 1, 1])) == 3


def test_a_linear_flow_by_hand(thread):  # codes are divided by 1 and 6
    flow = Flow(Chain([ActNorm(2)]), size=2)
    x = np.array([[-1.0, -6], [0, 0], [1, 6]], np.float32) * 1.5**0.5  # deviations 1 and 6
    flow.data_dependent_init(jnp.asarray(x))
    config = thread.Config(count=64)
    real = np.asarray(data.two_moons(jax.random.key(0), count=32, noise=0.05)["x"])
    measured = thread.measure(config, flow, real, limit=np.inf, width=1.0)
    assert measured.steepness == pytest.approx(6, rel=1e-4)
    assert measured.log_det == pytest.approx(0, abs=1e-5)
    assert measured.off.all()
    assert measured.least == pytest.approx(ndtr(1 / 6) - 0.5, rel=1e-4)


def test_both_kinds_have_about_as_many_parameters(thread):
    counts = [
        thread.count_parameters(thread.build(thread.Config(), kind, depth=4, seed=0))
        for kind in ("flow", "mixture")
    ]
    assert counts[0] == pytest.approx(counts[1], rel=0.01)
