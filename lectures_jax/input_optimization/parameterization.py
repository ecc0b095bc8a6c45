"""What is optimized instead of an image: its logits, pixel by pixel or frequency by frequency."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_static
from jaxtyping import Array, Float

from lectures_jax.typing import Key

COLOR_BASIS = ((0.24, 0.11, 0.01), (0.23, -0.03, -0.03), (0.22, -0.09, 0.02))
"""Rows are red, green and blue; columns are the colors of photographs without correlation, each as
long as it varies: light, orange against blue, purple against green. `color_basis` of the built-in
photographs, mean of their covariances."""


@register_static
@dataclass(frozen=True)
class Pixels:
    """Logits of each pixel: `sigmoid(params)`.

    Attributes:
        height: rows of the images.
        width: columns.
        channels: of the images.
        deviation: standard deviation of the first logits, at least 0.
    """

    height: int = 224
    width: int = 224
    channels: int = 3
    deviation: float = 0.1

    def init(self, key: Key, count: int) -> Float[Array, "b h w c"]:
        """Returns random logits around 0.

        Args:
            key: of the draw.
            count: images.
        """
        return _normal(key, (count, self.height, self.width, self.channels), self.deviation)

    def __call__(self, params: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns images in [0, 1].

        Args:
            params: as from `init`.
        """
        return jax.nn.sigmoid(params)


@register_static
@dataclass(frozen=True)
class Fourier:
    """Coefficients of the logits' frequencies and of colors without correlation.

    `sigmoid(irfft2(params / frequency^decay) basisᵀ)`. The optimizer then moves all frequencies by
    as much as natural images have of them, and all colors together where it would move red, green
    and blue one by one.

    Attributes:
        height: rows of the images.
        width: columns.
        channels: of the images; with 3, colors are those of `basis`.
        decay: 1 for the spectrum of natural images, 0 for one that is flat.
        basis: rows for red, green and blue in terms of colors without correlation; None leaves
            channels as they are.
        deviation: standard deviation of the first coefficients, at least 0.

    Source:
        Olah et al. (2017), "Feature visualization", section "Preconditioning and parameterization".
    """

    height: int = 224
    width: int = 224
    channels: int = 3
    decay: float = 1.0
    basis: tuple[tuple[float, ...], ...] | None = COLOR_BASIS
    deviation: float = 0.01

    def init(self, key: Key, count: int) -> Float[Array, "b c h f 2"]:
        """Returns random coefficients around 0, real and imaginary parts last.

        Args:
            key: of the draw.
            count: images.
        """
        shape = (count, self.channels, self.height, self.width // 2 + 1, 2)
        return _normal(key, shape, self.deviation)

    def __call__(self, params: Float[Array, "b c h f 2"]) -> Float[Array, "b h w c"]:
        """Returns images in [0, 1].

        Args:
            params: as from `init`.
        """
        h, w = self.height, self.width
        frequency = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None])
        scale = np.sqrt(h * w) / np.maximum(frequency, 1 / max(h, w)) ** self.decay
        params = params * jnp.asarray(scale[None, None, :, :, None] / 4, params.dtype)
        logits = jnp.fft.irfft2(jax.lax.complex(params[..., 0], params[..., 1]), s=(h, w))
        if self.basis is None or self.channels != 3:
            return jax.nn.sigmoid(jnp.moveaxis(logits, 1, -1))
        basis = np.asarray(self.basis) / np.linalg.norm(self.basis, axis=0).max()
        colors = jnp.einsum("bkhw,ck->bhwc", logits, jnp.asarray(basis, params.dtype))
        return jax.nn.sigmoid(colors)


Parameterization = Pixels | Fourier
"""Numbers that an optimizer may move anywhere, `init(key, count)`, and the images in [0, 1] that
they stand for, `parameterization(params)`."""


def color_basis(images: Float[Array, "*b 3"]) -> Float[Array, "3 3"]:
    """Returns colors without correlation, as `Fourier` takes them.

    The columns are the principal axes of the pixels' covariance, each as long as its standard
    deviation, the longest first: `basis basisᵀ` is the covariance.

    Args:
        images: RGB.
    """
    pixels = images.reshape(-1, 3)
    variance, axes = jnp.linalg.eigh(jnp.cov(pixels, rowvar=False))
    columns = (axes * jnp.sqrt(jnp.maximum(variance, 0))[None])[:, ::-1]
    return columns * jnp.where(columns[:1] < 0, -1, 1)


def _normal(key: Key, shape: tuple[int, ...], deviation: float) -> Array:
    """Drawn as one row: over four axes the draw compiles for seconds on a CPU."""
    return deviation * jax.random.normal(key, (int(np.prod(shape)),)).reshape(shape)
