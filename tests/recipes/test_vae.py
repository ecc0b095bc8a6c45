import dataclasses

import jax
import numpy as np
import pytest

from lectures_jax import weights
from lectures_jax.recipes import vae
from tests.recipes import tiny

SETTINGS = vae.with_defaults(
    vae.Settings(steps=2, hidden=8, latent=2, components=2, samples=(1,)), "digits"
)


def test_sizes_depend_on_the_data_unless_they_are_chosen():
    small, large = (vae.with_defaults(vae.Settings(), kind) for kind in ("digits", "images"))
    assert (small.dense, small.steps, small.latent, small.hidden) == (True, 1200, 16, 512)
    assert (large.dense, large.steps, large.latent, large.hidden) == (False, 6000, 32, 256)
    chosen = vae.with_defaults(vae.Settings(dense=False, latent=3), "digits")
    assert (chosen.dense, chosen.latent) == (False, 3)


def test_training_without_the_defaults_is_refused():
    with pytest.raises(ValueError, match="steps must be set"):
        vae.train(vae.Settings(), tiny.splits(), None)


def test_a_model_that_is_read_back_draws_codes_from_the_prior(monkeypatch, tmp_path):
    tiny.skip_training(monkeypatch, vae)
    generator = vae.train(SETTINGS, tiny.splits(), tmp_path)
    saved = weights.load_model(tmp_path / "model.safetensors")
    drawn = vae.sample(saved.model, saved.settings, jax.random.key(1), 3)
    codes = np.asarray(jax.random.normal(jax.random.key(1), (3, 2)))
    assert saved.kind == "vae"
    assert drawn.dtype == np.float32
    assert drawn.shape == (3, 8, 8, 1)
    np.testing.assert_array_equal(drawn, vae.decode(generator.model, codes))


def test_samples_are_of_the_mixture_of_codes(monkeypatch):
    tiny.skip_training(monkeypatch, vae)
    generator = vae.train(SETTINGS, tiny.splits())
    drawn = generator.sample(jax.random.key(0), 5)
    assert drawn.shape == (5, 8, 8, 1)
    assert generator.bits_per_dim > 0
    assert generator.parameters == 8 * 65 + 9 * 4 + 3 * 8 + 9 * 64 + 1


def test_a_computed_variance_is_no_parameter():
    settings = dataclasses.replace(SETTINGS, computed_variance=True)
    sizes = vae.model_settings(settings, tiny.splits())
    assert (sizes["learned_variance"], sizes["variance"]) == (False, 1.0)


def test_bounds_are_of_as_many_images_as_chosen():
    splits = tiny.splits()
    assert len(vae.held_out_images(SETTINGS, splits)) == 6
    some = dataclasses.replace(SETTINGS, bound_images=2)
    np.testing.assert_array_equal(vae.held_out_images(some, splits), splits.test["image"][:2])
