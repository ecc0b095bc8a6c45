"""The Dirac-GAN: a step by hand, and which games arrive."""

import numpy as np
import pytest

from tests.test_experiments import ROOT, load


@pytest.fixture(scope="module")
def dirac():
    """The experiment's file as a module."""
    return load(ROOT / "experiments" / "ch4_generative" / "dirac_gan.py")


def test_a_step_by_hand(dirac):
    """The discriminator descends first: ψ − h θ σ(θ ψ), then θ + h ψ σ(−ψ θ) with its new ψ."""
    points = np.asarray(dirac.play(dirac.Config(steps=2), dirac.METHODS["plain"]))
    psi = 0.2 - 0.05 * 0.2 / (1 + np.exp(-0.04))
    theta = 0.2 + 0.05 * psi / (1 + np.exp(0.2 * psi))
    np.testing.assert_allclose(points, [[0.2, 0.2], [theta, psi]], rtol=1e-5)


def test_of_the_four_games_r1_s_arrives_and_that_of_the_gradient_penalty_leaves(dirac):
    config = dirac.Config()
    distances = {
        name: dirac.score(config, np.asarray(dirac.play(config, method)))["distance"]
        for name, method in dirac.METHODS.items()
    }
    assert distances["R1"] < 1e-5
    assert distances["gradient penalty"] > 1
    # r shrinks by −r³ / 16 in the mean over a turn of the plain game: r² = 0.08 becomes 0.04
    np.testing.assert_allclose(distances["plain"], 0.5**0.5, atol=0.01)
    np.testing.assert_allclose(distances["Wasserstein"], 1, atol=0.02)
