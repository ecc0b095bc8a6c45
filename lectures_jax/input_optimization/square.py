"""The Square attack: random squares, and a network that says after each whether it was a good one.

Andriushchenko et al. (2020), whose letters are used: η is the change of a square in L2, ν all
changes so far, W₁ and W₂ are two squares at random places.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from lectures_jax.input_optimization.attack_arguments import (
    Budget,
    Inputs,
    Labels,
    Logits,
    check_norm,
    prepared,
)
from lectures_jax.input_optimization.black_box import Queried, Search, answer, ask, first_search
from lectures_jax.input_optimization.perturbation import Keys, Norm, draw, fold, project
from lectures_jax.typing import Key, check_count

FIRST_SHARE = 0.8  # of the image that the first square covers
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries of 10,000 after which that share halves."""

LEAST_SIDE = {"linf": 1, "l2": 3}
"""Of a square, in pixels; in L2 a smaller one has no inside."""

TILES = 5  # along the shorter side of the image, at the beginning in L2


def square_attack(
    key: Keys,
    logits_fn: Logits,
    x: Inputs,
    labels: Labels,
    *,
    epsilon: Budget,
    norm: Literal["linf", "l2"] = "linf",
    queries: int = 1000,
    targeted: bool = False,
) -> Queried:
    """Returns images after a random search with squares that change as much as the ball allows.

    In L∞ it begins with vertical stripes of ±ε, and each query sets one square, of a place and of a
    color drawn at random, to ±ε. In L2 it begins with tiles, each a bump beside a dent, and each
    query draws two squares: a bump and a dent are added to what the one has changed, and it gets
    all of ε that the other had, which goes back to x. What was drawn stays if the margin has become
    lower. Squares become smaller.

    Args:
        key: one for all images, which then get the same squares, or one for each.
        logits_fn: `images -> logits`.
        x: images in [0, 1].
        labels: true classes, or the classes to be answered.
        epsilon: radius of the ball, for all or for each image.
        norm: of the ball.
        queries: of each image, at most.
        targeted: whether the labels are targets.

    Raises:
        ValueError: if ε is negative, a label is no class, x is no batch of images in [0, 1], the
            norm is unknown, or `queries` is below 1.

    Source:
        Andriushchenko et al. (2020), algorithms 1 to 3, and sec. 3.2 for the sizes; the least side
        in L2 is that of the authors' program.
    """
    check_norm(norm, allowed=("linf", "l2"))
    check_count(queries=queries)
    logits_fn, x, labels, epsilon = prepared(logits_fn, x, labels, epsilon=epsilon)
    if x.ndim != 4:
        raise ValueError(
            f"x must be images of shape (batch, height, width, channels), got {x.shape}."
        )
    sides = jnp.asarray(_square_sides(queries, *x.shape[1:3], least=LEAST_SIDE[norm]))
    options = {"norm": norm, "targeted": targeted}
    return _square_attack(key, logits_fn, x, labels, epsilon, sides, **options)


def _square_sides(queries: int, height: int, width: int, *, least: int) -> np.ndarray:
    """Returns the side of the square of each query, in pixels, falling.

    Args:
        queries: how many.
        height: of the images.
        width: of the images.
        least: side, where the images are larger.
    """
    number = np.arange(queries) * 10_000 // queries
    share = FIRST_SHARE / 2.0 ** np.searchsorted(HALVINGS, number)
    sides = np.rint(np.sqrt(share * height * width)).astype(np.int32)
    return np.clip(sides, least, max(min(height, width) - 1, 1))


@partial(jax.jit, static_argnames=("norm", "targeted"))
def _square_attack(
    key: Keys,
    logits_fn: Any,
    x: Array,
    labels: Array,
    epsilon: Array,
    sides: Array,
    *,
    norm: Norm,
    targeted: bool,
) -> Queried:
    begin, propose = {"linf": (_stripes, _square_in_linf), "l2": (_tiles, _square_in_l2)}[norm]

    def step(state: Search) -> Search:
        proposed = propose(fold(key, state.number), sides[state.number], state.x, x, epsilon)
        return ask(logits_fn, labels, targeted, state, proposed, cost=1)

    def goes_on(state: Search) -> Array:
        return (state.number < len(sides)) & ~jnp.all(state.fooled)

    unit = draw(fold(key, len(sides)), partial(begin, x.shape[1:], x.dtype))
    start = project(x + unit * epsilon, x, epsilon, norm=norm)
    state = ask(logits_fn, labels, targeted, first_search(logits_fn, x), start, cost=1)
    return answer(jax.lax.while_loop(goes_on, step, state))


def _corner(key: Key, height: int, width: int, side: Array) -> Array:
    """Row and column of the first pixel of a random square."""
    return jax.random.randint(key, (2,), 0, jnp.array([height, width]) - side + 1)


def _covered(corner: Array, height: int, width: int, side: Array) -> Array:
    """Which pixels a square covers, [h, w, 1]."""
    inside = [
        (jnp.arange(size) >= start) & (jnp.arange(size) < start + side)
        for size, start in zip((height, width), corner, strict=True)
    ]
    return inside[0][:, None, None] & inside[1][None, :, None]


