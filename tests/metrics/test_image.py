"""Energy of high frequencies: closed forms, Parseval, blur. PSNR: by hand, and scikit-image's."""

import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from lectures_jax import metrics, ops


def test_a_flat_image_has_none_and_a_checkerboard_all():
    board = np.indices((8, 8)).sum(axis=0) % 2 * 2.0 - 1
    images = np.stack([np.ones((8, 8)), board])[..., None].astype(np.float32)
    result = [float(metrics.high_frequency_energy(i[None])) for i in images]
    np.testing.assert_allclose(result, [0, 1], atol=1e-6)


def test_without_cutoff_it_is_the_mean_square():
    images = np.random.default_rng(0).normal(size=(3, 6, 8, 2)).astype(np.float32)
    result = metrics.high_frequency_energy(images, cutoff=0.0)
    np.testing.assert_allclose(result, np.mean(images**2), rtol=1e-5)


def test_a_wave_counts_above_the_cutoff_only():
    wave = np.cos(2 * np.pi * np.arange(16) / 8)[None, :, None, None]  # 1/8 cycles per pixel
    images = np.broadcast_to(wave, (1, 16, 16, 1)).astype(np.float32)
    low, high = (float(metrics.high_frequency_energy(images, cutoff=c)) for c in (0.12, 0.13))
    np.testing.assert_allclose([low, high], [0.5, 0], atol=1e-6)


def test_blur_takes_it_away():
    images = np.random.default_rng(0).random((4, 8, 8, 1)).astype(np.float32)
    smooth = np.asarray(ops.mean_pool(jnp.asarray(images), size=3, stride=1, padding="SAME"))
    assert metrics.high_frequency_energy(smooth) < 0.2 * metrics.high_frequency_energy(images)


def test_no_image_is_refused():
    with pytest.raises(ValueError, match="images must hold at least one"):
        metrics.high_frequency_energy(np.zeros((0, 8, 8, 1), np.float32))


@pytest.mark.parametrize("cutoff", [-0.1, 0.8])
def test_a_frequency_that_no_image_has_is_refused(cutoff):
    with pytest.raises(ValueError, match="cutoff must be in"):
        metrics.high_frequency_energy(np.zeros((1, 8, 8, 1), np.float32), cutoff=cutoff)


def test_psnr_by_hand():
    images = jnp.stack([jnp.full((4, 4, 1), 0.5), jnp.ones((4, 4, 1))])
    np.testing.assert_allclose(metrics.psnr(images, images - 0.1), [20, 20], rtol=1e-5)
    assert np.isposinf(metrics.psnr(images, images)).all()


def test_psnr_equals_scikit_image_s():
    a, b = np.random.default_rng(0).random((2, 3, 5, 7, 3)).astype(np.float32)
    expected = [peak_signal_noise_ratio(y, x, data_range=1) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(metrics.psnr(a, b), expected, rtol=1e-5)
