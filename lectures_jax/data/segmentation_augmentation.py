"""Random changes of an image together with its mask, in JAX, for the training step.

Flips, quarter turns, scaling and an elastic deformation together are one field of positions, at
which the image is read once, linearly, and the mask once, by the nearest pixel. Beyond its border
an image is continued by its reflection.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from lectures_jax.data.augmentation import color_jitter
from lectures_jax.typing import Batch, Key, check_count, check_range

Positions = tuple[Float[Array, "h w"], Float[Array, "h w"]]
"""Row and column, in pixels from the center of the first one, that each pixel is read at."""


READ_NEAREST = {"mask", "weights"}
"""Entries of an example that are read at the nearest pixel, not interpolated."""


def augment_segmentation(
    key: Key,
    example: Batch,
    *,
    flip: float = 0.5,
    flip_vertical: float = 0.0,
    rotate90: float = 0.0,
    scale: tuple[float, float] = (0.8, 1.25),
    elastic: float = 0.0,
    elastic_points: int = 3,
    brightness: float = 0.1,
    contrast: float = 0.2,
    saturation: float = 0.3,
    hue: float = 0.2,
    gamma: tuple[float, float] = (1.0, 1.0),
    outside: int | None = None,
) -> Batch:
    """Flips, turns, scales and deforms an example, and jitters its colors, each at random.

    Args:
        key: for the random choices, one key per example.
        example: `image` [h, w, 3] in [0, 1], `mask` [h, w], and maybe `weights` [h, w] of the
            pixels; other entries pass through.
        flip: probability of a left-right mirror image.
        flip_vertical: probability of a top-bottom mirror image.
        rotate90: probability of a rotation by 90° counter-clockwise. This and both flips at ½ give
            all eight symmetries. An image that is not square keeps its size: its reflection fills
            what the turn leaves empty.
        scale: smallest and largest factor, drawn log-uniformly; Python numbers, as all that
            follow.
        elastic: standard deviation of the displacements, in pixels; the source takes 10.
        elastic_points: rows and columns of the grid of displacements, between which they are
            interpolated by a cubic kernel.
        brightness: largest value that is added to or subtracted from the colors.
        contrast: contrast factors lie in `[1 − contrast, 1 + contrast]`.
        saturation: saturation factors lie in `[1 − saturation, 1 + saturation]`.
        hue: largest rotation of the hues, in radians.
        gamma: smallest and largest exponent of all values, drawn log-uniformly, which changes dark
            images without cutting them off.
        outside: id of the mask beyond the border of the image, such as that of pixels that do not
            count, where a reflection means something else; None: the reflection's.

    Returns:
        The example, of the same shapes.

    Raises:
        ValueError: if a probability is not in [0, 1], a range is empty or not positive, `elastic`
            is negative, there are no points, or a mask has not the size of the image.

    Source:
        Ronneberger et al. (2015), sec. 3.1: a 3×3 grid of normal displacements.
    """
    check_range(flip=flip, flip_vertical=flip_vertical, rotate90=rotate90, low=0, high=1)
    check_range(elastic=elastic, low=0)
    check_count(elastic_points=elastic_points)
    for name, (low, high) in {"scale": scale, "gamma": gamma}.items():
        if not 0 < low <= high < math.inf:
            raise ValueError(f"{name} must be two numbers, 0 < low ≤ high, got {low}, {high}.")
    h, w = example["image"].shape[:2]
    for name in READ_NEAREST & set(example):
        if example[name].shape != (h, w):
            raise ValueError(f"{name} must be ({h}, {w}), got {example[name].shape}.")
    key, key_elastic = jax.random.split(key)
    u = jax.random.uniform(key, (9,))  # one draw: each further one compiles for a second
    signed = 2 * u - 1
    factor = scale[0] * (scale[1] / scale[0]) ** u[0]
    signs = jnp.where(jnp.stack([u[1] < flip_vertical, u[2] < flip]), -1.0, 1.0)
    positions = _symmetric_positions((h, w), signs / factor, u[3] < rotate90)
    if elastic:
        noise = jax.random.normal(key_elastic, (2, elastic_points, elastic_points))
        bent = elastic * jax.image.resize(noise, (2, h, w), "cubic")
        positions = positions[0] + bent[0], positions[1] + bent[1]
    image = _read_linear(example["image"], positions)
    image = color_jitter(
        image,
        brightness * signed[4],
        1 + contrast * signed[5],
        1 + saturation * signed[6],
        hue * signed[7],
    )
    if gamma != (1.0, 1.0):
        image = image ** (gamma[0] * (gamma[1] / gamma[0]) ** u[8])
    masks = {n: _read_nearest(example[n], positions) for n in sorted(READ_NEAREST & set(example))}
    if outside is not None:
        inside = [(p > -0.5) & (p < n - 0.5) for p, n in zip(positions, (h, w), strict=True)]
        masks["mask"] = jnp.where(inside[0] & inside[1], masks["mask"], outside)
    return {**example, "image": image, **masks}


def _symmetric_positions(
    size: tuple[int, int], factors: Float[Array, "2"], rotated: Shaped[Array, ""]
) -> Positions:
    """Returns the positions that an image is read at to be scaled, mirrored and turned.

    Args:
        size: height and width.
        factors: of the distances from the center along rows and columns; negative ones mirror.
        rotated: whether the result is then turned by 90° counter-clockwise.
    """
    h, w = size
    y, x = jnp.meshgrid(jnp.arange(h) - (h - 1) / 2, jnp.arange(w) - (w - 1) / 2, indexing="ij")
    y, x = jnp.where(rotated, x, y), jnp.where(rotated, -y, x)
    return factors[0] * y + (h - 1) / 2, factors[1] * x + (w - 1) / 2


def _read_linear(image: Float[Array, "h w c"], positions: Positions) -> Float[Array, "h w c"]:
    """Returns an image at positions between its pixels, interpolated along rows and columns.

    Args:
        image: of any range; it is continued by its reflection.
        positions: rows and columns.
    """
    top, left = (jnp.floor(p) for p in positions)
    down, right = ((p - low)[..., None] for p, low in zip(positions, (top, left), strict=True))
    corner = [[_at(image, top + i, left + j) for j in (0, 1)] for i in (0, 1)]
    upper, lower = (row[0] + (row[1] - row[0]) * right for row in corner)
    return upper + (lower - upper) * down


def _read_nearest(mask: Shaped[Array, "h w"], positions: Positions) -> Shaped[Array, "h w"]:
    """Returns the pixels of a mask that are nearest to the positions.

    Args:
        mask: of any dtype; it is continued by its reflection.
        positions: rows and columns.
    """
    return _at(mask, *(jnp.round(p) for p in positions))


def _at(pixels: Array, rows: Array, columns: Array) -> Array:
    h, w = pixels.shape[:2]
    index = _mirrored(rows, h) * w + _mirrored(columns, w)
    return pixels.reshape(h * w, *pixels.shape[2:])[index]


def _mirrored(position: Array, size: int) -> Array:
    """The pixel at a whole position, which may be outside of the image."""
    index = position.astype(jnp.int32) % (2 * size)
    return jnp.minimum(index, 2 * size - 1 - index)
