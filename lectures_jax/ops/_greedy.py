"""The search of `nms`: exact greedy suppression by blocks, without data-dependent shapes.

1. Sort the boxes by falling score; for many outputs of several classes by class first.
2. Take the next block. Drop from it what a box kept from an earlier block suppresses: compare the
   block with the boxes kept so far, one tile of them after the other.
3. Decide which boxes of the rest stay: each one suppresses those after it in the block.
4. Append these to the boxes kept. Go on with 2 until enough are kept or no box is left.

One box suppresses another if the measure of their overlap, by default the IoU, is above a
threshold, and their classes are the same.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from lectures_jax.ops._measures import Candidates, Measure, intersection_over_union

TOP_K_LIMIT = 512  # above it, sorting everything is faster than `top_k` on a CPU
BY_CLASS_LIMIT = 1024  # outputs above which testing only within a class outweighs an early end
LAST = np.int32(np.iinfo(np.int32).max)


Suppresses = Callable[[Candidates, Candidates], Array]
"""Whether each of n boxes suppresses each of m boxes if it is taken first, `[n, m]`."""


class Plan(NamedTuple):
    """How a kind of device searches best.

    Attributes:
        argsort: sorts int32 numbers, equal ones by rising index.
        resolve: decides which boxes of a block stay. Returns for each its number among those
            that stay, the size of the block if it does not; and how many stay.
        block: boxes resolved together, a multiple of 32.
        tile: kept boxes with which a block is compared at once.
    """

    argsort: Callable[[Array], Array]
    resolve: Callable[[Candidates, Array, Suppresses], tuple[Array, Array]]
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
    measure: Measure = intersection_over_union,
) -> tuple[Array, Array]:
    """Returns the indices of the boxes kept, `[max_outputs]`, and their number.

    What follows in the result after that number is arbitrary.

    Args:
        boxes: corners, `[n, 4]`.
        scores: -inf where a box is dropped; no NaN, no -0.0.
        labels: classes, or None.
        valid: number of boxes to take, those of highest score.
        threshold: of the measure; a box is suppressed above it.
        plan: how to search.
        considered: an upper bound of `valid`.
        max_outputs: number of results, at most `considered`.
        measure: how much two boxes overlap.
    """

    def suppresses(a: Candidates, b: Candidates) -> Array:
        above = measure(a, b) > threshold
        if a.label is None or b.label is None:
            return above
        return above & (a.label[:, None] == b.label[None, :])

    order = _by_falling_score(scores, considered, plan)
    rank = jnp.arange(considered, dtype=jnp.int32)
    classes = labels if max_outputs > BY_CLASS_LIMIT else None
    if classes is not None:
        rank = plan.argsort(jnp.where(rank < valid, _take(classes, order), LAST))
    block = min(plan.block, round_up(considered, 32))
    rank = jnp.pad(rank, (0, round_up(considered, block) - considered))
    candidates = _candidates(boxes, labels, order, rank)
    suppress = functools.partial(_suppress, candidates, valid, suppresses, plan=plan, block=block)
    if classes is None:
        ranks, count = suppress(capacity=max_outputs, by_class=False)
    else:  # which boxes are the best of all classes is known at the end only
        ranks, count = suppress(capacity=considered, by_class=True)
        ranks = jnp.sort(ranks)
    indices = _take(order, jnp.minimum(ranks[:max_outputs], considered - 1))
    return indices, jnp.minimum(count, max_outputs)


def _suppress(
    candidates: Candidates,
    valid: Array,
    suppresses: Suppresses,
    *,
    plan: Plan,
    block: int,
    capacity: int,
    by_class: bool,
) -> tuple[Array, Array]:
    """Returns the ranks of the boxes kept, in the order in which they were taken, and their number.

    Ends when `capacity` boxes are kept. Where the candidates are sorted by class, a block need not
    be compared with boxes of earlier classes.
    """
    tile = min(plan.tile, capacity)

    def unfinished(state: tuple[Array, Array, Candidates]) -> Array:
        start, count, _ = state
        return (start < valid) & (count < capacity)

    def step(state: tuple[Array, Array, Candidates]) -> tuple[Array, Array, Candidates]:
        start, count, kept = state
        new = _slice(candidates, start, block)

        def compare(i: Array, alive: Array) -> Array:
            return alive & ~jnp.any(suppresses(_slice(kept, i * tile, tile), new), axis=0)

        first = _count_of_earlier_classes(kept, new) if by_class else 0
        alive = start + jnp.arange(block, dtype=jnp.int32) < valid
        alive = lax.fori_loop(first // tile, (count + tile - 1) // tile, compare, alive)
        position, number = plan.resolve(new, alive, suppresses)
        slot = jnp.where(position < block, count + position, kept.rank.shape[0])
        kept = jax.tree.map(lambda x, y: x.at[..., slot].set(y, mode="drop"), kept, new)
        return start + block, count + number, kept

    nothing = _nothing_kept(candidates, round_up(capacity, tile))
    start = jnp.int32(0), jnp.int32(0), nothing
    _, count, kept = lax.while_loop(unfinished, step, start)
    return kept.rank, count


def _nothing_kept(like: Candidates, capacity: int) -> Candidates:
    """Returns free slots; they hold NaN, which overlaps nothing."""
    free = jnp.full(capacity, LAST)
    nothing = jnp.full((4, capacity), jnp.nan, like.corners.dtype)
    return Candidates(nothing, nothing[0], free, None if like.label is None else free)


def _count_of_earlier_classes(kept: Candidates, new: Candidates) -> Array:
    """Returns the number of boxes kept of classes before the first new one."""
    if kept.label is None or new.label is None:
        return jnp.int32(0)
    return jnp.sum(kept.label < new.label[0], dtype=jnp.int32)


def _resolve_one_by_one(
    block: Candidates, alive: Array, suppresses: Suppresses
) -> tuple[Array, Array]:
    """Keeps the first box alive, drops what it suppresses, and so on: one round per box kept."""
    size = alive.shape[0]
    index = jnp.arange(size, dtype=jnp.int32)

    def first(alive: Array) -> Array:
        return jnp.min(jnp.where(alive, index, size))

    def keep(state: tuple[Array, ...]) -> tuple[Array, ...]:
        alive, best, position, number = state
        suppressed = suppresses(_slice(block, best, 1), block)[0]
        alive = alive & ~suppressed & (index > best)
        return alive, first(alive), jnp.where(index == best, number, position), number + 1

    state = alive, first(alive), jnp.full_like(index, size), jnp.int32(0)
    _, _, position, number = lax.while_loop(lambda state: state[1] < size, keep, state)
    return position, number


def _resolve_by_fixed_point(
    block: Candidates, alive: Array, suppresses: Suppresses
) -> tuple[Array, Array]:
    """Keeps whatever no kept earlier box suppresses, from all alive on until nothing changes.

    After n rounds the first n boxes are right, so the greedy answer is the only fixed point. Chains
    in which each box suppresses the next are short, and so few parallel rounds suffice.
    """
    size = alive.shape[0]
    index = jnp.arange(size, dtype=jnp.int32)
    earlier_suppresses = suppresses(block, block) & (index[:, None] < index[None, :])

    def improve(state: tuple[Array, Array]) -> tuple[Array, Array]:
        keep, _ = state
        better = alive & ~jnp.any(earlier_suppresses & keep[:, None], axis=0)
        return better, jnp.any(better != keep)

    keep, _ = lax.while_loop(lambda state: state[1], improve, (alive, jnp.bool_(True)))
    number = jnp.cumsum(keep, dtype=jnp.int32)
    return jnp.where(keep, number - 1, size), number[-1]


def _candidates(boxes: Array, labels: Array | None, order: Array, rank: Array) -> Candidates:
    index = _take(order, rank)
    corners = _take(boxes, index).T
    x1, y1, x2, y2 = corners
    label = None if labels is None else _take(labels, index)
    return Candidates(corners, (x2 - x1) * (y2 - y1), rank, label)


def _take(x: Array, index: Array) -> Array:
    return x.at[index].get(mode="promise_in_bounds")  # a check would take longer than the reading


def _slice(candidates: Candidates, start: Array, size: int) -> Candidates:
    return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, size, axis=-1), candidates)


def _by_falling_score(scores: Array, number: int, plan: Plan) -> Array:
    """Returns the indices of the highest scores, falling, equal ones by rising index."""
    if number <= TOP_K_LIMIT and number < scores.shape[0]:
        return lax.top_k(scores, number)[1]
    key = _falling_key(scores)
    return (plan.argsort if key.dtype == jnp.int32 else _argsort)(key)[:number]


def _argsort(keys: Array) -> Array:
    index = jnp.arange(keys.shape[0], dtype=jnp.int32)
    return lax.sort((keys, index), num_keys=1, is_stable=True)[1]


def _argsort_packed(keys: Array) -> Array:
    """Does the same as `_argsort`, for a CPU, which sorts numbers ten times as fast as pairs."""
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


ON_CPU = Plan(_argsort_packed, _resolve_one_by_one, block=128, tile=32)
ELSEWHERE = Plan(_argsort, _resolve_by_fixed_point, block=2048, tile=2048)
