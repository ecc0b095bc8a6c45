"""Gram matrices against loops; colors against the numbers that they are given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from tests.contract import Contract

RNG = np.random.default_rng(0)
MAPS = RNG.normal(size=(2, 5, 4, 3)).astype(np.float32)
IMAGE = RNG.random((2, 5, 4, 3)).astype(np.float32)
REFERENCE = RNG.random((2, 6, 7, 3)).astype(np.float32)
BRIGHTNESS = RNG.random((2, 5, 4, 1)).astype(np.float32)
MANY = np.tile(MAPS + 10, (1, 30, 30, 1))

CONTRACT = {
    "gram_matrix": Contract([(MAPS,)], edges=[(0 * MAPS,), (MANY,)]),
    "luminance": Contract([(IMAGE,)]),
    "with_luminance": Contract([(IMAGE, BRIGHTNESS)]),
    "match_colors": Contract([(IMAGE, REFERENCE)], differentiable=False),
}


def colors(image):
    """Mean and covariance of the pixels."""
    pixels = np.asarray(image, np.float64).reshape(-1, image.shape[-1])
    return pixels.mean(0), np.cov(pixels.T, bias=True)


def test_a_gram_matrix_by_hand():
    features = jnp.array([[[1.0, 2.0], [3.0, 0.0]]])  # one row of two cells, two channels
    np.testing.assert_allclose(ops.gram_matrix(features), [[10.0, 2.0], [2.0, 4.0]])


def test_a_gram_matrix_equals_loops():
    expected = np.zeros((2, 3, 3))
    for image in range(2):
        for y in range(5):
            for x in range(4):
                for i in range(3):
                    for j in range(3):
                        expected[image, i, j] += MAPS[image, y, x, i] * MAPS[image, y, x, j]
    np.testing.assert_allclose(ops.gram_matrix(jnp.asarray(MAPS)), expected, rtol=1e-5, atol=1e-5)


def test_brightness_by_hand():
    red = jnp.array([[[1.0, 0.0, 0.0]]])
    np.testing.assert_allclose(ops.luminance(red), [[[0.299]]])
    np.testing.assert_allclose(ops.luminance(jnp.ones((2, 1, 3))), np.ones((2, 1, 1)), rtol=1e-6)
    brighter = ops.with_luminance(red, jnp.array([[[0.5]]]))
    np.testing.assert_allclose(brighter, [[[1.201, 0.201, 0.201]]], rtol=1e-6)


def test_the_brightness_changes_and_the_other_coordinates_of_yiq_do_not():
    # The last two rows of the matrix from RGB to YIQ, in the numbers of the standard.
    chroma = np.array([[0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    result = ops.with_luminance(jnp.asarray(IMAGE), jnp.asarray(BRIGHTNESS))
    np.testing.assert_allclose(ops.luminance(result), BRIGHTNESS, atol=1e-6)
    np.testing.assert_allclose(result @ chroma.T, IMAGE @ chroma.T, atol=1e-6)


def test_matched_colors_have_the_mean_and_the_covariance_of_the_reference():
    result = ops.match_colors(jnp.asarray(IMAGE), jnp.asarray(REFERENCE), ridge=1e-9)
    for image, reference in zip(result, REFERENCE, strict=True):
        for got, expected in zip(colors(image), colors(reference), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-5)


def test_colors_that_match_stay():
    image = jnp.asarray(IMAGE)
    np.testing.assert_allclose(ops.match_colors(image, image[:, ::-1]), image, atol=1e-5)


def test_one_channel_gets_mean_and_deviation():
    result = ops.match_colors(jnp.asarray(BRIGHTNESS), jnp.asarray(REFERENCE[..., :1]), ridge=1e-9)
    for name in ("mean", "std"):
        got, expected = (getattr(np, name)(x, axis=(1, 2)) for x in (result, REFERENCE[..., :1]))
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("gray", [np.full_like(IMAGE, 0.5), np.repeat(BRIGHTNESS, 3, axis=-1)])
def test_gray_images_have_finite_results(gray):
    to_gray = ops.match_colors(jnp.asarray(IMAGE), jnp.asarray(gray))
    from_gray = ops.match_colors(jnp.asarray(gray), jnp.asarray(REFERENCE))
    assert jnp.all(jnp.isfinite(to_gray) & jnp.isfinite(from_gray))
    assert np.ptp(to_gray, axis=-1).max() < 0.05


def test_a_transfer_is_a_constant_to_derivatives():
    gradient = jax.grad(lambda x: ops.match_colors(x, jnp.asarray(REFERENCE)).sum())
    np.testing.assert_array_equal(gradient(jnp.asarray(IMAGE)), 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.gram_matrix(jnp.ones((4, 3))), "features must be floats of shape"),
        (lambda: ops.luminance(jnp.ones((4, 4, 1))), "image must be floats of shape"),
        (lambda: ops.match_colors(jnp.ones((0, 4, 3)), jnp.ones((4, 4, 3))), "image must hold"),
        (lambda: ops.match_colors(jnp.ones((4, 4, 3)), jnp.ones((4, 4, 1))), "reference must be"),
        (
            lambda: ops.match_colors(jnp.ones((4, 4, 3)), jnp.ones((4, 4, 3)), ridge=0.0),
            "ridge must be positive, got 0",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
