"""3×3 convolutions on CPU with 4/9 of the multiplications: the algorithm F(2×2, 3×3).

A tile `d` of 4×4 cells of the image gives a tile `y` of 2×2 results. With ⊙ the product entry by
entry, and `g` the 3×3 kernel,

    y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A

takes 16 products in place of 36. With channels, each of the 16 entries of ⊙ is a matrix product
over all tiles, [tiles, c] times [c, d], which XLA's CPU backend runs near the peak of the machine,
where its convolutions of few channels run at half of it.

The gradient with respect to the image is the convolution with the kernel turned by 180°. That with
respect to the kernel is, summed over all tiles,

    ∂g = Gᵀ [(Bᵀ d B) ⊙ (A ∂y Aᵀ)] G

Winograd (1980), "Arithmetic complexity of computations"; Lavin & Gray (2016), eq. 7 and 8.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from lectures_jax.ops._bilinear import with_derivatives
from lectures_jax.ops._window import SlidingWindow, pad

BT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], float)
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], float)
AT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], float)

# G = HALVES · EVEN_ODD: its two middle rows share the sum of the even taps.
EVEN_ODD = np.array([[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 1]], float)
HALVES = np.array([[1, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0.5, -0.5, 0], [0, 0, 0, 1]], float)

TURNED = (3, 1, 2, 0)  # order of G's rows for taps in reverse order

CACHE = 18e6  # bytes of transformed images worked on at once, well inside of a last-level cache
FEWEST = 32  # channels below which the matrix products do not pay for the transformations
LEAST = 1.2e7  # products of a tap below which the gain is not worth the longer compilation


def fits(x: Array, kernel: Array, window: SlidingWindow) -> bool:
    """Returns whether the algorithm can do this convolution, and is likely to be the faster one."""
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


def _forward(x: Array, kernel: Array, window: SlidingWindow, *, turned: bool = False) -> Array:
    """Returns the convolution, or with the kernel turned by 180° and from its outputs to inputs.

    G turns the order of its rows 0 and 3 where that of the taps is turned. The turned kernel's
    transformed matrices are thus those of the kernel in another order, and are not made again.
    """
    weights = _transformed_kernel(kernel)
    if turned:
        weights = [[weights[i][j] for j in TURNED] for i in TURNED]
    equation = "nhwc,dc->nhwd" if turned else "nhwc,cd->nhwd"
    height, width = window.output

    def some(x: Array) -> Array:
        products = [
            [jnp.einsum(equation, cells, u) for cells, u in zip(*rows, strict=True)]
            for rows in zip(_transformed_image(x, window), weights, strict=True)
        ]
        rows = [_times(AT, row) for row in products]
        columns = [jnp.stack(_times(AT, column), 2) for column in zip(*rows, strict=True)]
        y = jnp.stack(columns, 4)  # [n, h, 2, w, 2, d]
        n, h, _, w, _, channels = y.shape
        return y.reshape(n, 2 * h, 2 * w, channels)[:, :height, :width]

    count = _images_at_once(x, kernel.shape[2 if turned else 3])
    if count == len(x):
        return some(x)
    parts = jax.lax.map(some, x.reshape(-1, count, *x.shape[1:]))
    return parts.reshape(-1, *parts.shape[2:])


def _kernel_gradient(x: Array, dy: Array, window: SlidingWindow) -> Array:
    """Returns the gradient with respect to the kernel, where dy is that of the result."""

    @jax.checkpoint  # transform again rather than keep all that is transformed
    def some(x: Array, dy: Array) -> list[list[Array]]:
        return [
            [_flat(a).T @ _flat(b) for a, b in zip(*rows, strict=True)]
            for rows in zip(
                _transformed_image(x, window), _transformed_gradient(dy, window), strict=True
            )
        ]

    count = _images_at_once(x, dy.shape[3])
    if count == len(x):
        products = some(x, dy)
    else:
        pairs = x.reshape(-1, count, *x.shape[1:]), dy.reshape(-1, count, *dy.shape[1:])
        zero = jnp.zeros((x.shape[3], dy.shape[3]), x.dtype)
        products, _ = jax.lax.scan(
            lambda total, pair: (jax.tree.map(jnp.add, total, some(*pair)), None),
            [[zero] * 4] * 4,
            pairs,
        )
    rows = [_times_transposed_g(row) for row in products]
    columns = zip(*rows, strict=True)
    return jnp.stack([jnp.stack(_times_transposed_g(column)) for column in columns], axis=1)


def _in_x(dx: Array, kernel: Array, window: SlidingWindow) -> Array:
    """Returns the convolution as the transpose of its gradient with respect to the image."""
    (top, bottom), (left, right) = window.padding
    around = ((2 - top, 2 - bottom), (2 - left, 2 - right))
    home = window._replace(padding=around, output=(dx.shape[1], dx.shape[2]))
    gradient = jax.linear_transpose(
        lambda dy: _forward(dy, kernel, home, turned=True), _result(dx, kernel, window)
    )
    return gradient(dx)[0]


def _in_kernel(x: Array, dkernel: Array, window: SlidingWindow) -> Array:
    """Returns the convolution as the transpose of its gradient with respect to the kernel."""
    gradient = jax.linear_transpose(
        lambda dy: _kernel_gradient(x, dy, window), _result(x, dkernel, window)
    )
    return gradient(dkernel)[0]


@with_derivatives(in_x=_in_x, in_kernel=_in_kernel)
def convolution(x: Array, kernel: Array, window: SlidingWindow) -> Array:
    """Returns the convolution of [n, h, w, c] where `fits` allows it."""
    return _forward(x, kernel, window)


def _result(x: Array, kernel: Array, window: SlidingWindow) -> jax.ShapeDtypeStruct:
    """Shape and dtype of the convolution's result."""
    return jax.ShapeDtypeStruct((len(x), *window.output, kernel.shape[3]), x.dtype)


