"""Diffusion losses by hand, and that their weights make them equal."""

import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import losses, ops
from tests.contract import Contract

RNG = np.random.default_rng(0)
X, Y, Z = (RNG.normal(size=(2, 3, 1)).astype(np.float32) for _ in range(3))
RATIO = np.float32([0.1, 0.5, 0.7, 0.95])


CONTRACT = {
    "noise_prediction": Contract([(X, Y)]),
    "x0_prediction": Contract([(X, Y)]),
    "velocity_prediction": Contract([(X, Y)]),
    "flow_matching": Contract([(X, Y, Z)]),
    "min_snr_weights": Contract([(RATIO,)], edges=[(np.float32([0, 1]),)]),
}


@pytest.mark.parametrize(
    "loss", [losses.noise_prediction, losses.x0_prediction, losses.velocity_prediction]
)
def test_a_squared_distance_by_hand(loss):
    a = jnp.array([[[1.0], [2]], [[0], [0]]])
    np.testing.assert_allclose(loss(a, jnp.array([[[0.0], [4]], [[0], [0]]])), [5, 0])


def test_flow_matching_by_hand():  # the velocities are (3, 0) and 0
    x0, noise = jnp.array([[1.0, 2], [4, 4]]), jnp.array([[-2.0, 2], [4, 4]])
    np.testing.assert_allclose(losses.flow_matching(x0, noise, jnp.ones((2, 2))), [5, 2])


def test_min_snr_weights_by_hand():
    weights = losses.min_snr_weights(jnp.array([0.0, 0.5, 0.9, 1.0]), gamma=3.0)  # SNR 0, 1, 9, ∞
    np.testing.assert_allclose(weights.x0, [0, 1, 3, 3], rtol=1e-5)
    np.testing.assert_allclose(weights.noise, [1, 1, 1 / 3, 0], rtol=1e-5)
    np.testing.assert_allclose(weights.velocity, [0, 0.5, 0.3, 0], rtol=1e-5)


def test_the_three_losses_weigh_an_error_alike():
    """One wrong x̂0 costs the same, whichever of the three the network predicts."""
    x0, predicted, noise = (jnp.asarray(RNG.normal(size=(4, 6)), jnp.float32) for _ in range(3))
    ratio = jnp.asarray(RATIO)
    x_t = ops.add_noise(x0, noise, ratio)
    predicted_noise = ops.noise_from_x0(x_t, predicted, ratio)
    weights = losses.min_snr_weights(ratio)
    expected = weights.x0 * losses.x0_prediction(x0, predicted)
    np.testing.assert_allclose(
        weights.noise * losses.noise_prediction(noise, predicted_noise), expected, rtol=1e-4
    )
    predicted_v, v = ops.velocity(predicted, predicted_noise, ratio), ops.velocity(x0, noise, ratio)
    np.testing.assert_allclose(
        weights.velocity * losses.velocity_prediction(v, predicted_v), expected, rtol=1e-4
    )
