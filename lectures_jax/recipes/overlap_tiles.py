"""Images of any size, in tiles that overlap so far that no pixel depends on the tile that it is in.

The image is continued by its reflection where a network needs more of it.
Source: Ronneberger et al. (2015), sec. 1 and fig. 2.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lectures_jax.nn.image_sizes import ImageSizes

TILE = 512  # rows and columns
STEP = 32  # of the sizes that programs are compiled for, in pixels


class Span(NamedTuple):
    """Rows or columns of one tile.

    Attributes:
        start: where in the image it begins; below 0 in the reflection.
        first: first row or column of the image that this tile gives.
        last: the one after its last.
    """

    start: int
    first: int
    last: int


def predict_tiles(
    model: Any,
    image: Float[np.ndarray, "h w c"],
    *,
    tile: int = TILE,
    output: Callable[[Array], Array] = jax.nn.identity,
) -> np.ndarray:
    """Returns what a network computes for every pixel of an image, tile by tile.

    It is what the network gives for the whole image at once, continued by its reflection: by the
    margin that the result lacks, and at the bottom and right to a size that the network takes, at
    least that of a tile (a network that pads its maps then sees the reflection in place of zeros).
    Whatever the size of the image, one program is compiled, and beside image and result the memory
    is that of one tile.

    Args:
        model: gives [b, h2, w2, k] for images and has `sizes`, such as a `models.unet.UNet` in
            evaluation mode.
        image: in [0, 1].
        tile: rows and columns of a tile, rounded up to a size that the network takes.
        output: makes of the network's result of a tile what is kept of it, such as labels; the
            same function in every call, or each call compiles.

    Returns:
        The result for each pixel, [h, w, …].

    Raises:
        ValueError: if the image has no pixel, or a tile is too small to overlap.
    """
    side = model.sizes.fit(tile)

    def compute(crop: Float[np.ndarray, "s t c"]) -> np.ndarray:
        return np.asarray(_result(model, jnp.asarray(crop)[None], output))[0]

    return join_tiles(image, compute, sizes=model.sizes, tile=(side, side))


def join_tiles(
    image: Float[np.ndarray, "h w c"],
    compute: Callable[[Float[np.ndarray, "s t c"]], np.ndarray],
    *,
    sizes: ImageSizes,
    tile: tuple[int, int],
) -> np.ndarray:
    """Returns the results of all tiles of an image, each where its pixels are.

    Args:
        image: of any size.
        compute: the result of a tile, which lacks the margin.
        sizes: that `compute` takes, its margin and its reach.
        tile: rows and columns of a tile, of these sizes.

    Raises:
        ValueError: if the image has no pixel, or a tile is too small to overlap.
    """
    if image.ndim != 3 or not image.size:
        raise ValueError(f"image must be [height, width, channels], got shape {image.shape}.")
    rows, columns = (
        list(tile_spans(n, side, sizes)) for n, side in zip(image.shape[:2], tile, strict=True)
    )
    whole = np.empty(0)
    for row, column in product(rows, columns):
        part = compute(mirrored_crop(image, (row.start, column.start), tile))
        if not whole.size:
            whole = np.empty((*image.shape[:2], *part.shape[2:]), part.dtype)
        top, left = row.start + sizes.margin, column.start + sizes.margin
        kept = part[row.first - top : row.last - top, column.first - left : column.last - left]
        whole[row.first : row.last, column.first : column.last] = kept
    return whole


def tile_spans(side: int, tile: int, sizes: ImageSizes) -> Iterator[Span]:
    """Gives the rows, or columns, of each tile of an image.

    Args:
        side: rows or columns of the image.
        tile: rows or columns of a tile.
        sizes: of which the tile is one.

    Raises:
        ValueError: if a tile is too small to overlap.
    """
    lost = sizes.margin + sizes.reach
    end = max(sizes.fit(side + 2 * sizes.margin) - tile, 0)  # where the last tile begins
    step = (tile - 2 * lost) // sizes.factor * sizes.factor
    if end and step < 1:
        least = sizes.fit(2 * lost + sizes.factor)
        raise ValueError(f"tile must be {least} pixels at least for this network, got {tile}.")
    first = 0
    for start in [*range(0, end, max(step, 1)), end]:
        last = side if start == end else min(start + tile - lost - sizes.margin, side)
        yield Span(start - sizes.margin, first, last)
        first = last


def mirrored_crop(
    image: Float[np.ndarray, "h w c"], corner: Sequence[int], size: Sequence[int]
) -> Float[np.ndarray, "s t c"]:
    """Returns a part of an image that is continued by its reflection on all sides.

    Args:
        image: of any size.
        corner: row and column where the part begins.
        size: its rows and columns.
    """
    rows, columns = (
        np.minimum(index := np.arange(start, start + length) % (2 * n), 2 * n - 1 - index)
        for start, length, n in zip(corner, size, image.shape[:2], strict=True)
    )
    return image[np.ix_(rows, columns)]


def tile_of(size: Sequence[int], sizes: ImageSizes) -> int:
    """Returns the side of the tiles in which an image is computed.

    Args:
        size: rows and columns of the image.
        sizes: that the network takes.
    """
    longer = max(size) + 2 * sizes.margin
    return min(-(-longer // STEP) * STEP, TILE)


@partial(jax.jit, static_argnames="output")
def _result(model: Any, images: Array, output: Callable[[Array], Array]) -> Array:
    return output(model(images))
