"""Convolutions as XLA's CPU backend runs them fast; other platforms take XLA's own.

XLA hands a convolution on CPU to a compiled kernel only if its axes are in canonical order (images
NHWC, kernels HWIO) and it has one group. Everything else, and outside of a program's entry (that
is, inside of `scan` and `while`) every gradient as JAX writes it, runs as a plain loop, 5 to 100
times slower. The functions here consist of fast pieces only, and so do their transposes.
"""

import math
from functools import reduce
from itertools import product

import jax
import jax.numpy as jnp
from jaxtyping import Array

from lectures_jax.ops import _winograd as winograd
from lectures_jax.ops._bilinear import with_derivatives
from lectures_jax.ops._window import SlidingWindow, along, pad, taps
from lectures_jax.ops.flow import depth_to_space, space_to_depth
from lectures_jax.typing import Length

CANONICAL = ("NHWC", "HWIO", "NHWC")
LARGE = 7  # taps along a side from which a convolution to few channels is folded
FEW = 4  # channels up to which it is; and of images, up to which a matrix of their taps is made
MOST = 49  # taps up to which that matrix is small enough
LEAST = 1e6  # products below which the gain is not worth the longer compilation


def plain(
    x: Array, kernel: Array, window: SlidingWindow, groups: int = 1, order=CANONICAL
) -> Array:
    """Returns XLA's own convolution."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window.stride,
        window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=order,
        feature_group_count=groups,
    )


def convolution(x: Array, kernel: Array, window: SlidingWindow, groups: int) -> Array:
    """Returns the convolution of [n, h, w, c], by the formulation that is fast on CPU."""
    if groups == 1:
        return _one_group(x, kernel, window)
    if kernel.shape[2] == 1:
        return _depthwise(x, kernel, window)
    parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
    return jnp.concatenate([_one_group(a, b, window) for a, b in parts], axis=-1)


def _one_group(x: Array, kernel: Array, window: SlidingWindow) -> Array:
    if not all(isinstance(n, int) for n in window.output):
        return plain(x, kernel, window)  # for an exported program, which takes any size
    if window.size == (1, 1):
        cells = along(along(pad(x, window), 0, 0, window), 1, 0, window)
        return jnp.einsum("nhwc,cd->nhwd", cells, kernel[0, 0])
    if winograd.fits(x, kernel, window):
        return winograd.convolution(x, kernel, window)
    return (_folded if _folds(kernel, window) else _ordinary)(x, kernel, window)


def _folds(kernel: Array, window: SlidingWindow) -> bool:
    """Whether blocks of cells are worth their rearrangement: few results of many taps."""
    (height, width), one = window.size, (1, 1)
    square = height == width >= LARGE and height % 2 == 1
    large = math.prod(window.output) * kernel.size >= LEAST
    return square and large and window.stride == window.dilation == one and kernel.shape[3] <= FEW


def _folded(x: Array, kernel: Array, window: SlidingWindow) -> Array:
    """Blocks of s × s cells become the channels of one cell, for a kernel of 2s + 1 taps.

    A block of results then depends on 3×3 blocks of the image: a convolution to few channels with a
    large kernel, which XLA runs at a tenth of the machine's speed, becomes a 3×3 one to many.
    """
    side, (height, width) = window.size[0] // 2, window.output
    rows, columns = -(-height // side), -(-width // side)
    x = crop(
        x,
        (-window.padding[0][0], -window.padding[1][0]),
        ((rows + 2) * side, (columns + 2) * side),
    )
    small = SlidingWindow((3, 3), (1, 1), (1, 1), ((0, 0), (0, 0)), (rows, columns))
    y = _one_group(space_to_depth(x, factor=side), _folded_kernel(kernel, side), small)
    return depth_to_space(y, factor=side)[:, :height, :width]


def _folded_kernel(kernel: Array, side: int) -> Array:
    """The kernel between blocks, [3, 3, s² c, s² d]: for each cell of a block, shifted by it."""
    inputs, outputs = kernel.shape[2:]
    shifted = [
        [
            jnp.pad(kernel, ((i, side - 1 - i), (j, side - 1 - j), (0, 0), (0, 0)))
            for j in range(side)
        ]
        for i in range(side)
    ]
    stacked = jnp.stack([jnp.stack(row, 3) for row in shifted], 3)  # [3 s, 3 s, c, s, s, d]
    blocks = space_to_depth(stacked.reshape(3 * side, 3 * side, -1), factor=side)
    return blocks.reshape(3, 3, side**2 * inputs, side**2 * outputs)


def _depthwise(x: Array, kernel: Array, window: SlidingWindow) -> Array:
    if (times := kernel.shape[3] // x.shape[3]) > 1:  # several outputs of each channel
        x = jnp.broadcast_to(x[..., None], (*x.shape, times)).reshape(*x.shape[:3], -1)
    return _channelwise(x, kernel[:, :, None, None], window)  # each tap against whole maps


def _gather(x: Array, kernel: Array, window: SlidingWindow) -> Array:
    """One multiplication and one addition of whole maps for each tap."""
    return reduce(jnp.add, [cells * kernel[i, j] for i, j, cells in taps(x, window)])


def _scatter(x: Array, kernel: Array, window: SlidingWindow) -> Array:
    """Equals `_gather`, but adds each cell to the results that it takes part in.

    The transpose with respect to x is then a gather: made of slices of one map, where the transpose
    of `_gather` would be a sum of padded maps.
    """
    reach = [(k - 1) * d for k, d in zip(window.size, window.dilation, strict=True)]
    zero, parts = jnp.zeros((), x.dtype), []
    for i, j in product(*map(range, window.size)):
        before = [t * d for t, d in zip((i, j), window.dilation, strict=True)]
        ends = [(r - b, b, 0) for r, b in zip(reach, before, strict=True)]
        parts.append(jax.lax.pad(x * kernel[i, j], zero, [(0, 0, 0), *ends, (0, 0, 0)]))
    (top, _), (left, _) = window.padding
    length = [(n - 1) * s + 1 for n, s in zip(window.output, window.stride, strict=True)]
    y = crop(reduce(jnp.add, parts), (reach[0] - top, reach[1] - left), (length[0], length[1]))
    return y[:, :: window.stride[0], :: window.stride[1]]


@with_derivatives(in_x=_scatter, in_kernel=_gather)
def _channelwise(x: Array, kernel: Array, window: SlidingWindow) -> Array:
    """Each channel by itself, the kernel [rows, columns, 1, 1, channels]."""
    return _gather(x, kernel, window)


def _in_x(x: Array, kernel: Array, window: SlidingWindow) -> Array:
    """Equals `plain`, with the axes in an order for which the transpose is the canonical one."""
    return plain(x, kernel.transpose(0, 1, 3, 2), window, order=("NHWC", "HWOI", "NHWC"))


def _in_kernel(x: Array, kernel: Array, window: SlidingWindow) -> Array:
    """Equals `plain`, with the transpose with respect to the kernel in canonical order."""
    if x.shape[3] <= FEW and math.prod(window.size) <= MOST:
        return _of_few(x, kernel, window)
    # In the transpose, the gradient is a window of this size that slides over the padded image;
    # larger than the image itself, it would not be taken by the compiled kernel.
    span = [(n - 1) * s + 1 for n, s in zip(window.output, window.stride, strict=True)]
    if span[0] > x.shape[1] or span[1] > x.shape[2]:
        x, window = pad(x, window), window._replace(padding=((0, 0), (0, 0)))
    order = ("CHWN", "IHWO", "HWNC")
    y = plain(x.transpose(3, 1, 2, 0), kernel.transpose(2, 0, 1, 3), window, order=order)
    return y.transpose(2, 0, 1, 3)


def _of_few(x: Array, kernel: Array, window: SlidingWindow) -> Array:
    """Equals `plain` for images of few channels, as the product with a matrix of all their taps.

    Each of its rows, a tap of a channel, is cut out of the map of that channel in long pieces. The
    transpose with respect to the kernel is a product with the same matrix, where XLA's own sum over
    all cells would be made for a few channels at a time.
    """
    maps = x.transpose(3, 0, 1, 2)[..., None]
    rows = jnp.stack([cells for *_, cells in taps(maps, window)])  # [taps, c, n, h, w, 1]
    rows = rows.reshape(kernel[..., 0].size, -1)
    y = jnp.einsum("tp,td->pd", rows, kernel.reshape(len(rows), -1))
    return y.reshape(-1, *window.output, kernel.shape[3])


@with_derivatives(in_x=_in_x, in_kernel=_in_kernel)
def _ordinary(x: Array, kernel: Array, window: SlidingWindow) -> Array:
    return plain(x, kernel, window)


def transposed(
    x: Array, kernel: Array, window: SlidingWindow, size: tuple[Length, Length]
) -> Array:
    """Returns the gradient of a convolution with respect to its images, of `size` cells.

    Cell `s·m + r` of the result is the sum of the taps `s·q + r` times the cells `m − q`: for each
    of the `s × s` phases r a small convolution, and all phases together are one convolution with
    `s²` times the channels.
    """
    (sh, sw), (kh, kw), (d, c) = window.stride, window.size, kernel.shape[2:]
    qh, qw = -(-kh // sh), -(-kw // sw)  # taps of a phase
    kernel = jnp.pad(kernel, ((0, qh * sh - kh), (0, qw * sw - kw), (0, 0), (0, 0)))
    phases = kernel.reshape(qh, sh, qw, sw, d, c)[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4)
    full = (x.shape[1] + qh - 1, x.shape[2] + qw - 1)
    around = ((qh - 1, qh - 1), (qw - 1, qw - 1))
    small = SlidingWindow((qh, qw), (1, 1), (1, 1), around, full)
    y = _one_group(x, phases.reshape(qh, qw, c, sh * sw * d), small)
    y = y.reshape(-1, *full, sh, sw, d).transpose(0, 1, 3, 2, 4, 5)
    (top, _), (left, _) = window.padding
    return crop(y.reshape(-1, full[0] * sh, full[1] * sw, d), (top, left), size)


def plain_transposed(
    x: Array, kernel: Array, window: SlidingWindow, size: tuple[Length, Length]
) -> Array:
    """Returns XLA's own transposed convolution."""
    images = jax.ShapeDtypeStruct((x.shape[0], *size, kernel.shape[2]), x.dtype)
    (y,) = jax.linear_transpose(lambda z: plain(z, kernel, window), images)(x)
    return y


def crop(x: Array, start: tuple[Length, Length], size: tuple[Length, Length]) -> Array:
    """Returns `size` cells from the start on, zeros where x has none."""
    ends = [(-a, n + a - m, 0) for a, n, m in zip(start, size, x.shape[1:3], strict=True)]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *ends, (0, 0, 0)])
