"""Images moved by the same length: how far, within which range, and what each way is for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.models.cnn import Cnn
from lectures_jax.recipes import moves

RNG = np.random.default_rng(0)
TRAINING = {
    "image": RNG.random((30, 8, 8, 1)).astype(np.float32),
    "labels": np.arange(30, dtype=np.int32) % 3,
}
TEST = {
    "image": RNG.random((6, 8, 8, 1)).astype(np.float32),
    "labels": np.arange(6, dtype=np.int32) % 3,
}
NETWORK = nnx.view(
    Cnn(3, channels=((4,), (8,)), inputs=1, rngs=nnx.Rngs(0)), use_running_average=True
)


def length_of(change):
    return np.sqrt(np.sum(np.asarray(change) ** 2, axis=(1, 2, 3)))


@pytest.fixture(scope="module")
def changed():
    return moves.move(jax.random.key(0), NETWORK, TEST, TRAINING, length=0.8)


def test_every_way_is_of_one_length_and_in_range(changed):
    assert tuple(changed) == moves.WAYS
    for images in changed.values():
        assert images.min() >= 0
        assert images.max() <= 1
        np.testing.assert_allclose(length_of(images - TEST["image"]), 0.8, rtol=1e-2)


def test_an_attack_raises_the_loss_more_than_noise(changed):
    def loss(images):
        logits = jax.nn.log_softmax(NETWORK(jnp.asarray(images)))
        return -np.mean(np.asarray(logits)[np.arange(6), TEST["labels"]])

    assert loss(changed["attack"]) > max(loss(TEST["image"]), loss(changed["noise"]))


def test_a_dream_raises_what_the_network_sees(changed):
    def seen(images):
        return np.mean(np.asarray(NETWORK.features(jnp.asarray(images))["pooled"]) ** 2)

    assert seen(changed["dream"]) > max(seen(TEST["image"]), seen(changed["noise"]))


def test_towards_data_is_a_straight_line_to_another_class(changed):
    end = moves.nearest_of_another_class(TEST, TRAINING)
    left = length_of(end - changed["towards data"])
    np.testing.assert_allclose(left, length_of(end - TEST["image"]) - 0.8, rtol=1e-2)
    labels = [np.flatnonzero((TRAINING["image"] == image).all(axis=(1, 2, 3)))[0] for image in end]
    assert np.all(TRAINING["labels"][labels] != TEST["labels"])


def test_what_is_cut_off_is_made_up_for_as_far_as_the_range_allows():
    images = jnp.concatenate([jnp.ones((1, 2, 2, 1)), jnp.full((1, 2, 2, 1), 0.5)])
    change = jnp.array([1.0, 1, -1, -1]).reshape(1, 2, 2, 1) * jnp.ones((2, 1, 1, 1))
    changed = moves.to_length(images, change, length=0.5)
    np.testing.assert_allclose(length_of(changed - images), [0.5, 0.5], rtol=1e-5)
    far = moves.to_length(images, change, length=10.0)
    np.testing.assert_allclose(length_of(far - images), [np.sqrt(2), 1], rtol=1e-5)


def test_distances_of_all_pairs_by_hand():
    a, b = np.zeros((1, 2, 2, 1)), np.ones((2, 2, 2, 1))
    np.testing.assert_allclose(moves.pixel_distance(a, b), [[2, 2]])
