"""What a network that removes noise has to beat: classical filters, and the best linear map."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import ndimage

from lectures_jax import metrics

Filter = Callable[[np.ndarray], np.ndarray]
"""From noisy images [n, h, w, c] to cleaner ones."""


def decibels(images: np.ndarray, clean: np.ndarray) -> float:
    """Returns the mean peak signal-to-noise ratio of images, cut off at black and white.

    Args:
        images: float [n, h, w, c].
        clean: what they should be, in [0, 1].
    """
    return float(np.mean(metrics.psnr(np.clip(images, 0, 1).astype(np.float32), clean)))


def tuned_filters(noisy: np.ndarray, clean: np.ndarray, *, noise: float) -> dict[str, Filter]:
    """Returns classical filters by name, each at the strength that suits some images best.

    Args:
        noisy: images to choose the strengths by.
        clean: the same without noise.
        noise: deviation of the Gaussian noise.

    Raises:
        ImportError: without scikit-image.
    """
    return {
        name: max(tries, key=lambda remove: decibels(remove(noisy), clean))
        for name, tries in _strengths(noise).items()
    }


def _strengths(noise: float) -> dict[str, list[Filter]]:
    try:
        from skimage import restoration
    except ImportError as error:
        text = "the classical filters need scikit-image: pip install scikit-image"
        raise ImportError(text) from error
    means, variation = restoration.denoise_nl_means, restoration.denoise_tv_chambolle
    return {
        "median": [partial(ndimage.median_filter, size=(1, n, n, 1)) for n in (2, 3)],
        "Gaussian": [
            partial(ndimage.gaussian_filter, sigma=(0, width, width, 0))
            for width in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
        ],
        "non-local means": [
            partial(_each, means, h=share * noise, sigma=noise, patch_size=n, fast_mode=False)
            for n in (3, 5)
            for share in (0.4, 0.6, 0.8, 1.0, 1.4)
        ],
        "total variation": [
            partial(_each, variation, weight=share * noise) for share in (0.2, 0.3, 0.5, 0.7, 1.0)
        ],
        "wavelets": [
            partial(shrink_wavelets, threshold=share * noise)
            for share in (0.5, 0.75, 1, 1.5, 2, 2.5, 3)
        ],
    }


def _each(function: Callable[..., np.ndarray], images: np.ndarray, **options: Any) -> np.ndarray:
    """A filter of scikit-image, applied to one image after the other."""
    results = [function(image, channel_axis=-1, **options) for image in images]
    return np.stack(results).reshape(images.shape)  # which drops a channel that is alone


def shrink_wavelets(images: np.ndarray, *, threshold: float) -> np.ndarray:
    """Returns images whose Haar coefficients moved towards 0 by a threshold.

    The mean over 8×8 shifts of the image, as one of them draws blocks. The image is continued by
    its mirror image to a power of two; its mean stays.

    Args:
        images: float [n, h, w, c].
        threshold: by which a coefficient moves, about twice the noise.

    Source:
        Donoho (1995), sec. 1; the shifts: Coifman & Donoho (1995), sec. 2.
    """
    h, w = images.shape[1:3]
    rows, columns = (1 << (n - 1).bit_length() for n in (h, w))
    padding = ((0, 0), (0, rows - h), (0, columns - w), (0, 0))
    image = np.pad(images, padding, mode="symmetric")
    transform = partial(np.einsum, "ai,bj,nijc->nabc", optimize=True)
    there = haar_matrix(rows), haar_matrix(columns)
    back = there[0].T, there[1].T
    total = np.zeros_like(image)
    for shift in np.ndindex(8, 8):
        details = transform(*there, np.roll(image, shift, axis=(1, 2)))
        mean = details[:, 0, 0].copy()
        details = np.sign(details) * np.maximum(np.abs(details) - threshold, 0)
        details[:, 0, 0] = mean
        total += np.roll(transform(*back, details), (-shift[0], -shift[1]), axis=(1, 2))
    return (total / 64)[:, :h, :w]


def haar_matrix(size: int) -> np.ndarray:
    """Returns the orthonormal Haar transform, whose first row is the mean times √size.

    Args:
        size: of the vector, a power of 2.

    Raises:
        ValueError: if it is none.

    Source:
        Haar (1910); Mallat (2009), sec. 7.2.
    """
    if size < 1 or size & (size - 1):
        raise ValueError(f"size must be a power of 2, got {size}.")
    if size == 1:
        return np.ones((1, 1), np.float32)
    means = np.kron(haar_matrix(size // 2), [1, 1])
    differences = np.kron(np.eye(size // 2), [1, -1])
    return (np.concatenate([means, differences]) / np.sqrt(2)).astype(np.float32)


def wiener_filter(images: np.ndarray, *, noise: float) -> Filter:
    """Returns the linear map of least error for noise on such images, `C (C + σ²I)⁻¹`.

    C is their covariance; the map is about their mean.

    Args:
        images: without noise, float [n, h, w, c].
        noise: σ, the deviation of the Gaussian noise, above 0.

    Source:
        Wiener (1949); Bishop (2006), sec. 2.3.3.
    """
    rows = images.reshape(len(images), -1)
    mean, covariance = rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False))
    matrix = np.linalg.solve(covariance + noise**2 * np.eye(len(mean)), covariance)

    def remove(noisy: np.ndarray) -> np.ndarray:
        return (mean + (noisy.reshape(len(noisy), -1) - mean) @ matrix).reshape(noisy.shape)

    return remove
