"""The search of `nms`: exact greedy suppression by blocks, without data-dependent shapes."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

TOP_K_LIMIT = 512  # above it, sorting everything is faster than `top_k` on a CPU
BY_CLASS_LIMIT = 1024  # outputs above which testing only within a class outweighs an early end
LAST = np.int32(np.iinfo(np.int32).max)


class _Rows(NamedTuple):
    """Boxes in the order in which they are taken.

    Attributes:
        corners: x1, y1, x2, y2.
        area: not clamped, so negative for swapped corners.
        rank: place by falling score.
        label: class, if classes count.
    """

    corners: Float[Array, "4 n"]
    area: Float[Array, " n"]
    rank: Int[Array, " n"]
    label: Int[Array, " n"] | None


class Plan(NamedTuple):
    """How a kind of device searches best.

    Attributes:
        argsort: sorts int32 numbers, equal ones by rising index.
        resolve: decides which boxes of a block stay.
        block: boxes resolved together.
        tile: kept boxes against which a block is tested at once.
    """

    argsort: Callable[[Array], Array]
    resolve: Callable[[_Rows, Array, Array], tuple[Array, Array]]
    block: int
    tile: int


def search(
    boxes: Array,
    scores: Array,
    labels: Array | None,
    valid: Array,
    threshold: Array,
    *,
    plan: Plan,
    considered: int,
    max_outputs: int,
) -> tuple[Array, Array]:
    """Returns the indices of the boxes kept, `[max_outputs]`, and their number.

    What follows in the result after that number is arbitrary.

    Args:
        boxes: corners.
        scores: -inf where a box is dropped; no NaN, no -0.0.
        labels: classes, or None.
        valid: number of boxes to take, those of highest score.
        threshold: of the IoU.
        plan: how to search.
        considered: an upper bound of `valid`.
        max_outputs: number of results, at most `considered`.
    """
    order = _highest(scores, considered, plan)
    rank = jnp.arange(considered, dtype=jnp.int32)
    classes = labels if max_outputs > BY_CLASS_LIMIT else None
    if classes is not None:
        rank = plan.argsort(jnp.where(rank < valid, _take(classes, order), LAST))
    block = min(plan.block, round_up(considered, 32))
    rank = jnp.pad(rank, (0, round_up(considered, block) - considered))
    rows = _rows(boxes, labels, order, rank)
    by_class = classes is not None
    places = considered if by_class else max_outputs
    kept, count = _suppress(rows, valid, threshold, plan=plan, places=places, by_class=by_class)
    ranks = jnp.sort(kept) if by_class else kept
    found = _take(order, jnp.minimum(ranks[:max_outputs], considered - 1))
    return found, jnp.minimum(count, max_outputs)


def _suppress(
    rows: _Rows, valid: Array, threshold: Array, *, plan: Plan, places: int, by_class: bool
) -> tuple[Array, Array]:
    """Returns the ranks of the boxes kept, in the order in which they were taken, and their number.

    Takes the boxes in blocks: those that overlap a box kept earlier drop out, then `plan.resolve`
    decides among the rest. Ends when all places are taken. Where the rows are sorted by class, a
    block need not be tested against earlier classes.
    """
    block, tile = min(plan.block, rows.rank.shape[0]), min(plan.tile, places)
    capacity = round_up(places, tile)
    free = jnp.full(capacity, LAST)
    # Free places hold NaN, which overlaps nothing.
    nothing = jnp.full((4, capacity), jnp.nan, rows.corners.dtype)
    kept = _Rows(nothing, nothing[0], free, None if rows.label is None else free)

    def unfinished(state: tuple[Array, Array, _Rows]) -> Array:
        start, count, _ = state
        return (start < valid) & (count < places)

    def step(state: tuple[Array, Array, _Rows]) -> tuple[Array, Array, _Rows]:
        start, count, kept = state
        new = _slice(rows, start, block)
        alive = start + jnp.arange(block, dtype=jnp.int32) < valid
        first = _earlier_classes(kept, new) if by_class else 0
        test = functools.partial(_clear_of, kept=kept, new=new, threshold=threshold, tile=tile)
        alive = lax.fori_loop(first // tile, (count + tile - 1) // tile, test, alive)
        turn, number = plan.resolve(new, alive, threshold)
        place = jnp.where(turn < block, count + turn, capacity)
        kept = jax.tree.map(lambda x, y: x.at[..., place].set(y, mode="drop"), kept, new)
        return start + block, count + number, kept

    _, count, kept = lax.while_loop(unfinished, step, (jnp.int32(0), jnp.int32(0), kept))
    return kept.rank, count


def _clear_of(
    i: Array, alive: Array, *, kept: _Rows, new: _Rows, threshold: Array, tile: int
) -> Array:
    """Returns those of the new boxes alive that overlap none of the i-th tile of boxes kept."""
    return alive & ~jnp.any(_overlap(_slice(kept, i * tile, tile), new, threshold), axis=0)


def _earlier_classes(kept: _Rows, new: _Rows) -> Array:
    """Returns the number of boxes kept of classes before the first new one."""
    if kept.label is None or new.label is None:
        return jnp.int32(0)
    return jnp.sum(kept.label < new.label[0], dtype=jnp.int32)


def _pick(rows: _Rows, alive: Array, threshold: Array) -> tuple[Array, Array]:
    """Keeps the first box alive, drops what it overlaps, and so on: as many turns as boxes kept.

    Returns:
        The turn in which each box was kept, the size of the block if it was not; and their number.
    """
    size = alive.shape[0]
    index = jnp.arange(size, dtype=jnp.int32)

    def first(alive: Array) -> Array:
        return jnp.min(jnp.where(alive, index, size))

    def keep(state: tuple[Array, ...]) -> tuple[Array, ...]:
        alive, best, turn, number = state
        hit = _overlap(_slice(rows, best, 1), rows, threshold)[0]
        alive = alive & ~hit & (index > best)
        return alive, first(alive), jnp.where(index == best, number, turn), number + 1

    state = alive, first(alive), jnp.full_like(index, size), jnp.int32(0)
    _, _, turn, number = lax.while_loop(lambda state: state[1] < size, keep, state)
    return turn, number


def _fixed_point(rows: _Rows, alive: Array, threshold: Array) -> tuple[Array, Array]:
    """Keeps whatever no kept earlier box overlaps, from all alive on until nothing changes.

    After n rounds the first n boxes are right, so the greedy answer is the only fixed point. Chains
    in which each box suppresses the next are short, and so few parallel rounds suffice.

    Returns:
        As `_pick` does.
    """
    size = alive.shape[0]
    index = jnp.arange(size, dtype=jnp.int32)
    suppresses = _overlap(rows, rows, threshold) & (index[:, None] < index[None, :])

    def improve(state: tuple[Array, Array]) -> tuple[Array, Array]:
        keep, _ = state
        better = alive & ~jnp.any(suppresses & keep[:, None], axis=0)
        return better, jnp.any(better != keep)

    keep, _ = lax.while_loop(lambda state: state[1], improve, (alive, jnp.bool_(True)))
    turn = jnp.cumsum(keep, dtype=jnp.int32)
    return jnp.where(keep, turn - 1, size), turn[-1]


def _overlap(a: _Rows, b: _Rows, threshold: Array) -> Array:
    """Returns `[n, m]`: whether the IoU is above the threshold, and the labels are the same."""
    x1, y1, x2, y2 = (x[:, None] for x in a.corners)
    u1, v1, u2, v2 = (x[None, :] for x in b.corners)
    width = _maximum(jnp.zeros_like(x1), _minimum(x2, u2) - _maximum(x1, u1))
    height = _maximum(jnp.zeros_like(x1), _minimum(y2, v2) - _maximum(y1, v1))
    intersection = width * height
    # In this form, without a guard: NaN compares as false, as in torchvision.
    above = intersection / (a.area[:, None] + b.area[None, :] - intersection) > threshold
    if a.label is None or b.label is None:
        return above
    return above & (a.label[:, None] == b.label[None, :])


def _maximum(a: Array, b: Array) -> Array:
    # C++'s max. `jnp.maximum` passes NaN on from both sides and takes several times as long.
    return jnp.where(a < b, b, a)


def _minimum(a: Array, b: Array) -> Array:
    return jnp.where(b < a, b, a)


def _rows(boxes: Array, labels: Array | None, order: Array, rank: Array) -> _Rows:
    index = _take(order, rank)
    corners = _take(boxes, index).T
    x1, y1, x2, y2 = corners
    label = None if labels is None else _take(labels, index)
    return _Rows(corners, (x2 - x1) * (y2 - y1), rank, label)


def _take(x: Array, index: Array) -> Array:
    return x.at[index].get(mode="promise_in_bounds")  # a check would take longer than the reading


def _slice(rows: _Rows, start: Array, size: int) -> _Rows:
    return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, size, axis=-1), rows)


def _highest(scores: Array, number: int, plan: Plan) -> Array:
    """Returns the indices of the highest scores, falling, equal ones by rising index."""
    if number < min(scores.shape[0], TOP_K_LIMIT + 1):
        return lax.top_k(scores, number)[1]
    key = _falling_key(scores)
    return (plan.argsort if key.dtype == jnp.int32 else _argsort)(key)[:number]


def _argsort(keys: Array) -> Array:
    index = jnp.arange(keys.shape[0], dtype=jnp.int32)
    return lax.sort((keys, index), num_keys=1, is_stable=True)[1]


def _argsort_packed(keys: Array) -> Array:
    """Does the same for a CPU, which sorts single numbers ten times as fast as pairs."""
    with jax.enable_x64(True):
        packed = (keys.astype(jnp.int64) << 32) | lax.broadcasted_iota(jnp.int64, keys.shape, 0)
        return (lax.sort(packed, is_stable=False) & 0xFFFFFFFF).astype(jnp.int32)


def _falling_key(scores: Array) -> Array:
    """Returns signed integers that sort as the scores do in falling order."""
    bits = float_bits(scores)
    info = jnp.iinfo(bits.dtype)
    # The bits of negative floats rise with their magnitude.
    return ~(bits ^ ((bits >> (info.bits - 1)) & info.max))


def float_bits(x: Array) -> Array:
    """Returns floats of 32 or 64 bits as integers."""
    return lax.bitcast_convert_type(x, jnp.int32 if x.dtype.itemsize == 4 else jnp.int64)


def round_up(number: int, multiple: int) -> int:
    """Returns the smallest multiple that is not below the number."""
    return -(-number // multiple) * multiple


ON_CPU = Plan(_argsort_packed, _pick, block=128, tile=32)
ELSEWHERE = Plan(_argsort, _fixed_point, block=2048, tile=2048)
