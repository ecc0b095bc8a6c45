"""Convolutions as XLA's CPU backend runs them fast; other platforms take XLA's own.

XLA hands a convolution on CPU to a compiled kernel only if its axes are in canonical order (images
NHWC, kernels HWIO) and it has one group. Everything else, and outside of a program's entry (that
is, inside of `scan` and `while`) every gradient as JAX writes it, runs as a plain loop, 5 to 100
times slower. The functions here are made of fast pieces only, and so are their transposes.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from ._window import Window, along, pad, taps

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
    return _ordinary(x, kernel, window)


def _depthwise(x: Array, kernel: Array, window: Window) -> Array:
    """One multiplication and addition of whole maps for each tap."""
    if (times := kernel.shape[3] // x.shape[3]) > 1:  # several outputs of each channel
        x = jnp.broadcast_to(x[..., None], (*x.shape, times)).reshape(*x.shape[:3], -1)
    return sum(cells * kernel[i, j] for i, j, cells in taps(x, window))


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
        order = ("CHWN", "IHWO", "HWNC")
        across = plain(x.transpose(3, 1, 2, 0), dkernel.transpose(2, 0, 1, 3), window, order=order)
        dy = dy + across.transpose(2, 0, 1, 3)
    return y, dy


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
    return crop(y.reshape(-1, full[0] * sh, full[1] * sw, d), window.padding, size)


def plain_transposed(x: Array, kernel: Array, window: Window, size: tuple[int, int]) -> Array:
    """XLA's own transposed convolution."""
    images = jax.ShapeDtypeStruct((x.shape[0], *size, kernel.shape[2]), x.dtype)
    (y,) = jax.linear_transpose(lambda z: plain(z, kernel, window), images)(x)
    return y


def crop(x: Array, padding: tuple, size: tuple[int, int]) -> Array:
    """Returns `size` cells from the top and left padding on, zeros where x ends before."""
    ends = [(-low, n + low - m, 0) for (low, _), n, m in zip(padding, size, x.shape[1:3], strict=True)]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *ends, (0, 0, 0)])
