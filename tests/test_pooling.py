"""Networks that pool: where digits stand, what is measured, and a shift within a window."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import ops
from tests.test_experiments import ROOT, load


@pytest.fixture(scope="module")
def pooling():
    return load(ROOT / "experiments" / "ch3_vision" / "pooling.py")


def test_a_digit_stands_in_the_middle_and_moves_down_and_to_the_right(pooling):
    digit = np.zeros((1, 8, 8, 1), np.float32)
    digit[0, 0, 0] = 1
    for down, right in ((0, 0), (3, 0), (0, -2), (-4, 4)):
        (place,) = np.argwhere(pooling.on_canvas(digit, down, right)[0, ..., 0])
        np.testing.assert_array_equal(place, [4 + down, 4 + right])


def test_all_kinds_have_the_same_parameters_and_cells(pooling):
    images = jnp.ones((2, pooling.CANVAS, pooling.CANVAS, 1))
    models = [pooling.Network(kind, 3, rngs=nnx.Rngs(0)) for kind in pooling.KINDS]
    for first, model in zip((models[0],) * 3, models, strict=True):
        for a, b in zip(first.layers, model.layers, strict=True):
            np.testing.assert_array_equal(a.kernel[...], b.kernel[...])
        assert model.last_map(images).shape == (2, 4, 4, 6)
        assert model(images).shape == (2, 10)


def test_a_shift_within_the_window_leaves_a_maximum_and_moves_what_a_stride_reads():
    spot = jnp.zeros((1, 4, 4, 1)).at[0, 2, 2].set(1)
    shifted = jnp.roll(spot, 1, axis=2)
    for pool in (ops.max_pool, ops.mean_pool):
        np.testing.assert_array_equal(pool(spot, size=2), pool(shifted, size=2))
    assert jnp.any(spot[:, ::2, ::2] != shifted[:, ::2, ::2])


class Mean(nnx.Module):
    """Its map is the mean of each image; all images are of the first class."""

    def last_map(self, images):
        return jnp.mean(images, axis=(1, 2), keepdims=True)

    def __call__(self, images):
        return jnp.eye(10)[:1].repeat(len(images), axis=0)


class Pixels(Mean):
    """Its map is the image."""

    def last_map(self, images):
        return images


def test_distance_and_accuracy_by_hand(pooling):
    digit = np.zeros((2, 8, 8, 1), np.float32)
    digit[:, 3, 3] = 1
    test = {"image": digit, "labels": np.array([0, 1], np.int32)}
    mean, pixels = (pooling.measure(model, test) for model in (Mean(), Pixels()))
    np.testing.assert_allclose(mean.distance, 0, atol=1e-7)
    np.testing.assert_allclose(pixels.distance, [0, *[2**0.5] * 4], rtol=1e-6)
    np.testing.assert_array_equal(pixels.accuracy, [0.5] * 5)


def test_the_photograph_is_pooled_by_both(pooling, monkeypatch):
    sheet = pooling.pooled_photograph()
    assert sheet.shape == (pooling.SIDE, 4 * pooling.SIDE + 12, 3)
    image, largest, mean, _ = (sheet[:, n * 196 : n * 196 + 192].mean() for n in range(4))
    assert largest > mean + 5
    assert abs(mean - image) < 1
