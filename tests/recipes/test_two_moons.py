import jax
import numpy as np
import pytest

from lectures_jax import data
from lectures_jax.recipes import two_moons
from tests.recipes import tiny


@pytest.mark.parametrize("kind", list(two_moons.SIZES))
def test_an_untrained_flow_is_measured_and_inverted(kind, monkeypatch):
    tiny.skip_training(monkeypatch, two_moons)
    key = jax.random.key(0)
    trained = two_moons.train_two_moons(key, kind, None, steps=2, batch_size=8, points=100)
    assert trained.excess > 10 * trained.deviation > 0
    x = data.two_moons(key, count=7)["x"]
    z = np.asarray(trained.model.forward(x)[0])
    np.testing.assert_allclose(two_moons.inverse(trained.model, z), x, atol=1e-4)


def test_no_density_costs_less_than_the_entropy():
    x = np.asarray(data.two_moons(jax.random.key(1), count=4000)["x"])
    assert -two_moons.true_log_prob(x).mean() == pytest.approx(two_moons.ENTROPY, abs=0.05)
