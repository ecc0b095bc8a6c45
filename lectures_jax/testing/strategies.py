"""Hypothesis strategies for the arrays that functions of this kind take.

    from hypothesis import given
    from lectures_jax.testing import strategies

    @given(boxes=strategies.boxes(8))
    def test_areas_are_not_negative(boxes): ...

All are NumPy arrays of one shape, so that a compiled function is compiled once. Each strategy mixes
ordinary values with the ones that break functions: ties, constants, ends of the range, boxes
without area. They shrink towards zeros.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import SearchStrategy
except ModuleNotFoundError as error:
    raise ImportError(
        f"lectures_jax.testing.strategies needs {error.name}: pip install 'lectures_jax[test]'"
    ) from error

SPREADS = ("fine", "coarse", "ends", "constant")
BOX_KINDS = ("plain", "plain", "plain", "point", "line", "copy", "nested", "touching", "huge")
GRID = 4  # of box coordinates, in steps per pixel: sums and areas are exact in float32


def reals(
    shape: Sequence[int], *, low: int | float = -10, high: int | float = 10
) -> SearchStrategy[np.ndarray]:
    """Draws float32 numbers in [low, high]: spread finely or coarsely, at the ends, or all equal.

    Args:
        shape: of the array.
        low: smallest value.
        high: largest value.
    """
    zero = min(max(0.0, low), high)

    def build(drawn: tuple[np.ndarray, str]) -> np.ndarray:
        codes, spread = drawn
        share = codes / 65535
        if spread == "coarse":
            share = np.floor(share * 8.999) / 8
        elif spread == "ends":
            share = np.floor(share * 2.999) / 2
        elif spread == "constant":
            share = np.full_like(share, share.flat[0] if share.size else 0)
        # The first half of the codes rises from zero, the other falls from it: 0 shrinks to zero.
        up, down = zero + (high - zero) * 2 * share, zero + (low - zero) * (2 * share - 1)
        values = np.where(share <= 0.5, up, down)
        if low == zero or high == zero:
            values = zero + (low + high - 2 * zero) * share
        return np.asarray(np.clip(values, low, high), np.float32)

    return st.tuples(_codes(shape), st.sampled_from(SPREADS)).map(build)


def images(shape: Sequence[int]) -> SearchStrategy[np.ndarray]:
    """Draws images in [0, 1], also black, white, of one gray, and of black and white cells only.

    Args:
        shape: of the array, such as (batch, height, width, channels).
    """
    return reals(shape, low=0.0, high=1.0)


def logits(shape: Sequence[int], *, limit: int | float = 1e4) -> SearchStrategy[np.ndarray]:
    """Draws scores of a network: of a few units, all equal, or as far out as ±limit.

    Args:
        shape: of the array.
        limit: largest absolute value.
    """
    return st.one_of(reals(shape, low=-4.0, high=4.0), reals(shape, low=-limit, high=limit))


def probabilities(shape: Sequence[int]) -> SearchStrategy[np.ndarray]:
    """Draws numbers in [0, 1], the ends included.

    Args:
        shape: of the array.
    """
    return reals(shape, low=0.0, high=1.0)


def scores(count: int) -> SearchStrategy[np.ndarray]:
    """Draws confidences in [0, 1], many of them equal.

    Args:
        count: length of the array.
    """
    return reals((count,), low=0.0, high=1.0)


def distinct_scores(count: int) -> SearchStrategy[np.ndarray]:
    """Draws confidences in (0, 1) of which no two are equal.

    Args:
        count: length of the array.
    """
    ranks = st.permutations(range(count)).map(lambda order: np.asarray(order, np.float32))
    return ranks.map(lambda rank: (rank + 1) / np.float32(count + 1))


def labels(shape: int | Sequence[int], *, classes: int) -> SearchStrategy[np.ndarray]:
    """Draws int32 class numbers in [0, classes).

    Args:
        shape: of the array, or its length.
        classes: number of classes.
    """
    shape = (shape,) if isinstance(shape, int) else shape
    return _codes(shape).map(lambda codes: (codes % classes).astype(np.int32))


def masks(shape: int | Sequence[int]) -> SearchStrategy[np.ndarray]:
    """Draws bool arrays: mixed, all true, or all false.

    Args:
        shape: of the array, or its length.
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    mixed = _codes(shape).map(lambda codes: codes % 2 == 1)
    return st.one_of(mixed, mixed, st.sampled_from([np.zeros(shape, bool), np.ones(shape, bool)]))


