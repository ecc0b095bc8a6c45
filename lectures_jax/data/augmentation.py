"""Random changes of one labelled image, in JAX, for `jax.vmap` inside the training step.

An example is a dictionary of fixed shapes: `image` [h, w, 3] in [0, 1], `boxes` [m, 4], `valid`
[m], and `mask` [h, w] where there is one; other entries pass through. Flips, rotations, scalings
and shifts together are one affine map, so the pixels are read and interpolated once.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num, ScalarLike, Shaped

from lectures_jax import ops
from lectures_jax.typing import Batch, Key

GRAY = 0.5  # value of the canvas outside the image


def augment_detection(
    key: Key,
    example: Batch,
    *,
    flip: float = 0.5,
    flip_vertical: float = 0.0,
    rotate90: float = 0.0,
    scale: tuple[float, float] = (0.75, 1.5),
    shift: float = 0.0,
    brightness: float = 0.1,
    contrast: float = 0.2,
    saturation: float = 0.3,
    hue: float = 0.2,
    min_area: float = 0.25,
) -> Batch:
    """Flips, rotates, scales and shifts an example and jitters its colors, each at random.

    Args:
        key: for the random choices, one key per example.
        example: `image`, `boxes` and `valid`, with or without `mask`.
        flip: probability of a left-right mirror image.
        flip_vertical: probability of a top-bottom mirror image.
        rotate90: probability of a rotation by 90° counter-clockwise; on a canvas that is not square
            the rotated image is shrunk to fit. This and both flips at ½ give all eight symmetries.
        scale: smallest and largest factor, drawn log-uniformly. An enlarged image shows any part of
            itself, a reduced one is anywhere on the canvas.
        shift: largest further shift, as a share of the canvas.
        brightness: largest value that is added to or subtracted from the colors.
        contrast: contrast factors lie in `[1 − contrast, 1 + contrast]`.
        saturation: saturation factors lie in `[1 − saturation, 1 + saturation]`.
        hue: largest rotation of the hues, in radians.
        min_area: a box that keeps a smaller share of its area is no longer valid.

    Returns:
        The example, of the same shapes, its boxes inside the canvas.
    """
    h, w = example["image"].shape[:2]
    u = jax.random.uniform(key, (10,))  # one draw: each further one compiles for a second
    signed = 2 * u - 1
    factor = scale[0] * (scale[1] / scale[0]) ** u[0]
    offset = signed[1:3] * (jnp.abs(1 - factor) / 2 + shift) * jnp.array([w, h])
    rotated = u[3] < rotate90
    flips = jnp.stack([u[4] < flip, (u[5] < flip_vertical) ^ rotated])
    fit = jnp.where(rotated, min(h / w, w / h), 1)
    example = affine_transform(
        example,
        jnp.where(flips, -factor, factor) * fit,
        offset,
        rotated if rotate90 else None,
        min_area=min_area,
    )
    image = color_jitter(
        example["image"],
        brightness * signed[6],
        1 + contrast * signed[7],
        1 + saturation * signed[8],
        hue * signed[9],
    )
    return {**example, "image": image}


def affine_transform(
    example: Batch,
    scale: Float[Array, "2"],
    shift: Float[Array, "2"],
    transpose: Bool[Array, ""] | None = None,
    *,
    min_area: ScalarLike = 0.25,
) -> Batch:
    """Moves an image on its canvas: a point at `p` from the center comes to `scale · p + shift`.

    A negative scale mirrors. Pixels are interpolated linearly, those of a mask are the nearest;
    outside the image is gray, and 0 in the mask.

    Args:
        example: `image`, `boxes` and `valid`, with or without `mask`.
        scale: factors along x and y, not 0.
        shift: distance to the right and down, in pixels.
        transpose: exchanges x and y first; with `scale = (1, −1)` this rotates by 90°
            counter-clockwise.
        min_area: a box that keeps a smaller share of its area is no longer valid.

    Returns:
        The example on a canvas of the same size, its boxes clipped to it.
    """
    h, w = example["image"].shape[:2]
    canvas = size = jnp.array([w, h], jnp.float32)
    boxes = example["boxes"]
    if transpose is not None:
        size = jnp.where(transpose, size[::-1], size)
        boxes = jnp.where(transpose, boxes[:, jnp.array([1, 0, 3, 2])], boxes)
    origin = canvas / 2 + shift - scale * size / 2  # where the image's corner comes to
    mapped = {}
    for name, read in (("image", _linear), ("mask", _nearest)):
        if name in example:
            pixels = example[name]
            if transpose is not None:
                pixels = jnp.where(transpose, *_transposed(pixels))
            # along the rows first: on a CPU twice as fast as the other way
            columns, rows = (jnp.arange(n) + 0.5 for n in (w, h))
            pixels = read(pixels, 1, (columns - origin[0]) / scale[0], size[0])
            mapped[name] = read(pixels, 0, (rows - origin[1]) / scale[1], size[1])
    corners = boxes.reshape(-1, 2, 2) * scale[None, None] + origin[None, None]
    boxes = jnp.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=-1)
    clipped = ops.clip_boxes(boxes, height=h, width=w)
    valid = example["valid"] & (ops.box_area(clipped) >= min_area * ops.box_area(boxes))
    return {**example, **mapped, "boxes": clipped, "valid": valid}


def color_jitter(
    image: Float[Array, "h w 3"],
    brightness: Float[Array, ""],
    contrast: Float[Array, ""],
    saturation: Float[Array, ""],
    hue: Float[Array, ""],
) -> Float[Array, "h w 3"]:
    """Changes the colors of an image by one affine map of RGB, clipped to [0, 1].

    `contrast · (gray + saturation · R(hue) (rgb − gray) − ½) + ½ + brightness`, where gray is the
    mean of the channels and R rotates about the gray axis (Rodrigues' formula).

    Args:
        image: RGB in [0, 1].
        brightness: value that is added; 0 changes nothing.
        contrast: factor of the distance from mid-gray; 1 changes nothing.
        saturation: factor of the distance from gray; 1 changes nothing, 0 gives gray.
        hue: angle in radians; 2π/3 takes red to green.
    """
    gray = jnp.full((3, 3), 1 / 3)
    cross = jnp.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    rotation = jnp.cos(hue) * (jnp.eye(3) - gray) + jnp.sin(hue) * cross
    matrix = contrast * (gray + saturation * rotation)
    offset = 0.5 - 0.5 * contrast + brightness
    # written out: XLA's CPU backend takes eight times as long for a product with a 3×3 matrix
    r, g, b = jnp.moveaxis(image, -1, 0)
    channels = [m[0] * r + m[1] * g + m[2] * b + offset for m in matrix]
    return jnp.clip(jnp.stack(channels, axis=-1), 0, 1)


def _transposed(pixels: Num[Array, "h w ..."]) -> tuple[Array, Array]:
    """The transposed image and the image, both in the corner of a square of the longer side."""
    side = max(pixels.shape[:2])
    padding = [(0, side - n) for n in pixels.shape[:2]] + [(0, 0)] * (pixels.ndim - 2)
    square = jnp.pad(pixels, padding)
    return jnp.swapaxes(square, 0, 1), square


def _linear(pixels: Array, axis: int, position: Float[Array, " n"], size: Array) -> Array:
    """Interpolates along one axis at positions in [0, size]; elsewhere gray.

    Two gathers of whole rows: `jax.image.scale_and_translate` multiplies by a dense matrix, which
    takes five to nine times as long on a CPU.
    """
    last = size.astype(jnp.int32) - 1
    low = jnp.floor(position - 0.5)
    index = low.astype(jnp.int32)
    below = jnp.take(pixels, jnp.clip(index, 0, last), axis=axis)
    above = jnp.take(pixels, jnp.clip(index + 1, 0, last), axis=axis)
    part = _along(position - 0.5 - low, axis, pixels.ndim)
    inside = _along((position >= 0) & (position <= size), axis, pixels.ndim)
    return jnp.where(inside, below + (above - below) * part, GRAY)


def _nearest(pixels: Array, axis: int, position: Float[Array, " n"], size: Array) -> Array:
    """Takes the pixel around each position along one axis; elsewhere 0."""
    inside = _along((position >= 0) & (position < size), axis, pixels.ndim)
    return jnp.where(inside, jnp.take(pixels, position.astype(jnp.int32), axis, mode="clip"), 0)


def _along(values: Shaped[Array, " n"], axis: int, rank: int) -> Shaped[Array, "..."]:
    """Reshapes a vector to an array of that rank, along one axis."""
    return values.reshape([-1 if i == axis else 1 for i in range(rank)])