# In L∞.


def _stripes(shape: tuple[int, ...], dtype: Any, key: Key) -> Array:
    return jax.random.rademacher(key, (1, *shape[1:]), dtype)


def _square_in_linf(key: Keys, side: Array, image: Array, x: Array, epsilon: Array) -> Array:
    """Images of which one square is at the edge of the ball, each channel at a random one."""
    height, width, channels = x.shape[1:]

    def square(key: Key) -> tuple[Array, Array]:
        key_place, key_sign = jax.random.split(key)
        covered = _covered(_corner(key_place, height, width, side), height, width, side)
        return covered, jax.random.rademacher(key_sign, (1, 1, channels), x.dtype)

    covered, sign = draw(key, square)
    edge = project(x + sign * epsilon, x, epsilon, norm="linf")
    return jnp.where(covered, edge, image)


# In L2.


class _Squares(NamedTuple):
    """Two squares, [h, w, 1] each, and ρ η, which has the length 1 in each channel of W₁."""

    first: Array
    second: Array
    change: Array


def _tiles(shape: tuple[int, ...], dtype: Any, key: Key) -> Array:
    """A change of length 1: tiles of random signs."""
    height, width, channels = shape
    side = max(min(height, width) // TILES, 1)
    rows, columns = height // side, width // side
    key_turn, key_sign = jax.random.split(key)
    turned = jax.random.bernoulli(key_turn, shape=(rows * columns,))[:, None, None]
    signs = jax.random.rademacher(key_sign, (rows * columns, channels), dtype)
    row, column = jnp.indices((side, side))
    tile = _bumps(row, column, side, dtype)
    tiles = jnp.where(turned, tile.T[None], tile[None])[..., None] * signs[:, None, None]
    tiles = tiles.reshape(rows, columns, side, side, channels).swapaxes(1, 2)
    left = [size - count * side for size, count in ((height, rows), (width, columns))]
    margins = [(rest // 2, rest - rest // 2) for rest in left]
    change = jnp.pad(tiles.reshape(rows * side, columns * side, channels), (*margins, (0, 0)))
    return change / jnp.sqrt(jnp.sum(change**2))


def _square_in_l2(key: Keys, side: Array, image: Array, x: Array, epsilon: Array) -> Array:
    """Images of which one square has taken over what another one had of ε: algorithm 3."""
    channels = x.shape[-1]
    first, second, change = draw(key, partial(_two_squares, x.shape[1:], side, x.dtype))
    nu = image - x
    unused = jnp.maximum(epsilon**2 - jnp.sum(nu**2, axis=(1, 2, 3), keepdims=True), 0)
    both = jnp.where(first | second, nu, 0)
    available = jnp.sqrt(jnp.sum(both**2, axis=(1, 2), keepdims=True) + unused / channels)
    mixed = _unit(change + _unit(jnp.where(first, nu, 0)))
    nu = jnp.where(first, available * mixed, jnp.where(second, 0, nu))
    return project(x + nu, x, epsilon, norm="l2")


def _two_squares(shape: tuple[int, ...], side: Array, dtype: Any, key: Key) -> _Squares:
    height, width, channels = shape
    key_first, key_second, key_turn, key_sign = jax.random.split(key, 4)
    corner = _corner(key_first, height, width, side)
    first = _covered(corner, height, width, side)
    second = _covered(_corner(key_second, height, width, side), height, width, side)
    row, column = jnp.indices((height, width)) - corner[:, None, None]
    turned = jax.random.bernoulli(key_turn)
    row, column = jnp.where(turned, column, row), jnp.where(turned, row, column)
    change = jnp.where(first, _bumps(row, column, side, dtype)[..., None], 0)
    sign = jax.random.rademacher(key_sign, (1, 1, channels), dtype)
    return _Squares(first, second, sign * change / jnp.sqrt(jnp.sum(change**2)))


def _bumps(row: Array, column: Array, side: Any, dtype: Any) -> Array:
    """η at pixels of a square, a bump over a dent, each half of it: eq. 2.

    `Σₖ 1 / (n + 1 − k)²` for k from 0 to n − d, where n is half the side, and d the distance from
    the center of the half, the larger one of rows and columns.
    """
    half = side // 2
    upper = row < half
    height = jnp.where(upper, half, side - half)
    distance = jnp.abs(jnp.where(upper, row, row - half) - height // 2)
    distance = jnp.maximum(distance, jnp.abs(column - half))
    terms = 1 / np.arange(1, max(row.shape) + 2) ** 2.0
    sums = jnp.asarray(np.concatenate([[0], np.cumsum(terms)]), dtype)
    size = sums[half + 1] - sums[distance]
    return jnp.where(upper, size, -size)


def _unit(change: Array) -> Array:
    """Each channel of each image divided by its length; 0 stays."""
    length = jnp.sqrt(jnp.sum(change**2, axis=(1, 2), keepdims=True))
    return change / jnp.where(length > 0, length, 1)
