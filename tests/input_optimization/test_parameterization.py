"""Images from pixels and from frequencies, the colors of photographs, and the penalties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import data
from lectures_jax.input_optimization import Fourier, Pixels, Regularization, color_basis, penalty
from lectures_jax.input_optimization.parameterization import COLOR_BASIS

KEY = jax.random.key(0)


@pytest.mark.parametrize("kind", [Pixels(6, 9), Fourier(6, 9), Fourier(7, 8, 1), Pixels(5, 5, 2)])
def test_images_have_the_size_and_start_nearly_gray(kind):
    params = kind.init(KEY, 2)
    images = kind(params)
    assert images.shape == (2, kind.height, kind.width, kind.channels)
    assert 0 < np.abs(images - 0.5).max() < 0.3
    np.testing.assert_array_equal(kind(0 * params), 0.5 * jnp.ones_like(images))
    far = kind(1e3 * params)
    assert 0 <= far.min() < far.max() <= 1


def test_frequencies_equal_numpy_s_transform():
    kind = Fourier(6, 9, decay=1.5, basis=None)
    params = np.asarray(kind.init(KEY, 2), np.float64)
    frequency = np.hypot(np.fft.fftfreq(6)[:, None], np.fft.rfftfreq(9)[None])
    scale = np.sqrt(54) / np.maximum(frequency, 1 / 9) ** 1.5 / 4
    logits = np.fft.irfft2((params[..., 0] + 1j * params[..., 1]) * scale, s=(6, 9))
    expected = 1 / (1 + np.exp(-np.moveaxis(logits, 1, -1)))
    np.testing.assert_allclose(kind(jnp.asarray(params, jnp.float32)), expected, atol=1e-6)


def test_the_first_color_is_light():
    kind = Fourier(4, 4)
    params = jnp.zeros((1, 3, 4, 3, 2)).at[0, 0, 0, 0, 0].set(1.0)
    image = kind(params)[0]
    np.testing.assert_allclose(image, image[:1, :1] + jnp.zeros_like(image), atol=1e-6)
    red, green, blue = jax.scipy.special.logit(image[0, 0])
    assert red > green > blue > 0.9 * red


def test_the_basis_is_a_root_of_the_covariance():
    colors = np.random.default_rng(0).normal(size=(400, 3)) @ np.diag([1, 0.3, 2])
    basis = np.asarray(color_basis(jnp.asarray(colors, jnp.float32)))
    np.testing.assert_allclose(basis @ basis.T, np.cov(colors, rowvar=False), atol=1e-5)
    lengths = np.linalg.norm(basis, axis=0)
    assert lengths[0] > lengths[1] > lengths[2]
    np.testing.assert_allclose(basis.T @ basis, np.diag(lengths**2), atol=1e-5)


def test_the_default_basis_is_that_of_the_built_in_photographs():
    names = ("pagoda", "dahlia", "astronaut", "cat", "coffee", "motorcycle", "rocket")
    images = data.photographs(*names).values()
    mean = np.mean([np.cov(image.reshape(-1, 3), rowvar=False) for image in images], axis=0)
    basis = np.asarray(COLOR_BASIS)
    np.testing.assert_allclose(basis @ basis.T, mean, atol=0.004)


def test_penalties_by_hand():
    images = jnp.stack([jnp.full((2, 2, 1), 0.5), jnp.ones((2, 2, 1)), jnp.zeros((2, 2, 1))])
    images = images.at[2, 0, 0, 0].set(1.0)
    np.testing.assert_allclose(penalty(images, Regularization()), [0, 0, 0])
    np.testing.assert_allclose(penalty(images, Regularization(l2=2.0)), [0, 2, 2])
    np.testing.assert_allclose(penalty(images, Regularization(total_variation=1.0)), [0, 0, 0.5])
    half = jnp.full((1, 2, 2, 1), 0.75)
    np.testing.assert_allclose(penalty(half, Regularization(alpha_norm=1.0)), [0.5**6])
    np.testing.assert_allclose(penalty(half, Regularization(alpha_norm=1.0, alpha=3.0)), [0.125])


def test_a_gray_image_has_a_finite_gradient_of_zero():
    every = Regularization(1.0, 1.0, 1.0)
    gradient = jax.grad(lambda x: penalty(x, every).sum())(jnp.full((1, 3, 3, 3), 0.5))
    np.testing.assert_array_equal(gradient, 0)
