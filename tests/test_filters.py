"""Orientation of filters: by hand, and what the experiment shows of them."""

import numpy as np
import pytest

from tests.test_experiments import ROOT, load


@pytest.fixture(scope="module")
def filters():
    return load(ROOT / "experiments" / "ch3_vision" / "filters.py")


def wave(degrees, *, cycles=0.2, size=21):
    """A wave under a Gaussian, of so many cycles per pixel."""
    y, x = np.indices((size, size)) - size // 2
    angle = np.deg2rad(degrees)
    phase = 2 * np.pi * cycles * (np.cos(angle) * x + np.sin(angle) * y)
    return np.cos(phase) * np.exp(-(x**2 + y**2) / (2 * 4**2))


def test_a_wave_lies_in_one_band_whatever_its_orientation_and_scale(filters):
    waves = np.array([wave(degrees) for degrees in range(0, 180, 15)])
    shares = filters.oriented_shares(waves)
    assert np.all(shares > 0.9)
    np.testing.assert_allclose(filters.oriented_shares(5 * waves), shares, rtol=1e-6)


def test_two_crossing_waves_share_their_energy(filters):
    crossing = wave(0) + wave(90)
    np.testing.assert_allclose(filters.oriented_shares(crossing[None]), [0.5], atol=0.05)


def test_a_spot_has_all_orientations_alike_and_its_mean_does_not_count(filters):
    spot = np.zeros((1, 9, 9))
    spot[0, 4, 4] = 1
    share = filters.oriented_shares(spot)  # a fourth, but for the grid of the frequencies
    np.testing.assert_allclose(share, [0.25], atol=0.05)
    full = wave(30, size=filters.FREQUENCIES)  # as large as the spectrum: a constant is one number
    both = filters.oriented_shares(np.array([full, full + 3]))
    np.testing.assert_allclose(both[0], both[1], rtol=1e-6)


def test_the_network_begins_with_random_filters(filters):
    config = filters.Config(steps=2, patches=4, seeds=1)
    rng = np.random.default_rng(0)
    labels = np.arange(40, dtype=np.int32) % 10
    batch = {"image": rng.random((40, 24, 24, 1)).astype(np.float32), "labels": labels}
    (trained,) = filters.train_networks(config, batch, batch, 10)
    assert trained.before.shape == trained.after.shape == (16, 9, 9)
    assert np.any(trained.before != trained.after)
    shares = filters.oriented_shares(rng.normal(size=(200, 9, 9)))
    gap = filters.oriented_shares(trained.before).mean() - shares.mean()
    assert abs(gap) < 4 * shares.std() / 4  # sixteen filters


def test_images_of_filters_have_gray_for_a_weight_of_0(filters):
    images = filters.as_images(np.array([[[0.0, -2], [1, 0]]]))
    np.testing.assert_allclose(images[0, ..., 0], [[0.5, 0], [0.75, 0.5]])
