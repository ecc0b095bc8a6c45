"""The recipe of autoencoders: its sizes, its objective, its file, and the error it scores by."""

import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import objectives, weights
from lectures_jax.recipes import autoencoder
from tests.recipes import tiny

IMAGES = tiny.splits().train["image"]
SETTINGS = autoencoder.with_defaults(autoencoder.Settings(hidden=4, latent=2, steps=2), "digits")


def test_sizes_depend_on_the_data_unless_they_are_chosen():
    small, large = (
        autoencoder.with_defaults(autoencoder.Settings(), kind) for kind in ("digits", "idx")
    )
    assert (small.latent, small.steps) == (8, 1200)
    assert (large.latent, large.steps) == (32, 4000)
    assert (SETTINGS.latent, SETTINGS.steps) == (2, 2)
    with pytest.raises(ValueError, match="latent must be set"):
        autoencoder.train(autoencoder.Settings(), IMAGES)


def test_training_leaves_a_file_that_is_read_back(tmp_path):
    model = autoencoder.train(SETTINGS, IMAGES, tmp_path).model
    saved = weights.load_model(tmp_path / "model.safetensors")
    assert saved.kind == "autoencoder"
    errors = [autoencoder.reconstruction_error(m, IMAGES) for m in (model, saved.model)]
    np.testing.assert_array_equal(*errors)


def test_the_error_is_of_each_image():
    model = autoencoder.train(SETTINGS, IMAGES).model
    expected = np.sum((np.asarray(model(jnp.asarray(IMAGES))) - IMAGES) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(autoencoder.reconstruction_error(model, IMAGES), expected, rtol=1e-5)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_noise_is_a_matter_of_the_objective(monkeypatch, noise):
    used = []

    def remember(key, model, objective, *_, **__):
        used.append(objective)
        return model, []

    monkeypatch.setattr(autoencoder, "fit", remember)
    settings = autoencoder.Settings(noise=noise, latent=2, steps=1)
    autoencoder.train(settings, IMAGES)
    if noise:
        assert (used[0].func, used[0].keywords) == (objectives.denoising, {"deviation": 0.3})
    else:
        assert used == [objectives.autoencoder]
