"""Shifts, scales and rotations on a torus: against NumPy's and SciPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from lectures_jax.input_optimization import Transforms, warp
from lectures_jax.input_optimization.transforms import NO_TRANSFORMS

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).uniform(size=(2, 7, 9, 3)).astype(np.float32)


def warped(images, scale=1.0, angle=0.0, shift=(0.0, 0.0)):
    numbers = (jnp.float32(scale), jnp.float32(angle), jnp.asarray(shift, jnp.float32))
    return np.asarray(warp(jnp.asarray(images), *numbers))


def test_a_shift_by_whole_pixels_is_a_roll():
    moved_by_two = warped(IMAGES, shift=(2, -3))
    np.testing.assert_allclose(moved_by_two, np.roll(IMAGES, (2, -3), axis=(1, 2)), atol=1e-6)


def test_a_quarter_turn_is_counter_clockwise():
    square = IMAGES[:, :, 1:8]
    turned = np.rot90(square, axes=(1, 2))
    np.testing.assert_allclose(warped(square, angle=np.pi / 2), turned, atol=1e-5)


def test_all_together_equal_scipy_s_interpolation():
    scale, angle, shift = 1.3, 0.4, np.array([1.25, -0.5])
    center = (np.array([7, 9]) - 1) / 2
    points = np.indices((7, 9)).reshape(2, -1) - (center + shift)[:, None]
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    points = back @ points + center[:, None]
    expected = [
        [map_coordinates(i[..., c], points, order=1, mode="grid-wrap") for c in range(3)]
        for i in IMAGES
    ]
    expected = np.moveaxis(np.reshape(expected, (2, 3, 7, 9)), 1, -1)
    np.testing.assert_allclose(warped(IMAGES, scale, angle, shift), expected, atol=1e-5)


def test_an_enlarged_image_shows_its_middle():
    image = np.zeros((1, 9, 9, 1), np.float32)
    image[:, 3:6, 3:6] = 1
    assert warped(image, scale=2.0).sum() == pytest.approx(4 * image.sum())


def test_none_leaves_images_and_jitter_rolls_them():
    images = jnp.asarray(IMAGES)
    np.testing.assert_array_equal(NO_TRANSFORMS(KEY, images), images)
    jittered = {
        Transforms(3, (1.0, 1.0), 0.0)(jax.random.key(n), images).tobytes() for n in range(8)
    }
    assert len(jittered) > 4
    rolls = {
        np.roll(IMAGES, (i, j), axis=(1, 2)).tobytes() for i in range(-3, 4) for j in range(-3, 4)
    }
    assert jittered <= rolls


def test_draws_differ_and_stay_in_range():
    draws = [Transforms()(jax.random.key(n), jnp.asarray(IMAGES)) for n in range(4)]
    assert len({draw.tobytes() for draw in draws}) == 4
    assert all(draw.min() >= 0 and draw.max() <= 1 for draw in draws)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"jitter": -1}, "jitter must be at least 0, got -1"),
        ({"rotation": -2.0}, "rotation must be at least 0"),
        ({"scale": (1.1, 0.9)}, "scale must be two rising numbers above 0"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Transforms(**wrong)