def divided_masks(count: int) -> SearchStrategy[np.ndarray]:
    """Draws bool arrays with at least one true and one false entry.

    Args:
        count: length of the array, at least 2.
    """

    def build(drawn: tuple[np.ndarray, int, int]) -> np.ndarray:
        mask, yes, no = drawn[0].copy(), drawn[1], (drawn[1] + 1 + drawn[2]) % count
        mask[yes], mask[no] = True, False
        return mask

    return st.tuples(masks(count), st.integers(0, count - 1), st.integers(0, count - 2)).map(build)


def boxes(
    count: int, *, size: int = 64, kinds: tuple[str, ...] = BOX_KINDS
) -> SearchStrategy[np.ndarray]:
    """Draws corners x1, y1, x2, y2 with x1 ≤ x2 and y1 ≤ y2, on a grid of quarters of a pixel.

    Args:
        count: number of boxes.
        size: height and width of the image in which ordinary boxes lie.
        kinds: what a box may be. "plain"; a "point" or a "line" without area; a "copy" of the box
            before it, "nested" in that or "touching" it at the right; "huge", 1,024 images large.
    """

    def build(drawn: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        codes, chosen = drawn
        steps = GRID * size
        low = codes[:, :2] % steps
        high = low + 1 + codes[:, 2:] % np.maximum(steps - low, 1)
        rows = np.concatenate([low, high], axis=1).astype(np.float32) / GRID
        for index, code in enumerate(chosen):
            before = rows[index - 1] if index else np.array([0, 0, size, size], np.float32)
            rows[index] = _box(kinds[code % len(kinds)], rows[index], before, size)
        return rows

    return st.tuples(_codes((count, 4)), _codes((count,))).map(build)


def sizes(count: int, *, most: int = 64) -> SearchStrategy[np.ndarray]:
    """Draws widths and heights of boxes in pixels, at least 1.

    Args:
        count: number of sizes.
        most: largest width and height.
    """
    return _codes((count, 2)).map(lambda codes: (1 + codes % most).astype(np.float32))


def signal_ratios(shape: Sequence[int]) -> SearchStrategy[np.ndarray]:
    """Draws signal ratios ᾱ in [0.01, 0.99], where image and noise can both be recovered.

    Args:
        shape: of the array.
    """
    return reals(shape, low=0.01, high=0.99)


def noise_schedules(steps: int) -> SearchStrategy[np.ndarray]:
    """Draws schedules of the signal ratio: strictly falling, in (0, 1).

    Args:
        steps: length of the schedule.
    """

    def build(codes: np.ndarray) -> np.ndarray:
        kept = 0.999 - 0.5 * codes / 65535
        return np.cumprod(kept).astype(np.float32)

    return _codes((steps,)).map(build)


def invertible_matrices(size: int) -> SearchStrategy[np.ndarray]:
    """Draws square matrices whose rows are permuted products of triangular ones.

    The pivots are between ½ and 2 in absolute value and the other entries at most ½, so that the
    inverse is accurate.

    Args:
        size: rows and columns.
    """

    def build(drawn: Any) -> np.ndarray:
        entries, pivots, order = drawn
        lower = np.tril(entries, -1) + np.eye(size)
        upper = np.triu(entries, 1) + np.diag(np.sign(pivots) * np.exp2(np.abs(pivots) - 1))
        return (lower @ upper)[order].astype(np.float32)

    entries = reals((size, size), low=-0.5, high=0.5)
    pivots = reals((size,), low=-2.0, high=2.0).map(lambda x: np.where(x == 0, np.float32(1), x))
    return st.tuples(entries, pivots, st.permutations(range(size))).map(build)


def _codes(shape: Sequence[int]) -> SearchStrategy[np.ndarray]:
    """Draws integers in [0, 65535]: one row of bytes, which is far faster than number by number."""
    length = 2 * math.prod(shape)
    drawn: Any = st.binary(min_size=length, max_size=length)
    return drawn.map(lambda data: np.frombuffer(data, np.uint16).reshape(shape).astype(np.int64))


def _box(kind: str, box: np.ndarray, before: np.ndarray, size: int) -> np.ndarray:
    """Returns a box of one of `BOX_KINDS`, made of an ordinary one and the one before it."""
    match kind:
        case "point":
            return np.concatenate([box[:2], box[:2]])
        case "line":
            return np.concatenate([box[:3], box[1:2]])
        case "copy":
            return before
        case "nested":
            quarter = np.floor((before[2:] - before[:2]) * GRID / 4) / GRID
            return np.concatenate([before[:2] + quarter, before[2:] - quarter])
        case "touching":
            width = box[2] - box[0]
            return np.array([before[2], before[1], before[2] + width, before[3]], np.float32)
        case "huge":
            return np.array([-512, -512, 512, 512], np.float32) * size
        case "plain":
            return box
    raise ValueError(f"kinds must be among {', '.join(sorted(set(BOX_KINDS)))}, got {kind!r}.")
