"""Two values and their mean, codes that tell nothing, and ways to a code and back."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import ops
from lectures_jax.models.autoencoder import Autoencoder
from lectures_jax.models.flow import coupling_flow
from lectures_jax.models.mlp import Mlp

KEY = jax.random.key(0)
IMAGES = jax.random.randint(KEY, (12, 8, 8, 1), 0, 17) / 16.0


@pytest.fixture(scope="module")
def experiment(root):
    """The experiment's file as a module."""
    path = root / "experiments" / "ch4_generative" / "multimodal.py"
    spec = importlib.util.spec_from_file_location("experiment_multimodal", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def test_the_target_is_either_root_as_often_and_its_mean_is_neither(experiment):
    points = experiment.square_roots(KEY, 4000)
    x, y = (np.asarray(points[name]) for name in ("x", "y"))
    np.testing.assert_allclose(np.mean(y > 0), 0.5, atol=0.03)
    np.testing.assert_allclose(y.mean(), 0, atol=0.05)
    off = experiment.distance(x, y)
    np.testing.assert_allclose(off.mean(), experiment.NOISE * (2 / np.pi) ** 0.5, rtol=0.05)
    np.testing.assert_allclose(experiment.distance(x, 0 * y), np.sqrt(x))


def test_regression_goes_to_the_mean(experiment):
    config = experiment.Config(steps=300, hidden=16, seeds=1)
    points = experiment.square_roots(KEY, 2000)
    model = experiment.fit(
        config,
        lambda rngs: Mlp((1, 16, 1), rngs=rngs),
        experiment.objectives.regression,
        points,
    )
    predicted = model.call(Mlp.__call__, points["x"])[0]
    assert np.abs(predicted).mean() < 0.15
    assert experiment.distance(np.asarray(points["x"]), predicted).mean() > 0.5


@pytest.mark.parametrize("sign", [-1, 1])
def test_samples_follow_the_velocity_given_x(experiment, sign):
    x = jnp.linspace(0.1, 1, 5)[:, None]
    drawn = experiment.draw(lambda x, y, t: (sign * jnp.sqrt(x) - y) / (1 - t[:, None]), x, KEY)
    np.testing.assert_allclose(drawn, sign * jnp.sqrt(x), atol=1e-4)


def test_a_decoder_of_random_codes_gives_the_mean_image(experiment):
    config = experiment.Config(steps=600, hidden=16, latent=2, seeds=1)
    images = np.zeros((2, 8, 8, 1), np.float32)
    images[1] = 1

    def build(rngs):
        return experiment.build_autoencoder(config, "autoencoder", rngs=rngs)

    z = jax.random.normal(KEY, (50, 2))
    alone = experiment.fit(config, build, experiment.latents_alone, {"image": images})
    assert np.abs(alone.call(Autoencoder.decode, z)[0] - 0.5).mean() < 0.1
    whole = experiment.fit(config, build, experiment.objectives.autoencoder, {"image": images})
    rebuilt = whole.call(experiment.through_code, jnp.asarray(images))[0]
    np.testing.assert_allclose(rebuilt, images, atol=0.15)


def test_a_flow_loses_nothing(experiment):
    flow = coupling_flow(64, layers=2, hidden=(8,), mix=True, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(experiment.through_flow(flow, IMAGES), IMAGES, atol=1e-4)


def test_the_way_to_the_noise_and_back_loses_little(experiment):
    """By the exact denoiser of independent pixels of mean 0 and variance ¼, in [-1, 1]."""

    def exact(x, ratio):
        variance = (ratio / 4 + 1 - ratio)[:, None, None, None]
        return jnp.sqrt(1 - ratio)[:, None, None, None] * x / variance

    np.testing.assert_allclose(experiment.through_noise(exact, IMAGES), IMAGES, atol=0.01)
    assert ops.log_snr(experiment.schedule()[-1]) < -7


def test_a_code_of_two_numbers_does_not_hold_random_images(experiment):
    config = experiment.Config(hidden=16, latent=2)
    model = experiment.build_autoencoder(config, "vae", rngs=nnx.Rngs(0))
    error = np.mean((experiment.through_code(model, IMAGES) - IMAGES) ** 2)
    assert error > 0.05
