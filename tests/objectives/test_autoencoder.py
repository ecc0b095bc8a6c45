"""The objectives of autoencoders: by hand, and the best linear denoiser in closed form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lectures_jax import objectives, train

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(0).random((7, 4, 4, 1)), jnp.float32)


def test_the_error_is_summed_over_pixels_and_averaged_over_images():
    for objective in (objectives.autoencoder, partial(objectives.denoising, deviation=0.0)):
        loss, metrics = objective(lambda x: 2 * x, {"image": X}, KEY)
        np.testing.assert_allclose(loss, np.sum(X**2) / 7, rtol=1e-6)
        assert metrics == {"loss": loss}


def test_noise_goes_in_and_the_clean_image_is_what_should_come_out():
    noisy = []

    def clean(x):
        noisy.append(x)
        return X

    denoising = partial(objectives.denoising, deviation=0.5)
    assert denoising(clean, {"image": X}, KEY)[0] == 0
    np.testing.assert_allclose(np.std(noisy[0] - X), 0.5, rtol=0.15)
    images = jnp.zeros((4000, 4))  # without a model the error is the noise
    loss, _ = denoising(lambda x: x, {"image": images}, KEY)
    np.testing.assert_allclose(loss, 4 * 0.5**2, rtol=0.05)


class Matrix(nnx.Module):
    def __init__(self, size):
        self.kernel = nnx.Param(jnp.zeros((size, size)))

    def __call__(self, x):
        return x @ self.kernel[...]


def test_a_linear_network_becomes_wiener_s_filter():  # C (C + σ²I)⁻¹ for data of mean 0
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(512, 3)) * [2, 1, 0.5]).astype(np.float32)
    covariance = x.T @ x / len(x)
    model, _ = train.fit(
        KEY,
        Matrix(3),
        partial(objectives.denoising, deviation=1.0),
        optax.sgd(optax.linear_schedule(0.1, 0, 1000)),
        ({"image": x} for _ in range(1000)),
        steps=1000,
    )
    filter_ = np.linalg.solve(covariance + np.eye(3), covariance)
    np.testing.assert_allclose(model.kernel[...], filter_, atol=0.01)


def test_a_negative_deviation_is_refused():
    with pytest.raises(ValueError, match=r"deviation must be at least 0, got -1\.0"):
        objectives.denoising(lambda x: x, {"image": X}, KEY, deviation=-1.0)
