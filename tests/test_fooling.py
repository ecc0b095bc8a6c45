"""Scenes that are counted, and a generator that fools a discriminator which is fixed."""

import importlib.util
import sys

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from lectures_jax import data, train
from lectures_jax.models.mlp import Mlp


@pytest.fixture(scope="module")
def fooling(root):
    """The experiment's file as a module."""
    path = root / "experiments" / "ch4_generative" / "fooling.py"
    spec = importlib.util.spec_from_file_location("experiment_fooling", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def test_every_real_scene_has_three_disks(fooling):
    scenes = fooling.three_disks(np.random.default_rng(0), 500)
    assert scenes.shape == (500, 16, 16, 1)
    assert scenes.dtype == np.float32
    assert scenes.min() == 0
    assert scenes.max() == 1
    np.testing.assert_array_equal(fooling.count_disks(scenes), 3)
    areas = scenes.sum(axis=(1, 2, 3))
    np.testing.assert_allclose(areas, 3 * np.pi * 2**2, rtol=0.08)


def test_a_count_by_hand(fooling):  # corners do not connect, and what is dark is no disk
    image = np.zeros((4, 6, 6, 1), np.float32)
    image[1, :2, :2] = image[1, 2:4, 2:4] = 1
    image[2, 0, :] = image[2, :, 0] = 1
    image[3, 0, 0], image[3, 3, 3] = 0.4, 0.6
    assert list(fooling.count_disks(image)) == [0, 2, 1, 1]


def test_a_generator_leaves_the_data_to_fool_a_fixed_discriminator(fooling):
    """The score grows to the right; the data, and the first samples, are at 0."""
    generator = Mlp((1, 1), kernel_init=nnx.initializers.constant(0.1), rngs=nnx.Rngs(0))

    def objective(model, batch, key, discriminator):
        return fooling.fool(model, batch, key, lambda x: discriminator(x)[:, 0], latent=1)

    discriminator = Mlp((1, 1), kernel_init=nnx.initializers.ones, rngs=nnx.Rngs(0))
    batch = {"image": np.zeros((64, 1), np.float32)}
    fooled, _ = train.fit(
        jax.random.key(0),
        generator,
        objective,
        optax.sgd(1.0),
        data.repeat(batch, 40),
        fixed=discriminator,
    )
    z = jax.random.normal(jax.random.key(1), (500, 1))
    before, after = train.predict(generator, z), train.predict(fooled, z)
    assert abs(before.mean()) < 0.02
    assert after.mean() > 2
    np.testing.assert_array_equal(discriminator.layers[0].kernel[...], [[1.0]])


def test_ends_by_hand(fooling):
    def rows(score, frechet):
        first = {"score": 0.1, "score_of_real": 0.5, "frechet": 99.0}
        return [first, {"score": score, "score_of_real": 0.5, "frechet": frechet}]

    games = [[rows(0.4, 8.0), rows(0.7, 40.0)], [rows(0.5, 10.0), rows(0.6, 80.0)]]
    numbers = fooling.score_games(games)
    assert numbers["fixed_margin"] == pytest.approx(0.1)  # of the seed where it is least
    assert numbers["fixed_worse"] == pytest.approx(5)
    assert numbers["frechet"] == pytest.approx(9)
    assert numbers["fixed_frechet"] == pytest.approx(60)
