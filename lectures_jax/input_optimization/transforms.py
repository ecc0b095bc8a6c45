"""Random shifts, scalings and rotations: noise of single pixels is not seen through all of them."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.tree_util import register_static
from jaxtyping import Array, Float

from lectures_jax.typing import Key


@register_static
@dataclass(frozen=True)
class Transforms:
    """Shifts, scales and rotates a batch of images, each time anew, all of it in the same way.

    Images are tori: what leaves at one border comes in at the other.

    Attributes:
        jitter: largest shift along rows and along columns, in whole pixels, at least 0.
        scale: smallest and largest factor, drawn evenly.
        rotation: largest angle to either side, in degrees.

    Raises:
        ValueError: if `jitter` or `rotation` is negative, or `scale` no rising pair above 0.

    Source:
        Jitter: Mordvintsev et al. (2015); all three: Olah et al. (2017), "Feature visualization".
    """

    jitter: int = 8
    scale: tuple[float, float] = (0.9, 1.1)
    rotation: float = 8.0

    def __post_init__(self):
        for name in ("jitter", "rotation"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}.")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be two rising numbers above 0, got {self.scale}.")

    def __call__(self, key: Key, images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the images after one draw.

        Args:
            key: of the draw.
            images: in any range.
        """
        key_shift, key_map = jax.random.split(key)
        shift = jax.random.randint(key_shift, (2,), -self.jitter, self.jitter + 1)
        if self.scale == (1, 1) and self.rotation == 0:
            return jnp.roll(images, shift, axis=(1, 2)) if self.jitter else images
        u = jax.random.uniform(key_map, (2,))
        factor = self.scale[0] + (self.scale[1] - self.scale[0]) * u[0]
        angle = math.radians(self.rotation) * (2 * u[1] - 1)
        return warp(images, factor, angle, shift.astype(images.dtype))


NO_TRANSFORMS = Transforms(0, (1.0, 1.0), 0.0)
"""Leaves images as they are."""


def warp(
    images: Float[Array, "b h w c"],
    scale: Float[Array, ""],
    angle: Float[Array, ""],
    shift: Float[Array, "2"],
) -> Float[Array, "b h w c"]:
    """Returns images on a torus, scaled and rotated about their center and then shifted.

    Pixels are interpolated linearly.

    Args:
        images: in any range.
        scale: factor, above 0.
        angle: counter-clockwise, in radians.
        shift: down and to the right, in pixels.
    """
    b, h, w, c = images.shape
    rows, columns = (jnp.arange(n, dtype=images.dtype) - (n - 1) / 2 for n in (h, w))
    y, x = rows[:, None] - shift[0], columns[None] - shift[1]
    cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
    y, x = cos * y + sin * x + (h - 1) / 2, cos * x - sin * y + (w - 1) / 2
    top, left = jnp.floor(y), jnp.floor(x)
    down, right = ((v - low)[None, :, :, None] for v, low in ((y, top), (x, left)))
    # The four neighbors side by side, so that a pixel is gathered, and its gradient added, once.
    pairs = jnp.concatenate([images, jnp.roll(images, -1, axis=2)], axis=-1)
    quads = jnp.concatenate([pairs, jnp.roll(pairs, -1, axis=1)], axis=-1)
    index = jnp.mod(top.astype(jnp.int32), h) * w + jnp.mod(left.astype(jnp.int32), w)
    near = jnp.take(quads.reshape(b, h * w, 4 * c), index.ravel(), axis=1).reshape(b, h, w, 4 * c)
    above = near[..., :c] * (1 - right) + near[..., c : 2 * c] * right
    below = near[..., 2 * c : 3 * c] * (1 - right) + near[..., 3 * c :] * right
    return above * (1 - down) + below * down