def _images_at_once(x: Array, outputs: int) -> int:
    """The most images, as a divisor of their number, that the cache holds when transformed."""
    n, h, w, c = x.shape
    most = CACHE / (4 * h * w * (c + outputs) * x.dtype.itemsize)
    return max(m for m in range(1, n + 1) if n % m == 0 and (m <= most or m == 1))


def _transformed_image(x: Array, window: SlidingWindow) -> list[list[Array]]:
    """`Bᵀ d B` of every tile: 4×4 maps of half the size."""
    h, w = (-(-n // 2) for n in window.output)
    (top, _), (left, _) = window.padding
    bottom, right = 2 * h + 2 - x.shape[1] - top, 2 * w + 2 - x.shape[2] - left
    x = pad(x, window._replace(padding=((top, bottom), (left, right))))
    rows = _times(BT, [x[:, i : i + 2 * h - 1 : 2] for i in range(4)])
    # In two passes over the data: as one, it would take several times as long to compile.
    rows = jax.lax.optimization_barrier(rows)
    return [_times(BT, [row[:, :, j : j + 2 * w - 1 : 2] for j in range(4)]) for row in rows]


def _transformed_kernel(kernel: Array) -> list[list[Array]]:
    """`G g Gᵀ`: 4×4 matrices [c, d]."""
    columns = zip(*[_times_g(row) for row in kernel], strict=True)
    return [list(row) for row in zip(*map(_times_g, columns), strict=True)]


def _transformed_gradient(dy: Array, window: SlidingWindow) -> list[list[Array]]:
    """`A ∂y Aᵀ` of every tile: 4×4 maps of half the size."""
    height, width = window.output
    dy = jnp.pad(dy, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    rows = jax.lax.optimization_barrier(_times(AT.T, [dy[:, i::2] for i in range(2)]))
    return [_times(AT.T, [row[:, :, j::2] for j in range(2)]) for row in rows]


def _times_g(taps: Sequence[Array] | Array) -> list[Array]:
    return _times(HALVES, _times(EVEN_ODD, taps))


def _times_transposed_g(products: Sequence[Array]) -> list[Array]:
    return _times(EVEN_ODD.T, _times(HALVES.T, products))


def _times(matrix: np.ndarray, column: Sequence[Array] | Array) -> list[Array]:
    """Returns the product of a matrix with a column of arrays, written out without its zeros."""
    return [_combination(row, column) for row in matrix.tolist()]


def _combination(weights: Sequence[float], arrays: Sequence[Array] | Array) -> Array:
    """Returns the sum of arrays times weights, those with positive weights first."""
    terms = [(w, arrays[i]) for i, w in enumerate(weights) if w]
    (weight, array), *others = sorted(terms, key=lambda term: term[0] < 0)
    total = _scaled(weight, array)
    for weight, array in others:
        total = total + _scaled(weight, array) if weight > 0 else total - _scaled(-weight, array)
    return total


def _scaled(weight: float, array: Array) -> Array:
    if abs(weight) == 1:
        return array if weight > 0 else -array
    return weight * array


def _flat(maps: Array) -> Array:
    """All tiles along one axis, [tiles, channels]."""
    return maps.reshape(-1, maps.shape[3])
