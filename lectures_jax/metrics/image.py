"""Measures of images, alone or beside what they should be."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lectures_jax.ops._precision import upcast
from lectures_jax.typing import checked


@checked
def high_frequency_energy(
    images: Float[Array | np.ndarray, "n h w c"], *, cutoff: float = 0.25
) -> Float[Array, ""]:
    """Returns the part of the pixels' mean square that is due to high frequencies.

    Blur reduces it. Only its ratio to that of real images is meaningful.

    Args:
        images: at least one image, in any range.
        cutoff: lowest frequency that counts, in cycles per pixel; values that alternate from pixel
            to pixel have frequency 0.5.

    Returns:
        A value between 0 and the mean square of all pixels.

    Raises:
        ValueError: if there is no image, or `cutoff` is beyond all frequencies, out of [0, √½].

    Source:
        Bracewell (1986), ch. 6, Rayleigh's theorem; for generated images: Durall et al. (2020).
    """
    if not 0 <= cutoff <= math.sqrt(0.5):
        raise ValueError(f"cutoff must be in [0, √½] cycles per pixel, got {cutoff}.")
    if not images.size:
        raise ValueError(f"images must hold at least one, got shape {images.shape}.")
    images = jnp.asarray(images)
    h, w = images.shape[1:3]
    spectrum = jnp.abs(jnp.fft.fft2(upcast(images), axes=(1, 2)) / (h * w)) ** 2
    rows, columns = np.meshgrid(np.fft.fftfreq(h), np.fft.fftfreq(w), indexing="ij")
    high = np.hypot(rows, columns) >= cutoff
    energy = jnp.mean(jnp.sum(spectrum * high[None, :, :, None], axis=(1, 2)))
    return energy.astype(images.dtype)


@checked
def psnr(
    images: Float[Array | np.ndarray, "n h w c"], targets: Float[Array | np.ndarray, "n h w c"]
) -> Float[Array, " n"]:
    """Returns the peak signal-to-noise ratio of each image in decibels, `−10 log₁₀ mean (x − y)²`.

    Args:
        images: in [0, 1], which is the peak's 1.
        targets: what they should be, in [0, 1].

    Returns:
        One value per image: 10 more for a tenth of the mean squared error, infinite for none.

    Source:
        Huynh-Thu & Ghanbari (2008), eq. 1.
    """
    images, targets = jnp.asarray(images), jnp.asarray(targets)
    error = jnp.mean((upcast(images) - upcast(targets)) ** 2, axis=(1, 2, 3))
    return (-10 * jnp.log10(error)).astype(images.dtype)
