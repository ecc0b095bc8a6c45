"""Classical filters and the best linear map: by hand, orthonormal, better than doing nothing."""

import numpy as np
import pytest

from lectures_jax import data
from lectures_jax.recipes import denoising

RNG = np.random.default_rng(0)
IMAGES = data.digits(split="validation")["image"][:40]
NOISY = IMAGES + 0.3 * RNG.normal(size=IMAGES.shape).astype(np.float32)


def test_the_haar_transform_by_hand():
    half = np.sqrt(0.5)
    expected = [
        [0.5, 0.5, 0.5, 0.5],
        [0.5, 0.5, -0.5, -0.5],
        [half, -half, 0, 0],
        [0, 0, half, -half],
    ]
    np.testing.assert_allclose(denoising.haar_matrix(4), expected, atol=1e-6)
    matrix = denoising.haar_matrix(32)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(32), atol=1e-5)
    with pytest.raises(ValueError, match="size must be a power of 2, got 12"):
        denoising.haar_matrix(12)


@pytest.mark.parametrize("shape", [(2, 8, 8, 1), (1, 12, 20, 3)])
def test_a_threshold_of_nothing_keeps_the_image_and_of_everything_its_mean(shape):
    images = RNG.random(shape).astype(np.float32)
    np.testing.assert_allclose(denoising.shrink_wavelets(images, threshold=0.0), images, atol=1e-5)
    if shape[1:3] == (8, 8):
        mean = np.broadcast_to(images.mean(axis=(1, 2), keepdims=True), shape)
        np.testing.assert_allclose(
            denoising.shrink_wavelets(images, threshold=100.0), mean, atol=1e-5
        )


def test_wiener_s_filter_in_one_dimension():  # the variance 1, the noise's 4: a fifth remains
    values = np.array([1.0, -1, 1, -1]).reshape(4, 1, 1, 1) * np.sqrt(3 / 4)
    remove = denoising.wiener_filter(3 + values, noise=2.0)
    np.testing.assert_allclose(remove(np.full((1, 1, 1, 1), 8.0)), np.full((1, 1, 1, 1), 4.0))


def test_wiener_s_filter_has_the_least_error_of_all_linear_maps():
    remove = denoising.wiener_filter(IMAGES, noise=0.3)
    rng = np.random.default_rng(1)
    many = np.repeat(IMAGES, 200, axis=0)
    noisy = many + 0.3 * rng.normal(size=many.shape)
    error = np.mean((remove(noisy) - many) ** 2)
    mean = IMAGES.mean(axis=0)
    for share in (0.9, 1.1):
        assert np.mean((mean + share * (remove(noisy) - mean) - many) ** 2) > error


def test_tuned_filters_remove_noise():
    filters = denoising.tuned_filters(NOISY, IMAGES, noise=0.3)
    assert list(filters) == ["median", "Gaussian", "non-local means", "total variation", "wavelets"]
    before = denoising.decibels(NOISY, IMAGES)
    for name, remove in filters.items():
        result = remove(NOISY)
        assert result.shape == NOISY.shape
        if name != "median":  # which takes lines of one pixel away
            assert denoising.decibels(result, IMAGES) > before + 0.5, name


def test_decibels_are_of_images_that_are_cut_off():
    clean = np.zeros((2, 4, 4, 1), np.float32)
    np.testing.assert_allclose(denoising.decibels(clean + 0.1, clean), 20, rtol=1e-5)
    assert denoising.decibels(clean - 1, clean) == np.inf
