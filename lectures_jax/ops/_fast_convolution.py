"""Convolutions as XLA's CPU backend runs them fast; other platforms take XLA's own.

XLA hands a convolution on CPU to a compiled kernel only if its axes are in canonical order (images
NHWC, kernels HWIO) and it has one group. Everything else, and outside of a program's entry (that
is, inside of `scan` and `while`) every gradient as JAX writes it, runs as a plain loop, 5 to 100
times slower. The functions here are made of fast pieces only, and so are their transposes.
"""

from functools import partial, reduce
from itertools import product

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from lectures_jax.ops import _winograd as winograd
from lectures_jax.ops._window import Window, along, pad, taps

CANONICAL = ("NHWC", "HWIO", "NHWC")


def plain(x: Array, kernel: Array, window: Window, groups: int = 1, order=CANONICAL) -> Array:
    """XLA's own convolution."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window.stride,
        window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=order,
        feature_group_count=groups,
    )


def convolution(x: Array, kernel: Array, window: Window, groups: int) -> Array:
    """Convolution of [n, h, w, c] by the formulation that is fast on CPU."""
    if groups == 1:
        return _one_group(x, kernel, window)
    if kernel.shape[2] == 1:
        return _depthwise(x, kernel, window)
    parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
    return jnp.concatenate([_one_group(a, b, window) for a, b in parts], axis=-1)


def _one_group(x: Array, kernel: Array, window: Window) -> Array:
    if window.size == (1, 1):
        cells = along(along(pad(x, window), 0, 0, window), 1, 0, window)
        return jnp.einsum("nhwc,cd->nhwd", cells, kernel[0, 0])
    if winograd.fits(x, kernel, window):
        return winograd.convolution(x, kernel, window)
    return _ordinary(x, kernel, window)


def _depthwise(x: Array, kernel: Array, window: Window) -> Array:
    if (times := kernel.shape[3] // x.shape[3]) > 1:  # several outputs of each channel
        x = jnp.broadcast_to(x[..., None], (*x.shape, times)).reshape(*x.shape[:3], -1)
    return _channelwise(x, kernel[:, :, None, None], window)  # each tap against whole maps


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _channelwise(x: Array, kernel: Array, window: Window) -> Array:
    return _gather(x, kernel, window)


def _channelwise_jvp(window: Window, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (x, kernel), (dx, dkernel) = primals, tangents
    y = _channelwise(x, kernel, window)
    dy = jnp.zeros_like(y)
    if not isinstance(dx, SymbolicZero):
        dy = _scatter(dx, kernel, window)
    if not isinstance(dkernel, SymbolicZero):
        dy = dy + _gather(x, dkernel, window)
    return y, dy


_channelwise.defjvp(_channelwise_jvp, symbolic_zeros=True)


def _gather(x: Array, kernel: Array, window: Window) -> Array:
    """One multiplication and one addition of whole maps for each tap."""
    return reduce(jnp.add, [cells * kernel[i, j] for i, j, cells in taps(x, window)])


def _scatter(x: Array, kernel: Array, window: Window) -> Array:
    """Equals `_gather`, but each cell gives to its neighbors instead of taking from them.

    So the transpose with respect to x takes: it is made of slices of one map, where that of
    `_gather` would be a sum of padded ones.
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


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _ordinary(x: Array, kernel: Array, window: Window) -> Array:
    return plain(x, kernel, window)


def _ordinary_jvp(window: Window, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """The derivative, each half with its axes in an order whose transpose is the canonical one."""
    (x, kernel), (dx, dkernel) = primals, tangents
    y = _ordinary(x, kernel, window)
    dy = jnp.zeros_like(y)
    if not isinstance(dx, SymbolicZero):
        dy = plain(dx, kernel.transpose(0, 1, 3, 2), window, order=("NHWC", "HWOI", "NHWC"))
    if not isinstance(dkernel, SymbolicZero):
        dy = dy + _in_kernel(x, dkernel, window)
    return y, dy


def _in_kernel(x: Array, kernel: Array, window: Window) -> Array:
    # In the transpose, the gradient is a window of this size that slides over the padded image;
    # larger than the image itself, it would not be taken by the compiled kernel.
    span = [(n - 1) * s + 1 for n, s in zip(window.output, window.stride, strict=True)]
    if span[0] > x.shape[1] or span[1] > x.shape[2]:
        x, window = pad(x, window), window._replace(padding=((0, 0), (0, 0)))
    order = ("CHWN", "IHWO", "HWNC")
    y = plain(x.transpose(3, 1, 2, 0), kernel.transpose(2, 0, 1, 3), window, order=order)
    return y.transpose(2, 0, 1, 3)


_ordinary.defjvp(_ordinary_jvp, symbolic_zeros=True)


def transposed(x: Array, kernel: Array, window: Window, size: tuple[int, int]) -> Array:
    """The gradient of a convolution with respect to its images, which are `size` large.

    Cell `s·m + r` of the result gathers the taps `s·q + r` from cells `m − q`: for each of the
    `s × s` phases r it is a small convolution, and all phases together are one with `s²` times
    the channels.
    """
    (sh, sw), (kh, kw), (d, c) = window.stride, window.size, kernel.shape[2:]
    qh, qw = -(-kh // sh), -(-kw // sw)  # taps of a phase
    kernel = jnp.pad(kernel, ((0, qh * sh - kh), (0, qw * sw - kw), (0, 0), (0, 0)))
    phases = kernel.reshape(qh, sh, qw, sw, d, c)[::-1, :, ::-1].transpose(0, 2, 5, 1, 3, 4)
    full = (x.shape[1] + qh - 1, x.shape[2] + qw - 1)
    around = ((qh - 1, qh - 1), (qw - 1, qw - 1))
    small = Window((qh, qw), (1, 1), (1, 1), around, full)
    y = _one_group(x, phases.reshape(qh, qw, c, sh * sw * d), small)
    y = y.reshape(-1, *full, sh, sw, d).transpose(0, 1, 3, 2, 4, 5)
    (top, _), (left, _) = window.padding
    return crop(y.reshape(-1, full[0] * sh, full[1] * sw, d), (top, left), size)


def plain_transposed(x: Array, kernel: Array, window: Window, size: tuple[int, int]) -> Array:
    """XLA's own transposed convolution."""
    images = jax.ShapeDtypeStruct((x.shape[0], *size, kernel.shape[2]), x.dtype)
    (y,) = jax.linear_transpose(lambda z: plain(z, kernel, window), images)(x)
    return y


def crop(x: Array, start: tuple[int, int], size: tuple[int, int]) -> Array:
    """Returns `size` cells from the start on, zeros where x has none."""
    ends = [(-a, n + a - m, 0) for a, n, m in zip(start, size, x.shape[1:3], strict=True)]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *ends, (0, 0, 0)])
