import dataclasses

import jax
import numpy as np
import pytest

from lectures_jax import weights
from lectures_jax.recipes import gan
from tests.recipes import tiny

SETTINGS = gan.Settings(steps=2, channels=8, latent=4)


def test_the_number_of_steps_depends_on_the_data_unless_it_is_chosen():
    assert gan.with_defaults(gan.Settings(), "digits").steps == 1500
    assert gan.with_defaults(gan.Settings(), "idx").steps == 4000
    assert gan.with_defaults(SETTINGS, "idx").steps == 2


def test_training_without_the_defaults_is_refused():
    with pytest.raises(ValueError, match="steps must be set"):
        gan.train(gan.Settings(), tiny.splits(), None)


@pytest.mark.parametrize(("size", "channels"), [(8, [16, 8]), (16, [16, 8]), (32, [32, 16, 8])])
def test_larger_images_have_more_maps(size, channels):
    assert gan.model_settings(SETTINGS, tiny.splits(size))["channels"] == channels


def test_maps_have_at_most_128_channels():
    settings = dataclasses.replace(SETTINGS, channels=100)
    assert gan.model_settings(settings, tiny.splits())["channels"] == [128, 100]


def test_a_model_that_is_read_back_draws_the_same_images(monkeypatch, tmp_path):
    tiny.skip_training(monkeypatch, gan, "fit_adversarial")
    generator = gan.train(SETTINGS, tiny.splits(), tmp_path)
    saved = weights.load_model(tmp_path / "model.safetensors")
    drawn = gan.sample(saved.model, saved.settings, jax.random.key(1), 3)
    assert saved.kind == "gan"
    assert drawn.dtype == np.float32
    assert drawn.shape == (3, 8, 8, 1)
    np.testing.assert_array_equal(drawn, generator.sample(jax.random.key(1), 3))
    assert 0 <= drawn.min() <= drawn.max() <= 1


def test_each_loss_has_two_players():
    for loss in gan.LOSSES:
        players = gan.players(dataclasses.replace(SETTINGS, loss=loss))
        assert [callable(player.objective) for player in players] == [True, True]


def test_both_penalties_reach_the_discriminator():
    discriminator, _ = gan.players(dataclasses.replace(SETTINGS, r1=0.25, r2=0.5))
    assert {k: discriminator.objective.keywords[k] for k in ("r1", "r2")} == {"r1": 0.25, "r2": 0.5}
