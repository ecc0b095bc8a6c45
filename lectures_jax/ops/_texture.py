"""Texture of an image: its derivatives in eight directions, in ten bins each.

All numbers are integers, as in OpenCV's selective search, whose bins these are: the image has 8
bits, Scharr's kernels are of integers, and a rotation by 45° mixes four neighboring cells in shares
of 1/32 each way. Source: Uijlings et al. (2013), sec. 3.2, which takes derivatives of Gaussians.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

BINS, DIRECTIONS = 10, 8
SMOOTH = (3, 10, 3)
FRACTION = 5  # bits of a share; a position has as many more before it is rounded to them
ONE = 1 << FRACTION
UNIT = ONE * ONE


class _Warp(NamedTuple):
    """Where the cells of a rotated image come from, in 1/32 cells: a row's part and a column's."""

    x: tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " columns"]]
    y: tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " columns"]]


def texture_bins(image: Int[Array, "h w c"]) -> Int[Array, "h w c*8"]:
    """Returns the bin, in [0, 10), of each derivative: right, left, down, up, and between them.

    Its steps are programs of their own: as one, XLA would compute each anew for every cell of the
    next that reads it.
    """
    planes = jnp.moveaxis(image, -1, 0)
    rotated = _rotated(planes)
    upright = [UNIT * _scharr(planes, axis=axis) for axis in (2, 1)]
    turned = [_turned_back(_scharr(rotated, axis=axis), *image.shape[:2]) for axis in (2, 1)]
    return _binned(_signed(*upright, *turned))


@jax.jit
def _rotated(planes: Int[Array, "c h w"]) -> Int[Array, "c rows columns"]:
    there, _ = _rotations(*planes.shape[1:])
    return (_warped(planes, there) + UNIT // 2) // UNIT


@functools.partial(jax.jit, static_argnums=(1, 2))
def _turned_back(rotated: Array, height: int, width: int) -> Int[Array, "c h w"]:
    """Returns 1,024 times the map in the frame of the image."""
    return _warped(rotated, _rotations(height, width)[1])


@jax.jit
def _signed(*derivatives: Int[Array, "c h w"]) -> Int[Array, "c*8 h w"]:
    """Returns the positive and the negative part of each derivative."""
    parts = [side(d, 0) for d in derivatives for side in (jnp.maximum, jnp.minimum)]
    return jnp.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])


@jax.jit
def _binned(values: Int[Array, "k h w"]) -> Int[Array, "h w k"]:
    """Returns the bin between the least and the greatest value of each map."""
    values = values.astype(jnp.float32) / UNIT
    low, high = (f(values, axis=(1, 2), keepdims=True) for f in (jnp.min, jnp.max))
    span = jnp.where(high > low, high - low, 1)
    level = jnp.round(values * (255 / span) - 255 * low / span)
    return jnp.moveaxis(jnp.clip(level, 0, 255).astype(jnp.int32) * BINS // 256, 0, -1)


@functools.partial(jax.jit, static_argnames="axis")
def _scharr(planes: Int[Array, "c h w"], *, axis: int) -> Int[Array, "c h w"]:
    """Returns Scharr's derivative along an axis; the image is continued by its reflection."""
    padded = jnp.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    across, size = 3 - axis, planes.shape
    parts = [jnp.take(padded, jnp.arange(k, k + size[across]), axis=across) for k in range(3)]
    smooth = sum(weight * part for weight, part in zip(SMOOTH, parts, strict=True))
    after, before = (jnp.arange(k, k + size[axis]) for k in (2, 0))
    return jnp.take(smooth, after, axis=axis) - jnp.take(smooth, before, axis=axis)


def _warped(planes: Int[Array, "c h w"], warp: _Warp) -> Int[Array, "c rows columns"]:
    """Returns 32² times the bilinear mean at each place of the rotated image, 0 outside."""
    x, y = (jnp.asarray(row)[:, None] + jnp.asarray(column)[None] for row, column in warp)
    x, y = x >> FRACTION, y >> FRACTION
    (column, share_x), (row, share_y) = ((v >> FRACTION, v & (ONE - 1)) for v in (x, y))
    height, width = planes.shape[1:]
    padded = jnp.pad(planes, ((0, 0), (1, 1), (1, 1))).reshape(planes.shape[0], -1)
    total = jnp.zeros((planes.shape[0], *row.shape), jnp.int32)
    for down, of_row in ((0, ONE - share_y), (1, share_y)):
        for right, of_column in ((0, ONE - share_x), (1, share_x)):
            place = jnp.clip(row + down + 1, 0, height + 1) * (width + 2)
            place = place + jnp.clip(column + right + 1, 0, width + 1)
            weight = (of_row * of_column)[None]
            total = total + weight * jnp.take(padded, place, axis=1)
    return total


def _rotations(height: int, width: int) -> tuple[_Warp, _Warp]:
    """Returns the rotation by 45° into a frame that holds the whole image, and the one back."""
    center = np.array([width / 2, height / 2])
    half = np.float32(math.sqrt(0.5)) * np.float32(0.5)
    reach = half * np.float32(height) + half * np.float32(width)
    low, high = (np.float32(c) + s * reach for c, s in ((center, -1), (center, 1)))
    size = np.ceil(high) - np.floor(low) + 1
    columns, rows = (int(s) for s in size)
    there = _rotation(45, center, size / 2 - center)
    back = _rotation(-45, np.array([columns // 2, rows // 2]), np.zeros(2))
    top, left = (rows - height) // 2, (columns - width) // 2
    part = np.arange(top, top + height), np.arange(left, left + width)
    return _positions(there, np.arange(rows), np.arange(columns)), _positions(back, *part)


def _rotation(degrees: int, center: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Returns the inverse, `[2, 3]`, of a rotation about a point and a shift after it."""
    turn = math.radians(degrees)
    matrix = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    offset = center - matrix @ center + shift
    inverse = np.linalg.inv(matrix)
    return np.concatenate([inverse, -(inverse @ offset)[:, None]], axis=1)


def _positions(inverse: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> _Warp:
    parts = []
    for in_x, in_y, offset in inverse:
        of_row = np.rint((in_y * rows + offset) * UNIT) + ONE // 2
        of_column = np.rint(in_x * columns * UNIT)
        parts.append((of_row.astype(np.int32), of_column.astype(np.int32)))
    return _Warp(*parts)
