"""The diffusion objectives: perfect networks, and what a network is called with."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import losses, objectives, ops

ALPHA_BAR = ops.linear_schedule(100)
IMAGES = jax.random.uniform(jax.random.key(0), (6, 4, 4, 1))
BATCH = {"image": IMAGES, "labels": jnp.arange(6)}
KEY = jax.random.key(1)


class Spy:
    """Predicts by a function of its inputs, and remembers them."""

    num_classes = 6

    def __init__(self, predict):
        self.predict = predict

    def __call__(self, x_t, alpha_bar, labels, *, key):
        self.inputs = x_t, alpha_bar, labels
        return self.predict(x_t, alpha_bar)


X0 = 2 * IMAGES - 1
NOISE = lambda x, a: ops.noise_from_x0(x, X0, a)
PERFECT = {
    "noise": (objectives.diffusion_noise, NOISE),
    "x0": (objectives.diffusion_x0, lambda x, a: X0),
    "velocity": (objectives.diffusion_velocity, lambda x, a: ops.velocity(X0, NOISE(x, a), a)),
}


@pytest.mark.parametrize("name", PERFECT)
def test_a_perfect_prediction_has_no_loss(name):
    objective, predict = PERFECT[name]
    loss, metrics = objective(Spy(predict), BATCH, KEY, alpha_bar=ALPHA_BAR)
    np.testing.assert_allclose(loss, 0, atol=1e-5)
    assert set(metrics) == {"loss", "error"}


@pytest.mark.parametrize("name", PERFECT)
def test_weights_are_those_of_the_target(name):
    objective, predict = PERFECT[name]
    spy = Spy(lambda x, a: predict(x, a) + 2)
    loss, metrics = objective(spy, BATCH, KEY, alpha_bar=ALPHA_BAR, gamma=5.0)
    weights = getattr(losses.min_snr_weights(spy.inputs[1], gamma=5.0), name)
    np.testing.assert_allclose(loss, 4 * jnp.mean(weights), rtol=1e-3)
    np.testing.assert_allclose(metrics["error"], 4, rtol=1e-3)


def test_the_noise_is_normal_and_independent_among_examples():
    batch = {"image": jnp.full((4000, 2, 2, 1), 0.5), "labels": jnp.zeros(4000, jnp.int32)}
    spy = Spy(lambda x, a: x)
    objectives.diffusion_noise(spy, batch, KEY, alpha_bar=ALPHA_BAR)
    x_t, ratio, _ = spy.inputs
    noise = np.asarray(x_t / jnp.sqrt(1 - ratio)[:, None, None, None]).reshape(4000, 4)
    np.testing.assert_allclose(np.cov(noise, rowvar=False), np.eye(4), atol=0.1)
    assert len(np.unique(noise)) > 0.999 * noise.size


def test_all_levels_are_drawn_equally_often():
    batch = {"image": jnp.zeros((1000, 1, 1, 1)), "labels": jnp.zeros(1000, jnp.int32)}
    spy = Spy(lambda x, a: x)
    objectives.diffusion_noise(spy, batch, KEY, alpha_bar=ALPHA_BAR)
    _, counts = np.unique(np.asarray(spy.inputs[1]), return_counts=True)
    assert len(counts) == 100
    assert counts.min() >= 9
    assert counts.max() <= 11


@pytest.mark.parametrize(("dropout", "share"), [(0.0, 1.0), (1.0, 0.0), (0.25, 0.75)])
def test_a_share_of_the_labels_is_dropped(dropout, share):
    labels = jnp.tile(jnp.arange(6), 500)
    batch = {"image": jnp.zeros((3000, 1, 1, 1)), "labels": labels}
    spy = Spy(lambda x, a: x)
    objectives.diffusion_x0(spy, batch, KEY, alpha_bar=ALPHA_BAR, class_dropout=dropout)
    given = np.asarray(spy.inputs[2])
    same = given == np.asarray(labels)
    assert np.all(given[~same] == Spy.num_classes)
    np.testing.assert_allclose(same.mean(), share, atol=0.03)


def test_a_network_without_classes_is_given_none():
    spy = Spy(lambda x, a: x)
    spy.num_classes = 0
    objectives.diffusion_velocity(spy, {"image": IMAGES}, KEY, alpha_bar=ALPHA_BAR)
    assert spy.inputs[2] is None


def test_it_works_under_jit():
    objective = partial(objectives.diffusion_noise, alpha_bar=ALPHA_BAR)
    loss = jax.jit(lambda batch, key: objective(Spy(lambda x, a: 0 * x), batch, key)[0])
    np.testing.assert_allclose(loss(BATCH, KEY), 1, atol=0.3)


def test_flow_matching_of_a_gaussian_costs_what_cannot_be_known():
    """Var(x0 − ε | x_t) = 1 / (t² + (1 − t)²) for data N(0, 1); its mean over t is π / 2."""
    images = (jax.random.normal(KEY, (40_000, 1, 1, 1)) + 1) / 2
    best = lambda x, t: (((2 * t - 1) / (t**2 + (1 - t) ** 2))[:, None, None, None]) * x
    batch = {"image": images, "labels": jnp.zeros(len(images), jnp.int32)}
    loss, metrics = objectives.flow_matching(Spy(best), batch, jax.random.key(2))
    np.testing.assert_allclose(loss, np.pi / 2, rtol=0.02)
    np.testing.assert_allclose(metrics["error"], loss)
    for factor in (0.9, 1.1):
        other = Spy(lambda x, t, factor=factor: factor * best(x, t))
        assert objectives.flow_matching(other, batch, jax.random.key(2))[0] > loss


def test_flow_matching_gives_the_network_times_between_noise_and_image():
    spy = Spy(lambda x, t: x)
    batch = {"image": jnp.full((1000, 2, 2, 1), 2.0), "labels": jnp.zeros(1000, jnp.int32)}
    objectives.flow_matching(spy, batch, KEY, class_dropout=1.0)
    x_t, t, labels = spy.inputs
    np.testing.assert_allclose(np.sort(t), np.arange(1000) / 1000, atol=1e-3)
    noise = (x_t - 3 * t[:, None, None, None]) / (1 - t)[:, None, None, None]
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 1], atol=0.05)
    assert np.all(np.asarray(labels) == Spy.num_classes)
