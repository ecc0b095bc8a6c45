import jax
import numpy as np
import pytest
from flax import nnx

from lectures_jax import weights
from lectures_jax.recipes import diffusion
from tests.recipes import tiny

SETTINGS = diffusion.with_defaults(
    diffusion.Settings(steps=2, channels=(8,), schedule_steps=6, sampling_steps=2), "digits"
)


def test_sizes_depend_on_the_data_unless_they_are_chosen():
    small, large = (diffusion.with_defaults(diffusion.Settings(), k) for k in ("digits", "idx"))
    assert (small.steps, small.channels, small.patch) == (800, (32, 64), 1)
    assert (large.steps, large.channels, large.patch) == (3000, (48, 96), 2)
    assert SETTINGS.channels == (8,)


def test_training_without_the_defaults_is_refused():
    with pytest.raises(ValueError, match="steps must be set"):
        diffusion.train(diffusion.Settings(), tiny.splits(), None)


def test_no_signal_is_left_where_sampling_starts():
    ratios = diffusion.signal_ratios(6)
    assert ratios[-1] == 0
    assert np.all(np.diff(ratios) < 0)


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
