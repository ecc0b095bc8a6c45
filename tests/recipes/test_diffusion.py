import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax import objectives, weights
from lectures_jax.recipes import diffusion
from tests.recipes import tiny

SETTINGS = diffusion.with_defaults(
    diffusion.Settings(steps=2, channels=(8,), schedule_steps=6, sampling_steps=2), "digits"
)


def test_sizes_depend_on_the_data_unless_they_are_chosen():
    small, large = (diffusion.with_defaults(diffusion.Settings(), k) for k in ("digits", "idx"))
    assert (small.steps, small.channels, small.patch) == (800, (32, 64), 1)
    assert (large.steps, large.channels, large.patch) == (2500, (48, 96), 2)
    assert SETTINGS.channels == (8,)


def test_training_without_the_defaults_is_refused():
    with pytest.raises(ValueError, match="steps must be set"):
        diffusion.train(diffusion.Settings(), tiny.splits(), None)


@pytest.mark.parametrize("steps", [6, 1000])
def test_a_velocity_needs_no_signal_where_sampling_starts_and_noise_a_little(steps):
    for_velocity = diffusion.signal_ratios(steps, prediction="velocity")
    for_noise = diffusion.signal_ratios(steps)
    assert for_velocity[-1] == 0
    assert 0 < for_noise[-1] < 1e-3
    for ratios in (for_velocity, for_noise):
        assert np.all(np.diff(ratios) < 0)


def test_the_network_is_trained_by_the_course_s_loss_unless_velocities_are_asked_for():
    assert SETTINGS.prediction == "noise"
    noise, velocity = (diffusion.OBJECTIVES[p] for p in ("noise", "velocity"))
    assert noise.func is objectives.diffusion_noise
    assert velocity is objectives.diffusion_velocity


def test_both_kinds_of_prediction_are_read_as_what_they_are(settings):
    model = weights.build_model("diffusion", settings, rngs=nnx.Rngs(0))
    model.head.bias[...] += 0.3  # a new network's output is 0 but for this
    x, ratio, labels = jnp.ones((2, 4, 4, 1)), jnp.float32(0.36), jnp.zeros(2, jnp.int32)
    noise = diffusion.predictor(model, labels, prediction="noise")(x, ratio)
    np.testing.assert_allclose(noise, jnp.full_like(x, 0.3))
    both = diffusion.predictor(model, labels, prediction="velocity")(x, ratio)
    np.testing.assert_allclose(both.x0, jnp.full_like(x, 0.6 - 0.8 * 0.3), rtol=1e-5)
    np.testing.assert_allclose(both.noise, jnp.full_like(x, 0.8 + 0.6 * 0.3), rtol=1e-5)


def test_files_that_do_not_say_it_hold_networks_of_velocities(settings):
    model = weights.build_model("diffusion", settings, rngs=nnx.Rngs(0))
    draw = lambda given: diffusion.sample(model, given, jax.random.key(0), 4)
    silent = {name: value for name, value in settings.items() if name != "prediction"}
    np.testing.assert_array_equal(draw(silent), draw(settings | {"prediction": "velocity"}))
    assert not np.array_equal(draw(silent), draw(settings))


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.setattr(diffusion, "CHUNK", 4)
    return diffusion.model_settings(SETTINGS, tiny.splits(4))


def test_a_model_that_is_read_back_draws_the_same_images(settings, tmp_path):
    model = weights.build_model("diffusion", settings, rngs=nnx.Rngs(0))
    path = tmp_path / "model.safetensors"
    weights.save_model(path, model, kind="diffusion", settings=settings)
    saved = weights.load_model(path)
    drawn = diffusion.sample(saved.model, saved.settings, jax.random.key(1), 6)
    assert drawn.dtype == np.float32
    assert drawn.shape == (6, 4, 4, 1)
    assert 0 <= drawn.min() <= drawn.max() <= 1
    again = diffusion.sample(model, settings, jax.random.key(1), 6)
    np.testing.assert_array_equal(drawn, again)
    # The last image is in a part of its own, and yet does not depend on how many are drawn.
    np.testing.assert_array_equal(drawn[:5], again[:5])


def test_classes_are_drawn_in_the_shares_of_the_training_set():
    splits = tiny.splits()
    labels = diffusion.mixed_labels(splits)
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(splits.train["labels"]))
    assert labels.tolist() != splits.train["labels"].tolist()
