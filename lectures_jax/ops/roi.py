"""Regions of interest: the part of a feature map inside of each box, brought to one size."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, ScalarLike

from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import check_count, check_positive, checked

GATHERED = 4  # sampling ratio up to which points are gathered one by one
TOGETHER = 16  # boxes whose rows of the map are mixed at once: their memory is bounded
TOUCHING = 6  # neighboring points of an adaptive grid, of which at most 5 are within one cell


class _Side(NamedTuple):
    """The boxes along one axis of the map, in its cells; cell k has its center at k.

    Attributes:
        start: of the box.
        bin: size of a bin.
        ratio: points in a bin.
    """

    start: Float[Array, " n"]
    bin: Float[Array, " n"]
    ratio: Float[Array, " n"]


@checked
@in_float32
def roi_align(
    features: Float[Array, "*b h w c"],
    boxes: Float[Array, "*b n 4"],
    *,
    output_size: int | tuple[int, int],
    scale: ScalarLike = 1.0,
    sampling_ratio: int,
    aligned: bool = True,
) -> Float[Array, "*b n i j c"]:
    """Returns the mean of bilinear samples in each of `output_size` bins of each box.

    A point less than one cell outside of the map has the value at its edge, one farther outside
    has 0. Features and boxes have gradients; that of the boxes is the one for a constant number of
    points.

    Time and memory do not depend on where the boxes are. With up to 4 points along the side of a
    bin they do not depend on the map either. With more, and with an adaptive number, which may be
    any under `jit`, the rows and columns of the map are weighted as a whole: the work grows with
    its area, and a NaN anywhere in the map reaches every box.

    Args:
        features: maps of one image, or of several.
        boxes: corners in pixels, those of the same image.
        output_size: height and width of the result, or one number for both.
        scale: cells of the map per pixel, such as 1/16.
        sampling_ratio: points along each side of a bin. 0, or -1: as many as a bin is cells long,
            rounded up, so that a box of no or negative size has no points and gives 0.
        aligned: a pixel's center lies at ½, as everywhere in this library. False: at 0, and boxes
            are at least one cell large, as first published.

    Returns:
        One map per box, of the mean feature in each bin.

    Raises:
        ValueError: if `output_size` or `scale` is not positive, `sampling_ratio` is no integer, or
            features and boxes are not of the same number of images.

    Source:
        He et al. (2017), sec. 3; torchvision, `roi_align`.
    """
    height, width = _pair(output_size)
    check_positive(scale=scale)
    check_count(low=-1, sampling_ratio=sampling_ratio)
    align = functools.partial(
        _roi_align, size=(height, width), ratio=max(sampling_ratio, 0), aligned=aligned
    )
    for _ in features.shape[:-3]:
        align = jax.vmap(align, in_axes=(0, 0, None))
    return align(features, boxes, jnp.asarray(scale, boxes.dtype))


@checked
@in_float32
def roi_pool(
    features: Float[Array, "*b h w c"],
    boxes: Float[Array, "*b n 4"],
    *,
    output_size: int | tuple[int, int],
    scale: ScalarLike = 1.0,
) -> Float[Array, "*b n i j c"]:
    """Returns the largest feature in each of `output_size` bins of each box, rounded to cells.

    A box reaches from the cell of its first corner to that of the second, which belongs to it, and
    is at least one cell large. Bins overlap by a cell where the box is no multiple of them. The
    gradient goes to the first of the largest cells, in reading order; boxes have none.

    Args:
        features: maps of one image, or of several.
        boxes: corners in pixels, those of the same image.
        output_size: height and width of the result, or one number for both.
        scale: cells of the map per pixel, such as 1/16.

    Returns:
        One map per box; 0 in bins that lie outside of the map.

    Raises:
        ValueError: if `output_size` or `scale` is not positive, or features and boxes are not of
            the same number of images.

    Source:
        Girshick (2015), sec. 2.1; torchvision, `roi_pool`.
    """
    size = _pair(output_size)
    check_positive(scale=scale)
    pool = functools.partial(_roi_pool, size=size)
    for _ in features.shape[:-3]:
        pool = jax.vmap(pool, in_axes=(0, 0, None))
    return pool(features, boxes, jnp.asarray(scale, boxes.dtype))


def _pair(output_size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (output_size,) * 2 if isinstance(output_size, int) else output_size
    check_count(output_size=height)
    check_count(output_size=width)
    return height, width


@functools.partial(jax.jit, static_argnames=("size", "ratio", "aligned"))
def _roi_align(
    features: Array,
    boxes: Array,
    scale: Array,
    *,
    size: tuple[int, int],
    ratio: int,
    aligned: bool,
) -> Array:
    *cells, channels = features.shape
    if not boxes.shape[0] or not features.size:
        return jnp.zeros((boxes.shape[0], *size, channels), features.dtype)
    corners = boxes * scale - (0.5 if aligned else 0)
    x, y = (_side(corners[:, axis::2], size[1 - axis], ratio, aligned) for axis in (0, 1))
    sides = tuple(zip((y, x), size, cells, strict=True))
    if 1 <= ratio <= GATHERED:
        return _gathered(features, *(_taps(*side, points=ratio) for side in sides))
    weights = [_weights(*side, points=ratio) for side in sides]

    def mix(weights: list[Array]) -> Array:
        rows, columns = weights
        mixed = jnp.einsum("ih,hwc->iwc", rows, features)
        return jnp.einsum("jw,iwc->ijc", columns, mixed)

    return lax.map(mix, weights, batch_size=TOGETHER)


def _side(ends: Float[Array, "n 2"], bins: int, ratio: int, aligned: bool) -> _Side:
    length = ends[:, 1] - ends[:, 0]
    if not aligned:
        length = jnp.maximum(length, 1)
    size = _quotient(length, bins)
    adaptive = jnp.maximum(jnp.ceil(size), 0)
    return _Side(ends[:, 0], size, jnp.full_like(length, ratio) if ratio else adaptive)


def _quotient(length: Array, bins: int) -> Array:
    """Divides as torchvision does, so that 14 cells in 7 bins are 2 each and not a bit more.

    XLA replaces the division by a constant by the product with its rounded inverse.
    """
    return length / (bins + 0 * jnp.sign(length))


def _points(side: _Side, number: Float[Array, "n *k"]) -> Float[Array, "n *k"]:
    """Returns where points are, counted from the start of the box; a bin has `ratio` of them."""
    shape = (-1,) + (1,) * (number.ndim - 1)
    step = (side.bin / jnp.maximum(side.ratio, 1)).reshape(shape)
    return side.start.reshape(shape) + (number + 0.5) * step


def _on_map(position: Array, cells: int) -> tuple[Array, Array]:
    """Returns the positions moved to the map, and 1 for those that count, 0 for the others."""
    counts = (position >= -1) & (position <= cells)
    return jnp.where(counts, jnp.clip(position, 0, cells - 1), 0), counts.astype(position.dtype)


def _taps(
    side: _Side, bins: int, cells: int, *, points: int
) -> tuple[Int[Array, "n bins taps"], Float[Array, "n bins taps"]]:
    """Returns the two cells beside each point, and their weights in the mean of the bin."""
    number = jnp.arange(bins * points, dtype=side.start.dtype)
    position, counts = _on_map(_points(side, jnp.tile(number, (side.start.size, 1))), cells)
    low = jnp.floor(position)
    share = position - low
    high = jnp.minimum(low + 1, cells - 1)
    cell = jnp.stack([low, high], axis=-1).astype(jnp.int32)
    weight = jnp.stack([1 - share, share], axis=-1) * counts[..., None] / points
    shape = (side.start.size, bins, 2 * points)
    return cell.reshape(shape), weight.reshape(shape)


def _gathered(features: Array, rows: tuple[Array, Array], columns: tuple[Array, Array]) -> Array:
    """Adds the cells one tap after the other: XLA fuses the sum, and reads each cell in place."""
    height, width, channels = features.shape
    flat = features.reshape(height * width, channels)
    total = jnp.zeros((), features.dtype)
    for row, of_row in zip(*(jnp.moveaxis(x, -1, 0)[..., None] for x in rows), strict=True):
        for column, of_column in zip(*(jnp.moveaxis(x, -1, 0) for x in columns), strict=True):
            cell = row * width + column[:, None]
            weight = of_row * of_column[:, None]
            total = total + weight[..., None] * jnp.take(flat, cell, axis=0, mode="clip")
    return total


def _weights(side: _Side, bins: int, cells: int, *, points: int) -> Float[Array, "n bins cells"]:
    """Returns the weight of each cell in the mean of each bin.

    An adaptive number of points has no bound, but two of them are more than half a cell apart, or
    there is only one: the few around each cell are all that can touch it.
    """
    dtype = side.start.dtype
    place = jnp.arange(cells, dtype=dtype)[None, None, :, None]
    bin_, start, length, ratio = (
        x[..., None, None]
        for x in (jnp.arange(bins, dtype=dtype)[None], *(x[:, None] for x in side))
    )
    if points:
        number = jnp.arange(points, dtype=dtype)[None, None, None]
    else:
        step = jnp.where(ratio > 0, length / jnp.maximum(ratio, 1), 1)
        before = (place - 1 - start - bin_ * length) / step - 0.5
        first = jnp.maximum(jnp.floor(lax.stop_gradient(before)), 0)
        number = first + jnp.arange(TOUCHING, dtype=dtype)[None, None, None]
    number, bin_ = jnp.broadcast_arrays(number, bin_)
    position, counts = _on_map(_points(side, bin_ * ratio + number), cells)
    hat = jnp.maximum(1 - jnp.abs(position - place), 0)
    counts = jnp.where(number < ratio, counts, 0)
    return jnp.sum(hat * counts, axis=-1) / jnp.maximum(ratio[..., 0], 1)


@functools.partial(jax.jit, static_argnames="size")
def _roi_pool(features: Array, boxes: Array, scale: Array, *, size: tuple[int, int]) -> Array:
    *cells, channels = features.shape
    if not boxes.shape[0] or not features.size:
        return jnp.zeros((boxes.shape[0], *size, channels), features.dtype)
    corners = lax.stop_gradient(boxes * scale)
    columns, rows = (_bins(corners[:, axis::2], size[1 - axis], cells[1 - axis]) for axis in (0, 1))
    flat = features.reshape(-1, channels)
    best = _largest(lax.stop_gradient(flat), rows, columns, cells[1])
    chosen = jnp.take_along_axis(flat, jnp.maximum(best, 0).reshape(-1, channels), axis=0)
    return jnp.where(best >= 0, chosen.reshape(best.shape), 0)


def _bins(
    ends: Float[Array, "n 2"], bins: int, cells: int
) -> tuple[Int[Array, "n bins"], Int[Array, "n bins"]]:
    """Returns the first cell of each bin, and the one after its last, both in [0, cells]."""
    ends = jnp.trunc(ends + jnp.copysign(0.5, ends))  # halves away from zero
    length = _quotient(jnp.maximum(ends[:, 1:] - ends[:, :1] + 1, 1), bins)
    place = jnp.arange(bins, dtype=ends.dtype)[None]
    first, last = jnp.floor(place * length), jnp.ceil((place + 1) * length)
    first, last = (jnp.clip(x + ends[:, :1], 0, cells).astype(jnp.int32) for x in (first, last))
    return first, last


def _largest(
    flat: Float[Array, "k c"],
    rows: tuple[Array, Array],
    columns: tuple[Array, Array],
    width: int,
) -> Int[Array, "n i j c"]:
    """Returns the first of the largest cells of each bin, -1 where it has none."""
    (top, bottom), (left, right) = ((x[:, :, None] for x in rows), (x[:, None] for x in columns))
    tall, wide = jnp.max(bottom - top), jnp.max(right - left)

    def look(number: Array, best: tuple[Array, Array]) -> tuple[Array, Array]:
        row, column = top + number // wide, left + number % wide
        cell = row * width + column
        value = jnp.take(flat, cell, axis=0, mode="clip")
        # NaN is larger than any number, as in max_pool.
        larger = (value > best[0]) | (best[1] < 0) | (jnp.isnan(value) & ~jnp.isnan(best[0]))
        larger &= ((row < bottom) & (column < right))[..., None]
        return jnp.where(larger, value, best[0]), jnp.where(larger, cell[..., None], best[1])

    shape = (top.shape[0], top.shape[1], left.shape[2], flat.shape[1])
    start = jnp.full(shape, -np.inf, flat.dtype), jnp.full(shape, -1, jnp.int32)
    return lax.fori_loop(0, jnp.maximum(tall, 0) * jnp.maximum(wide, 0), look, start)[1]
