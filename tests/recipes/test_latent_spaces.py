import dataclasses

import numpy as np
import pytest

from lectures_jax import weights
from lectures_jax.recipes import autoencoder, diffusion, flow, latent_spaces, vae
from tests.recipes import tiny

VAE = vae.with_defaults(vae.Settings(steps=2, hidden=8, latent=2), "digits")


def test_the_share_that_is_recovered_by_hand():  # errors: mean 4, own 1, mapped 2
    images = np.zeros((2, 1, 1, 1))
    means = {"rebuilt": images + 1, "mean": np.full((1, 1, 1), -2.0)}
    share = latent_spaces.share_recovered
    assert share(images, images + np.sqrt(2), **means) == pytest.approx(2 / 3)
    assert share(images, images + 1, **means) == 1
    assert share(images, images - 2, **means) == 0
    two_maps = np.stack([images + 1, images + 2])
    assert share(images, two_maps, **means) == pytest.approx((4 - 2.5) / 3)


def test_a_flow_loses_nothing_on_the_way_to_a_code_and_back(monkeypatch, tmp_path):
    tiny.skip_training(monkeypatch, flow)
    monkeypatch.setattr(flow, "begin_normalized", lambda *_, **__: None)
    sizes = flow.model_settings
    smallest = {"scales": 1, "steps": 1, "dense": 1}
    monkeypatch.setattr(flow, "model_settings", lambda *a, **k: sizes(*a, **k) | smallest)
    splits = tiny.splits(4)
    settings = flow.with_defaults(flow.Settings(network="multiscale", hidden=4), "digits")
    space = latent_spaces.train_flow(settings, splits, tmp_path, seed=0)
    images = splits.test["image"]
    codes = space.encode(images)
    assert codes.shape == (6, 16)
    np.testing.assert_allclose(space.decode(codes), images, atol=1e-4)
    assert weights.load_model(tmp_path / "model.safetensors").settings["classes"] == []


def test_an_autoencoder_has_the_sizes_of_the_vae(monkeypatch, tmp_path):
    tiny.skip_training(monkeypatch, autoencoder)
    splits = tiny.splits(4)
    settings = dataclasses.replace(VAE, latent=3)
    space = latent_spaces.train_autoencoder(settings, splits, tmp_path, seed=0)
    codes = space.encode(splits.test["image"])
    assert codes.shape == (6, 3)
    assert space.decode(codes).shape == (6, 4, 4, 1)
    assert weights.load_model(tmp_path / "model.safetensors").kind == "autoencoder"


def test_noise_that_ddim_computes_of_an_image_leads_back_to_it(monkeypatch, tmp_path):
    tiny.skip_training(monkeypatch, diffusion)
    splits = tiny.splits(4)
    settings = diffusion.Settings(steps=2, channels=(8,), schedule_steps=101)
    space = latent_spaces.train_diffusion(
        diffusion.with_defaults(settings, "digits"), splits, tmp_path, seed=0
    )
    codes = space.encode(splits.test["image"])
    assert codes.shape == (6, 16)
    assert np.abs(space.decode(codes) - splits.test["image"]).mean() < 0.05


def test_families_are_trained_where_they_are_asked_for(monkeypatch, tmp_path):
    calls = []

    def record(name):
        def train(*_, seed):
            calls.append((name, seed))
            return latent_spaces.Space(encode=len, decode=len)

        return train

    for name in ("vae", "autoencoder", "gan", "flow", "diffusion"):
        monkeypatch.setattr(latent_spaces, f"train_{name}", record(name))
    settings = latent_spaces.Settings(families=("flow",))
    spaces = latent_spaces.train_spaces(settings, "digits", tiny.splits(), tmp_path, seed=3)
    assert calls == [("vae", 3), ("vae", 4), ("autoencoder", 3), ("flow", 3)]
    assert list(spaces) == [*latent_spaces.KIN, "flow"]
    assert {folder.name for folder in tmp_path.iterdir()} == {"vae0", "vae1", "autoencoder", "flow"}
