"""3×3 convolutions on CPU with 4/9 of the multiplications.

The minimal filtering algorithm F(2×2, 3×3): a square of 2×2 results needs 4×4 cells of the image;
image and kernel are transformed so that 16 products take the place of 36. For each of the 16, all
tiles and channels together are one matrix product, which XLA's CPU backend runs near the peak of
the machine, where its convolutions of few channels run at half of it.

Winograd (1980), "Arithmetic complexity of computations"; Lavin & Gray (2016), sec. 4.1.
"""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from lectures_jax.ops._window import Window, pad

CACHE = 18e6  # bytes of transformed images worked on at once, well inside of a last-level cache
FEWEST = 32  # channels below which the matrix products do not pay for the transformations
LEAST = 1.2e7  # products of a tap below which the gain is not worth the longer compilation


def fits(x: Array, kernel: Array, window: Window) -> bool:
    """Whether the algorithm is made for this convolution, and likely to be the faster one."""
    return (
        window.size == (3, 3)
        and window.stride == window.dilation == (1, 1)
        and max(max(ends) for ends in window.padding) <= 2
        and min(kernel.shape[2:]) >= FEWEST
        and min(window.output) >= 2
        and x.dtype in (jnp.float32, jnp.float64)
        and isinstance(x.shape[0], int)  # not the unknown size of an exported program
        and len(x) * math.prod(window.output) * math.prod(kernel.shape[2:]) >= LEAST
    )


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def convolution(x: Array, kernel: Array, window: Window) -> Array:
    """Convolution of [n, h, w, c] where `fits` allows it."""
    return _forward(x, kernel, window)


def _convolution_jvp(window: Window, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """The derivative, each half as the transpose of the gradient that is to be computed."""
    (x, kernel), (dx, dkernel) = primals, tangents
    y = convolution(x, kernel, window)
    dy = jnp.zeros_like(y)
    if not isinstance(dx, SymbolicZero):
        back = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
        (top, bottom), (left, right) = window.padding
        around = ((2 - top, 2 - bottom), (2 - left, 2 - right))
        home = window._replace(padding=around, output=(x.shape[1], x.shape[2]))
        (dy,) = jax.linear_transpose(lambda g: _forward(g, back, home), y)(dx)
    if not isinstance(dkernel, SymbolicZero):
        (part,) = jax.linear_transpose(lambda g: _in_kernel(x, g, window), y)(dkernel)
        dy = dy + part
    return y, dy


convolution.defjvp(_convolution_jvp, symbolic_zeros=True)


def _forward(x: Array, kernel: Array, window: Window) -> Array:
    weights = _transformed_kernel(kernel)
    height, width = window.output

    def some(x: Array) -> Array:
        products = [
            [jnp.einsum("nhwc,cd->nhwd", cells, u) for cells, u in zip(*rows, strict=True)]
            for rows in zip(_transformed(x, window), weights, strict=True)
        ]
        rows = [_of_products(row) for row in products]
        columns = [jnp.stack(_of_products(column), 2) for column in zip(*rows, strict=True)]
        y = jnp.stack(columns, 4)  # [n, h, 2, w, 2, d]
        n, h, _, w, _, channels = y.shape
        return y.reshape(n, 2 * h, 2 * w, channels)[:, :height, :width]

    count = _images_at_once(x, kernel)
    if count == len(x):
        return some(x)
    parts = jax.lax.map(some, x.reshape(-1, count, *x.shape[1:]))
    return parts.reshape(-1, *parts.shape[2:])


def _in_kernel(x: Array, g: Array, window: Window) -> Array:
    """The gradient with respect to the kernel, where g is that of the result."""

    @jax.checkpoint  # transform again rather than keep all that is transformed
    def some(x: Array, g: Array) -> list[list[Array]]:
        height, width = window.output
        g = jnp.pad(g, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
        rows = jax.lax.optimization_barrier(_of_gradient([g[:, i::2] for i in range(2)]))
        spread = [_of_gradient([row[:, :, j::2] for j in range(2)]) for row in rows]
        return [
            [_columns(a).T @ _columns(b) for a, b in zip(*pairs, strict=True)]
            for pairs in zip(_transformed(x, window), spread, strict=True)
        ]

    count = _images_at_once(x, g)
    if count == len(x):
        products = some(x, g)
    else:
        pairs = x.reshape(-1, count, *x.shape[1:]), g.reshape(-1, count, *g.shape[1:])
        zero = jnp.zeros((x.shape[3], g.shape[3]), x.dtype)
        products, _ = jax.lax.scan(
            lambda total, pair: (jax.tree.map(jnp.add, total, some(*pair)), None),
            [[zero] * 4] * 4,
            pairs,
        )
    rows = [_to_kernel(row) for row in products]
    return jnp.stack([jnp.stack(_to_kernel(column)) for column in zip(*rows, strict=True)], axis=1)


def _images_at_once(x: Array, other: Array) -> int:
    """The most images, as a divisor of their number, that the cache holds when transformed."""
    n, h, w, c = x.shape
    most = CACHE / (4 * h * w * (c + other.shape[-1]) * x.dtype.itemsize)
    return max(m for m in range(1, n + 1) if n % m == 0 and (m <= most or m == 1))


def _transformed(x: Array, window: Window) -> list[list[Array]]:
    """The 4×4 transformed cells of every tile, each a map of half the size."""
    h, w = (-(-n // 2) for n in window.output)
    (top, _), (left, _) = window.padding
    bottom, right = 2 * h + 2 - x.shape[1] - top, 2 * w + 2 - x.shape[2] - left
    x = pad(x, window._replace(padding=((top, bottom), (left, right))))
    rows = _of_image([x[:, i : i + 2 * h - 1 : 2] for i in range(4)])
    # In two passes over the data: as one, it would take several times as long to compile.
    rows = jax.lax.optimization_barrier(rows)
    return [_of_image([row[:, :, j : j + 2 * w - 1 : 2] for j in range(4)]) for row in rows]


def _columns(x: Array) -> Array:
    return x.reshape(-1, x.shape[3])


def _transformed_kernel(kernel: Array) -> list[list[Array]]:
    """The 4×4 transformed taps."""
    columns = zip(*[_of_kernel(row) for row in kernel], strict=True)
    return [list(row) for row in zip(*map(_of_kernel, columns), strict=True)]


def _of_image(d: Sequence[Array]) -> list[Array]:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _of_kernel(g: Sequence[Array] | Array) -> list[Array]:
    even, odd = (g[0] + g[2]) / 2, g[1] / 2
    return [g[0], even + odd, even - odd, g[2]]


def _of_gradient(y: Sequence[Array]) -> list[Array]:
    return [y[0], y[0] + y[1], y[0] - y[1], -y[1]]


def _of_products(m: Sequence[Array]) -> list[Array]:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _to_kernel(m: Sequence[Array]) -> list[Array]:
    even, odd = (m[1] + m[2]) / 2, (m[1] - m[2]) / 2
    return [m[0] + even, odd, even + m[3]]
