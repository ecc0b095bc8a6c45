"""Noise, image and velocity of one exact denoiser give the same samples, but for one schedule."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import ops
from lectures_jax.models.diffusion import DenseDenoiser

MEAN, VARIANCE = 0.2, 0.09  # of Gaussian data, in the range [-1, 1] of the network


@pytest.fixture(scope="module")
def experiment(root):
    """The experiment's file as a module."""
    path = root / "experiments" / "ch4_generative" / "noise_prediction.py"
    spec = importlib.util.spec_from_file_location("experiment_noise_prediction", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def image(x, ratio):
    """The image that is expected in x."""
    root = jnp.sqrt(ratio)
    gain = root * VARIANCE / (ratio * VARIANCE + 1 - ratio)
    return MEAN + gain * (x - root * MEAN)


def noise(x, ratio):
    return ops.noise_from_x0(x, image(x, ratio), ratio)


def velocity(x, ratio):
    return ops.velocity(image(x, ratio), noise(x, ratio), ratio)


def line(x, t):
    """The velocity of flow matching that is expected in x."""
    gain = (t * VARIANCE - (1 - t)) / (t**2 * VARIANCE + (1 - t) ** 2)
    return MEAN + gain * (x - t * MEAN)


EXACT = {"noise": noise, "image": image, "velocity": velocity, "flow matching": line}


def drawn(experiment, kind, schedule, calls=20):
    alpha_bar = experiment.schedules()[schedule]
    return 2 * experiment.draw(kind, EXACT[kind], alpha_bar, count=200, calls=calls) - 1


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_three_predictions_are_one_where_they_are_exact(experiment, schedule):
    by_noise = drawn(experiment, "noise", schedule)
    for kind in ("image", "velocity"):
        np.testing.assert_allclose(drawn(experiment, kind, schedule), by_noise, atol=2e-3)


def test_without_any_signal_the_noise_does_not_tell_the_image(experiment):
    """One call from noise alone gives the mean of the data, which its noise does not hold."""
    by_image, by_velocity, by_noise = (
        drawn(experiment, kind, "to 0", calls=1) for kind in ("image", "velocity", "noise")
    )
    for x, expected in ((by_image, MEAN), (by_velocity, MEAN), (by_noise, 0)):
        np.testing.assert_allclose(x, np.full_like(x, expected), atol=1e-5)


@pytest.mark.parametrize("kind", EXACT)
def test_samples_have_the_mean_and_deviation_of_the_data(experiment, kind):
    x = drawn(experiment, kind, "cosine", calls=50)
    np.testing.assert_allclose([x.mean(), x.std()], [MEAN, VARIANCE**0.5], atol=0.02)


def test_each_network_is_trained_with_its_own_schedule(experiment):
    ratios = jnp.stack([jnp.full(3, 0.9), jnp.full(3, 0.1)])
    model = DenseDenoiser((8, 8, 1), hidden=8, rngs=nnx.Rngs(0))
    batch = {"image": jnp.full((64, 8, 8, 1), 0.5)}
    objective = experiment.OBJECTIVES["image"]
    few, many = (objective(model, batch, jax.random.key(0), ratio)[0] for ratio in ratios)
    assert few != many
    for kind in EXACT:
        assert jnp.isfinite(
            experiment.OBJECTIVES[kind](model, batch, jax.random.key(0), ratios[0])[0]
        )
