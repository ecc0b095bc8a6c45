import jax
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from lectures_jax.recipes.mixture import fit_code_mixture, fit_image_mixture
from tests.recipes import tiny

RNG = np.random.default_rng(0)
CODES = np.concatenate([RNG.normal(-5, 1, (300, 2)), RNG.normal(5, 1, (100, 2))]).astype(np.float32)


def test_codes_are_drawn_from_both_clusters_in_random_order():
    drawn = fit_code_mixture(CODES, components=2, seed=0).sample(jax.random.key(0), 400)
    right = drawn[:, 0] > 0
    assert drawn.dtype == np.float32
    assert right.mean() == pytest.approx(0.25, abs=0.06)
    assert 0.1 < right[:200].mean() < 0.4


def test_the_density_of_one_component_is_the_normal_one():
    mixture = fit_code_mixture(CODES[:300], components=1, seed=0)
    covariance = np.cov(CODES[:300], rowvar=False, bias=True) + 1e-3 * np.eye(2)
    normal = multivariate_normal(CODES[:300].mean(axis=0), covariance)
    np.testing.assert_allclose(mixture.log_prob(CODES), normal.logpdf(CODES), rtol=1e-4)


def test_the_same_key_draws_the_same_codes():
    mixture = fit_code_mixture(CODES, components=2, seed=0)
    first, second = (mixture.sample(jax.random.key(3), 5) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_mixture_of_images_draws_levels_and_cannot_code_noise_in_less_than_its_entropy():
    splits = tiny.splits(2, levels=3)
    images = np.random.default_rng(1).integers(0, 3, (200, 2, 2, 1)).astype(np.float32) / 2
    mixture = fit_image_mixture(
        jax.random.key(0), images, levels=3, components=(1, 2), ridges=(0.1,), copies=1
    )
    assert mixture.shape == splits.train["image"].shape[1:]
    assert mixture.components in (1, 2)
    assert mixture.parameters == mixture.components * (1 + 4 + 10) - 1
    assert set(np.unique(mixture.sample(0, 50))) == {0, 0.5, 1}
    assert mixture.bits_per_dim(jax.random.key(1), images) > np.log2(3)
