"""The positions of a window that slides over an image: shared by convolution and pooling."""

from collections.abc import Iterator
from itertools import product
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from lectures_jax.typing import Length

Size = int | tuple[int, int]
"""One number for both axes, or one for the rows and one for the columns."""

Pairs = tuple[tuple[int, int], tuple[int, int]]
Padding = Literal["SAME", "VALID"] | int | Pairs
"""Cells around the image: a rule, one number for all sides, or ((top, bottom), (left, right))."""


class SlidingWindow(NamedTuple):
    """The size of a window that slides over images, its steps, and how often it fits.

    Attributes:
        size: rows and columns of taps.
        stride: cells between two positions.
        dilation: cells between two taps.
        padding: cells around the image, ((top, bottom), (left, right)).
        output: number of positions along each axis.
    """

    size: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[tuple[Length, Length], tuple[Length, Length]]
    output: tuple[Length, Length]


def pair(name: str, value: Size) -> tuple[int, int]:
    """Returns the value for rows and for columns; at least 1 each."""
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2 or not all(isinstance(v, int) and v >= 1 for v in both):
        raise ValueError(f"{name} must be an integer of at least 1, or two of them, got {value}.")
    return both[0], both[1]


def check_image(x: Array) -> None:
    """Raises a ValueError unless x holds at least one value."""
    if not all(x.shape):
        raise ValueError(f"x must hold at least one value, got shape {x.shape}.")


def sliding_window(
    shape: tuple[Length, ...], size: tuple[int, ...], *, stride: Size, padding: Any, dilation: Size
) -> SlidingWindow:
    """Returns the window of `size[:2]` that slides over images of shape [..., h, w, c]."""
    size = size[0], size[1]
    image = shape[-3], shape[-2]
    stride, dilation = pair("stride", stride), pair("dilation", dilation)
    span = tuple((k - 1) * d + 1 for k, d in zip(size, dilation, strict=True))
    if padding == "SAME":
        if any(k % 2 == 0 and d > 1 for k, d in zip(size, dilation, strict=True)):
            raise ValueError(
                f"padding 'SAME' needs an odd size where the dilation is above 1, got size {size} "
                f"with dilation {dilation}."
            )
        totals = [
            max(-(-n // s) * s - s + e - n, 0) for n, s, e in zip(image, stride, span, strict=True)
        ]
        (top, left), (rows, columns) = (total // 2 for total in totals), totals
        pairs = (top, rows - top), (left, columns - left)
    else:
        pairs = explicit(padding)
    padded = [n + low + high for n, (low, high) in zip(image, pairs, strict=True)]
    if any(n < e for n, e in zip(padded, span, strict=True)):
        raise ValueError(
            f"x must be at least as large as the window, got {image} padded to {tuple(padded)} "
            f"under a window that spans {span}."
        )
    rows, columns = ((n - e) // s + 1 for n, e, s in zip(padded, span, stride, strict=True))
    return SlidingWindow(size, stride, dilation, pairs, (rows, columns))


def explicit(padding: Any) -> Pairs:
    """Returns ((top, bottom), (left, right)) of a padding that does not depend on the image."""
    if padding == "VALID":
        return (0, 0), (0, 0)
    pairs: Any = ((padding,) * 2,) * 2 if isinstance(padding, int) else padding
    try:
        (top, bottom), (left, right) = pairs
        good = all(isinstance(v, int) and v >= 0 for v in (top, bottom, left, right))
    except (TypeError, ValueError):
        good, top, bottom, left, right = False, 0, 0, 0, 0
    if not good:
        raise ValueError(
            "padding must be 'SAME', 'VALID', an integer of at least 0, or "
            f"((top, bottom), (left, right)), got {padding!r}."
        )
    return (top, bottom), (left, right)


def pad(x: Array, window: SlidingWindow, value: float = 0.0) -> Array:
    """Returns x with the window's padding around its rows and columns."""
    if window.padding == ((0, 0), (0, 0)):
        return x
    (top, bottom), (left, right) = window.padding
    sides = [(0, 0, 0)] * (x.ndim - 3) + [(top, bottom, 0), (left, right, 0), (0, 0, 0)]
    return jax.lax.pad(x, jnp.asarray(value, x.dtype), sides)


def along(x: Array, axis: int, tap: int, window: SlidingWindow) -> Array:
    """Returns the cells under one tap as the window slides along rows (0) or columns (1) of x."""
    start = tap * window.dilation[axis]
    stop = start + (window.output[axis] - 1) * window.stride[axis] + 1
    return jax.lax.slice_in_dim(x, start, stop, window.stride[axis], axis=x.ndim - 3 + axis)


def taps(x: Array, window: SlidingWindow) -> Iterator[tuple[int, int, Array]]:
    """Gives, for each tap (i, j), the cells under it at all positions: a strided slice of x."""
    x = pad(x, window)
    for i, j in product(*map(range, window.size)):
        yield i, j, along(along(x, 0, i, window), 1, j, window)
