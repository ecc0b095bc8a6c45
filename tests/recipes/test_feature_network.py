"""The network of dreams and styles: its textures, trained once, or read from a file."""

import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import data
from lectures_jax.recipes import classifier
from lectures_jax.recipes.feature_network import SIDE, feature_network, textures


def test_a_patch_is_a_part_of_the_photograph_that_is_its_class():
    splits = textures(count=8)
    assert splits.classes == tuple(data.photographs())
    assert splits.train["image"].shape == (80, SIDE, SIDE, 3)
    assert splits.test["image"].shape == (20, SIDE, SIDE, 3)
    np.testing.assert_array_equal(np.bincount(splits.train["labels"]), 8)
    night = splits.train["image"][splits.train["labels"] == splits.classes.index("galaxies")]
    assert night.mean() < 0.3
    assert (splits.train["image"].min(), splits.train["image"].max()) >= (0, 0.9)


def test_patches_are_the_same_each_time_and_others_with_another_seed():
    first, again, other = textures(count=4), textures(count=4), textures(count=4, seed=1)
    np.testing.assert_array_equal(first.train["image"], again.train["image"])
    assert np.abs(first.train["image"] - other.train["image"]).mean() > 0.01


def test_it_is_trained_once_and_has_maps(tmp_path, monkeypatch):
    first = feature_network(out=tmp_path, steps=2)
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 40, 56, 3)), jnp.float32)
    monkeypatch.setattr(classifier, "train", lambda *_, **__: pytest.fail("trained again"))
    again = feature_network(out=tmp_path, steps=2)
    maps = first.features(images)
    assert {"stage1", "stage2", "stage3", "pooled"} <= set(maps)
    for name, values in again.features(images).items():
        np.testing.assert_array_equal(values, maps[name])


def test_a_file_of_squeezenet_is_read(shared_data):
    model = feature_network(shared_data / "pretrained" / "squeezenet1_1.safetensors")
    assert model.classify.out_features == 1000
    assert "fire9" in model.features(jnp.zeros((1, 64, 64, 3)))
