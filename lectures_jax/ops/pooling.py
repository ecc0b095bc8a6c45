"""Pooling: one value per window and channel."""

from collections.abc import Callable
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lectures_jax.ops._precision import in_float32
from lectures_jax.ops._window import (
    Padding,
    Size,
    SlidingWindow,
    along,
    check_image,
    pad,
    pair,
    sliding_window,
)
from lectures_jax.typing import checked


@checked
def max_pool(
    x: Float[Array, "*b h w c"],
    *,
    size: Size,
    stride: Size | None = None,
    padding: Padding = "VALID",
) -> Float[Array, "*b h2 w2 c"]:
    """Returns the largest value of each window, channel by channel.

    Where several cells share the maximum, the whole gradient goes to the first of them in reading
    order, as in XLA and torch.

    Args:
        x: images or feature maps.
        size: cells of a window, for rows and columns alike or as (rows, columns).
        stride: cells from one window to the next, by default the size.
        padding: cells around the image, in the forms that `conv2d` takes; less than the size on
            every side. They count as −∞.

    Returns:
        `⌊(h + padding − size) / stride⌋ + 1` rows, and columns by the same formula; NaN where a
        window holds one.

    Raises:
        ValueError: if the window is larger than the padded image, or a number is out of range.

    Source:
        Scherer et al. (2010), sec. 3; Dumoulin & Visin (2016), relationship 15.
    """
    window = _window(x, size, stride, padding)
    return jax.lax.platform_dependent(
        x,
        cpu=partial(_largest, window=window),
        default=partial(_slide, window=window, start=-jnp.inf, join=jax.lax.max),
    )


@checked
@in_float32
def mean_pool(
    x: Float[Array, "*b h w c"],
    *,
    size: Size,
    stride: Size | None = None,
    padding: Padding = "VALID",
) -> Float[Array, "*b h2 w2 c"]:
    """Returns the mean of each window, channel by channel, over those cells that are in the image.

    Args:
        x: images or feature maps.
        size: cells of a window, for rows and columns alike or as (rows, columns); the size of the
            map gives the global mean.
        stride: cells from one window to the next, by default the size.
        padding: cells around the image, in the forms that `conv2d` takes; less than the size on
            every side. They do not count.

    Returns:
        `⌊(h + padding − size) / stride⌋ + 1` rows, and columns by the same formula.

    Raises:
        ValueError: if the window is larger than the padded image, or a number is out of range.

    Source:
        LeCun et al. (1998), sec. II.B; Dumoulin & Visin (2016), relationship 15.
    """
    window = _window(x, size, stride, padding)
    total = _slide(x, window, 0.0, jax.lax.add)
    cells = [_cells_inside(n, window, axis) for axis, n in enumerate(x.shape[-3:-1])]
    share = jnp.asarray(1 / np.outer(*cells)[..., None], x.dtype)
    return total * share.reshape((1,) * (x.ndim - 3) + share.shape)


def _window(x: Array, size: Size, stride: Size | None, padding: Padding) -> SlidingWindow:
    check_image(x)
    sides = pair("size", size)
    stride = sides if stride is None else stride
    window = sliding_window(x.shape, sides, stride=stride, padding=padding, dilation=1)
    if any(max(ends) >= k for ends, k in zip(window.padding, sides, strict=True)):
        raise ValueError(f"padding must be less than size {sides}, got {padding!r}.")
    return window


def _largest(x: Array, *, window: SlidingWindow) -> Array:
    """The maximum along columns, then along rows: k + k comparisons of slices instead of k · k.

    On CPU, the gradient of XLA's own sliding maximum is a loop over single cells.
    """

    def larger(a: Array, b: Array) -> Array:
        # Not `maximum`, which shares a tie's gradient and takes longer.
        return jnp.where((b > a) | jnp.isnan(b), b, a)

    x = pad(x, window, -jnp.inf)
    for axis in (1, 0):
        x = reduce(larger, [along(x, axis, tap, window) for tap in range(window.size[axis])])
    return x


def _slide(x: Array, window: SlidingWindow, start: float, join: Callable[..., Array]) -> Array:
    """XLA's own sliding windows."""
    outer = (1,) * (x.ndim - 3)
    return jax.lax.reduce_window(
        x,
        np.asarray(start, x.dtype),  # concrete, or JAX does not recognize a maximum
        join,
        (*outer, *window.size, 1),
        (*outer, *window.stride, 1),
        (*((0, 0) for _ in outer), *window.padding, (0, 0)),
    )


def _cells_inside(length: int, window: SlidingWindow, axis: int) -> np.ndarray:
    """How many cells of each window are not padding, along one axis."""
    first = np.arange(window.output[axis]) * window.stride[axis] - window.padding[axis][0]
    return np.minimum(first + window.size[axis], length) - np.maximum(first, 0)
