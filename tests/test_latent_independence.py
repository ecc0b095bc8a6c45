"""Maps between codes: by hand, between codes that are linear in each other, and in one thing."""

import jax
import numpy as np
import pytest
from flax import nnx

from tests.test_experiments import ROOT, load

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def latent():
    """The experiment's file as a module."""
    return load(ROOT / "experiments" / "ch4_generative" / "latent_independence.py")


def space(latent, codes, kernel):
    """The linear model whose codes are `codes · kernel`, of images that are the codes as 4×4."""
    trained, unseen = (x @ kernel for x in codes)
    inverse = np.linalg.inv(kernel)
    return latent.Coded(trained, unseen, lambda z: (z @ inverse).reshape(-1, 4, 4, 1))


@pytest.fixture
def linear(latent):
    """Images, and three models of them: two are linear in each other, the third codes noise."""
    rng = np.random.default_rng(0)
    codes = [rng.normal(size=(n, 16)).astype(np.float32) for n in (300, 200)]
    kernels = [np.eye(16, dtype=np.float32) + 0.1 * rng.normal(size=(16, 16)) for _ in range(2)]
    a, b = (space(latent, codes, kernel.astype(np.float32)) for kernel in kernels)
    noise = [rng.normal(size=x.shape).astype(np.float32) for x in codes]
    unrelated = latent.Coded(noise[0], noise[1], a.decode)
    return tuple(x.reshape(-1, 4, 4, 1) for x in codes), a, b, unrelated


def test_the_share_by_hand(latent, monkeypatch):
    images = np.array([0.0, 1.0]).reshape(2, 1, 1, 1), np.array([0.0, 1.0]).reshape(2, 1, 1, 1)
    target = latent.Coded(np.zeros((2, 1)), np.array([[0.0], [1.0]]), lambda z: z[..., None, None])
    for mapped, share in [([0, 1], 1.0), ([0.5, 0.5], 0.0), ([0.25, 0.75], 0.75), ([1, 0], -3.0)]:
        monkeypatch.setattr(latent, "map_codes", lambda *_, m=mapped, **__: np.array(m)[:, None])
        assert latent.recovered(images, target, target, 1, shuffled=False) == pytest.approx(share)


def test_codes_that_are_linear_in_each_other_are_joined_both_ways(latent, linear):
    """The models are exact, so the error that is left is 0; the mean image's is the variance."""
    images, a, b, _ = linear
    for source, target in ((a, b), (b, a)):
        assert latent.recovered(images, source, target, 64, shuffled=False) > 0.999


def test_fewer_images_than_numbers_in_a_code_do_not_determine_the_map(latent, linear):
    images, a, b, _ = linear
    assert latent.recovered(images, a, b, 8, shuffled=False) < 0.8


def test_shuffled_pairs_and_codes_of_noise_recover_nothing(latent, linear):
    images, a, b, unrelated = linear
    assert latent.recovered(images, a, b, 64, shuffled=True) < 0
    assert latent.recovered(images, unrelated, b, 64, shuffled=False) < 0


def test_every_shuffled_pair_is_of_two_images(latent, linear, monkeypatch):
    _, a, _, _ = linear
    pairs = []
    monkeypatch.setattr(latent, "map_all", lambda x, y, z: pairs.append((x, y)) or np.zeros(16))
    for shuffled in (False, True):
        latent.map_codes(a, a, 64, shuffled=shuffled)
    (x, y), (x2, y2) = pairs
    np.testing.assert_array_equal(x, y)
    assert not np.any(np.all(x2 == y2, axis=-1))


def weights(module):
    return [np.asarray(x) for x in jax.tree.leaves(nnx.to_pure_dict(nnx.state(module, nnx.Param)))]


def test_dense_models_of_one_seed_begin_with_the_same_decoder_and_another_seed_does_not(latent):
    config = latent.Config(hidden=8)
    first, objective, training, other = (
        weights(latent.build(config, name, SHAPE, seed).decoder)
        for name, seed in [("base", 0), ("objective", 0), ("training", 0), ("seed", 100)]
    )
    for same in (objective, training):
        for x, y in zip(first, same, strict=True):
            np.testing.assert_array_equal(x, y)
    assert any(np.any(x != y) for x, y in zip(first, other, strict=True))


def test_the_models_differ_in_network_and_objective_as_their_names_tell(latent):
    config = latent.Config(hidden=8, channels=(2, 2))
    built = {name: latent.build(config, name, SHAPE, 0) for name in ("base", *latent.SINGLE)}
    kinds = {
        name: (type(model).__name__, type(model.encoder).__name__) for name, model in built.items()
    }
    assert kinds == {
        "base": ("Autoencoder", "Mlp"),
        "seed": ("Autoencoder", "Mlp"),
        "architecture": ("Autoencoder", "ConvEncoder"),
        "objective": ("Vae", "Mlp"),
        "training": ("Autoencoder", "Mlp"),
    }
