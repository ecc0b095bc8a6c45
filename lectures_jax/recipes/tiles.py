"""Large images, repainted in tiles by a network that normalizes over the whole of an image.

Mean and variance of each tile would differ from those of the next one, and its border would be
seen. They are therefore estimated once, from squares that are spread over the image in its full
resolution, and every tile is normalized by them. As tiles overlap by all that the network sees
around a pixel, a pixel does not depend on the tile that it is in.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax.models.transform_net import InstanceNorm, TransformNet, TransformNetSize
from lectures_jax.nn.image_sizes import ImageSizes
from lectures_jax.recipes.overlap_tiles import join_tiles, mirrored_crop

TILE = 640  # rows and columns, a multiple of four: 0.9 GB for the published network
SQUARE = 128  # rows and columns of the squares for mean and variance, a multiple of four
SQUARES = 5  # of them along each side
EPSILON = 1e-5  # of `ops.instance_norm`

Moments = tuple[Float[Array, "1 1 1 _"], Float[Array, "1 1 1 _"]]
"""Mean and variance of the channels."""

Normalize = Callable[[InstanceNorm, Array], Array]


def paint_tiles(
    model: TransformNet,
    image: Float[np.ndarray, "h w 3"],
    moments: Sequence[Moments] | None = None,
) -> Float[np.ndarray, "h w 3"]:
    """Returns an image as a network repaints it tile by tile, in memory that does not grow with it.

    Args:
        model: in evaluation mode.
        image: RGB in [0, 1], of any size; it is continued by its reflection to sides that are
            multiples of four.
        moments: of each instance normalization, in the order of their calls; by default those of
            `estimate_moments`. With those of the whole image the result is that of the whole image.
    """
    moments = estimate_moments(model, image) if moments is None else moments
    height, width = (min(TILE, _even(n)) for n in image.shape[:2])

    def paint(crop: Float[np.ndarray, "s t 3"]) -> Float[np.ndarray, "s t 3"]:
        return np.asarray(_paint_tile(model, tuple(moments), jnp.asarray(crop)[None]))[0]

    sizes = ImageSizes(factor=4, least=4, reach=reach(model.size))
    return join_tiles(image, paint, sizes=sizes, tile=(height, width))


def estimate_moments(model: TransformNet, image: Float[np.ndarray, "h w 3"]) -> list[Moments]:
    """Returns mean and variance of each channel before each instance normalization.

    They are those of 25 squares of 128 pixels, evenly spread over the image, or fewer pixels where
    it is smaller.

    Args:
        model: in evaluation mode.
        image: RGB in [0, 1].
    """
    sides = [min(SQUARE, _even(n)) for n in image.shape[:2]]
    rows, columns = (
        np.linspace(0, _even(n) - side, SQUARES).astype(int).tolist()
        for n, side in zip(image.shape[:2], sides, strict=True)
    )
    squares = [mirrored_crop(image, (row, column), sides) for row in rows for column in columns]
    return _moments_of(model, jnp.asarray(np.stack(squares)))


def reach(size: TransformNetSize) -> int:
    """Returns how far a network sees around a pixel, rounded up to a multiple of four.

    Half a kernel at both ends, 1 and 2 pixels in the convolutions on the way down, 8 in each block
    at a quarter of the resolution, 2 and 1 on the way up, and 3 for pixels that share a cell there.

    Args:
        size: of the network.
    """
    return _even(2 * (size.kernel // 2) + 8 * size.blocks + 9)


@jax.jit
def _moments_of(model: TransformNet, squares: Float[Array, "n s t 3"]) -> list[Moments]:
    result: list[Moments] = []

    def normalize(norm: InstanceNorm, x: Array) -> Array:
        mean = _mean(x)
        variance = _mean(jnp.square(x - mean))
        result.append((mean, variance))
        return _normalized(norm, x, result[-1])

    _replace_norms(model, normalize)(squares)
    return result


@jax.jit
def _paint_tile(
    model: TransformNet, moments: tuple[Moments, ...], crop: Float[Array, "1 s t 3"]
) -> Float[Array, "1 s t 3"]:
    given = iter(moments)
    return _replace_norms(model, lambda norm, x: _normalized(norm, x, next(given)))(crop)


def _replace_norms(model: TransformNet, normalize: Normalize) -> TransformNet:
    """The model, which is a copy inside of a compiled function, with another normalization."""
    for _, module in list(nnx.iter_modules(model)):
        for name, child in list(vars(module).items()):
            if isinstance(child, InstanceNorm):
                setattr(module, name, partial(normalize, child))
    return model


def _normalized(norm: InstanceNorm, x: Array, moments: Moments) -> Array:
    mean, variance = moments
    scale, bias = (p[...].reshape(1, 1, 1, -1) for p in (norm.scale, norm.bias))
    return (x - mean) * (scale * jax.lax.rsqrt(variance + EPSILON)) + bias


def _mean(x: Float[Array, "n s t c"]) -> Float[Array, "1 1 1 c"]:
    """Over all cells; square by square, since one sum over millions would lose digits."""
    return jnp.mean(jnp.mean(x, axis=(1, 2), keepdims=True), axis=0, keepdims=True)


def _even(n: int) -> int:
    """The next multiple of four."""
    return n + -n % 4
