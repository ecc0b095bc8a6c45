"""The merging of regions: a loop of fixed size over slots, the two most similar ones first."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lectures_jax.ops._texture import BINS

COLORS = 25  # bins of a channel


class SimilarityWeights(NamedTuple):
    """Weights of the four measures of similarity; the similarity is their weighted mean.

    Attributes:
        color: of the intersection of the histograms of color.
        fill: of the share of the image that two regions do not leave empty in their common box.
        texture: of the intersection of the histograms of derivatives.
        size: of the share of the image that two regions do not cover: the small ones merge first.
    """

    color: int | float = 1.0
    fill: int | float = 1.0
    texture: int | float = 1.0
    size: int | float = 1.0


class Regions(NamedTuple):
    """The regions of a hierarchy: those of a label map, then each as it was merged of two.

    Attributes:
        boxes: corners around the region, in pixels, 0 where not valid.
        level: 1 for a region of the label map, else one more than the higher of its two parts.
        parent: the region that it was merged into, -1 where there is none.
        valid: which entries are regions and not padding.
    """

    boxes: Float[Array, "*b r 4"]
    level: Int[Array, "*b r"]
    parent: Int[Array, "*b r"]
    valid: Bool[Array, "*b r"]


class Start(NamedTuple):
    """The regions of a label map, each in the slot of its label.

    Attributes:
        sizes: pixels.
        corners: x1, y1, x2, y2.
        color: histograms, None where no weight asks for them.
        texture: histograms, None where no weight asks for them.
        touching: which regions are neighbors.
    """

    sizes: Int[Array, " n"]
    corners: Int[Array, "4 n"]
    color: Float[Array, "k n"] | None
    texture: Float[Array, "k n"] | None
    touching: Bool[Array, "n n"]


class _State(NamedTuple):
    """The regions that exist at the moment, each in one of n slots, and all that there were."""

    sizes: Int[Array, " n"]
    corners: Int[Array, "4 n"]
    histograms: tuple[Float[Array, "k n"], ...]
    similarity: Float[Array, "n n"]
    best: Float[Array, " n"]
    region: Int[Array, " n"]
    number: Int[Array, ""]
    regions: Regions


def color_bins(levels: Int[Array, "h w c"]) -> Int[Array, "h w c"]:
    """Returns the bin, in [0, 25), of each channel of 8 bits."""
    return levels * COLORS // 256


def merge_by(
    labels: Array,
    color: Array | None,
    texture: Array | None,
    *,
    n: int,
    weights: Sequence[SimilarityWeights],
) -> Regions:
    """Returns the regions for each of the weights; color and texture are the bins of each pixel."""
    first = _start(labels, color, texture, n=n)
    several = [_merge(first, pixels=labels.size, weights=each) for each in weights]
    regions = jax.tree.map(lambda *each: jnp.stack(each), *several)
    return regions._replace(boxes=jnp.where(regions.valid[..., None], regions.boxes, 0))


@functools.partial(jax.jit, static_argnames="n")
def _start(labels: Array, color: Array | None, texture: Array | None, *, n: int) -> Start:
    """Measures the regions of a label map, of which those of label n are none."""
    height, width = labels.shape
    flat = labels.ravel()
    rows, columns = (
        jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32).reshape(shape), labels.shape).ravel()
        for size, shape in ((height, (-1, 1)), (width, (1, -1)))
    )
    low = [jnp.full(n, 1 << 30, jnp.int32).at[flat].min(v, mode="drop") for v in (columns, rows)]
    high = [jnp.zeros(n, jnp.int32).at[flat].max(v + 1, mode="drop") for v in (columns, rows)]
    return Start(
        jnp.zeros(n, jnp.int32).at[flat].add(1, mode="drop"),
        jnp.stack([*low, *high]),
        None if color is None else _histogram(flat, color, n, COLORS),
        None if texture is None else _histogram(flat, texture, n, BINS),
        _neighbors(labels, n),
    )


@functools.partial(jax.jit, static_argnames=("pixels", "weights"))
def _merge(start: Start, *, pixels: int, weights: SimilarityWeights) -> Regions:
    """Merges regions until no two of them touch; boxes in int32."""
    n, later = start.sizes.size, start.sizes.size - 1
    there = start.sizes > 0
    regions = Regions(
        jnp.pad(start.corners.T, ((0, later), (0, 0))),
        jnp.pad(there.astype(jnp.int32), (0, later)),
        jnp.full(n + later, -1, jnp.int32),
        jnp.pad(there, (0, later)),
    )
    histograms = [(weights.color, start.color), (weights.texture, start.texture)]
    slots = jnp.arange(n, dtype=jnp.int32)
    state = _State(
        start.sizes,
        start.corners,
        tuple(h for weight, h in histograms if weight and h is not None),
        jnp.zeros((n, n)),
        jnp.zeros(n),
        slots,
        jnp.int32(n),
        regions,
    )
    compare = functools.partial(_similarity, pixels=float(pixels), weights=weights)
    everything = lax.map(functools.partial(compare, state), slots)
    similarity = jnp.where(start.touching, everything, -jnp.inf)
    state = state._replace(similarity=similarity, best=jnp.max(similarity, axis=0))
    end = lax.while_loop(
        lambda state: jnp.max(state.best) > -jnp.inf,
        functools.partial(_merge_two, compare=compare),
        state,
    )
    return end.regions


def _histogram(labels: Array, bins: Array, n: int, most: int) -> Float[Array, "k n"]:
    """Returns the share of each bin of each channel in all values of a region."""
    bins = bins.reshape(labels.size, -1)
    channels = bins.shape[1]
    places = (bins + most * jnp.arange(channels, dtype=jnp.int32)[None]) * (n + 1)
    places = places + labels[:, None]
    counts = jnp.zeros(channels * most * (n + 1), jnp.int32).at[places.ravel()].add(1)
    counts = counts.reshape(-1, n + 1)[:, :n].astype(jnp.float32)
    return counts / jnp.maximum(jnp.sum(counts, axis=0, keepdims=True), 1)


def _neighbors(labels: Array, n: int) -> Bool[Array, "n n"]:
    """Returns which regions touch."""
    here = labels[1:, 1:].ravel()
    touching = jnp.zeros((n, n), bool)
    for other in (labels[1:, :-1], labels[:-1, 1:], labels[:-1, :-1]):
        touching = touching.at[here, other.ravel()].set(True, mode="drop")
    return (touching | touching.T) & ~jnp.eye(n, dtype=bool)


def _similarity(
    state: _State, slot: Array, *, pixels: float, weights: SimilarityWeights
) -> Float[Array, " n"]:
    """Returns how similar the region of a slot is to that of every slot."""
    sizes = (state.sizes + state.sizes[slot]).astype(jnp.float32)
    histograms = iter(state.histograms)
    parts = []
    if weights.color:
        parts.append((weights.color, _intersection(next(histograms), slot)))
    if weights.fill:
        corners = state.corners[:, slot][:, None]
        low = jnp.minimum(state.corners[:2], corners[:2])
        sides = jnp.maximum(state.corners[2:], corners[2:]) - low
        empty = (sides[0] * sides[1]).astype(jnp.float32) - sizes
        parts.append((weights.fill, jnp.clip(1 - empty / pixels, 0, 1)))
    if weights.texture:
        parts.append((weights.texture, _intersection(next(histograms), slot)))
    if weights.size:
        parts.append((weights.size, jnp.clip(1 - sizes / pixels, 0, 1)))
    total = jnp.zeros_like(sizes)
    for weight, part in parts:
        total = total + weight * part
    return total / sum(weights)


def _intersection(histogram: Float[Array, "k n"], slot: Array) -> Float[Array, " n"]:
    return jnp.sum(jnp.minimum(histogram, histogram[:, slot][:, None]), axis=0)


def _merge_two(state: _State, *, compare: functools.partial) -> _State:
    """Merges the most similar pair into the slot of the one that comes first."""
    one = jnp.argmax(state.best)
    other = jnp.argmax(state.similarity[one])
    into, gone = jnp.minimum(one, other), jnp.maximum(one, other)
    sizes = state.sizes[into] + state.sizes[gone]
    a, b = (state.sizes[k].astype(jnp.float32) for k in (into, gone))
    histograms = tuple(
        h.at[:, into].set((h[:, into] * a + h[:, gone] * b) / (a + b)) for h in state.histograms
    )
    low, high = (
        f(state.corners[rows, into], state.corners[rows, gone])
        for f, rows in ((jnp.minimum, slice(2)), (jnp.maximum, slice(2, 4)))
    )
    corners = jnp.concatenate([low, high])
    state = state._replace(
        sizes=state.sizes.at[into].set(sizes),
        corners=state.corners.at[:, into].set(corners),
        histograms=histograms,
        regions=_added(state, into, gone, corners),
        region=state.region.at[into].set(state.number),
        number=state.number + 1,
    )
    touching = jnp.maximum(state.similarity[into], state.similarity[gone]) > -jnp.inf
    row = jnp.where(touching, compare(state, into), -jnp.inf)
    row = row.at[into].set(-jnp.inf).at[gone].set(-jnp.inf)
    similarity = state.similarity.at[gone].set(-jnp.inf).at[:, gone].set(-jnp.inf)
    similarity = similarity.at[into].set(row).at[:, into].set(row)
    # Of a symmetric matrix, and along the rows XLA's maximum is not vectorized.
    return state._replace(similarity=similarity, best=jnp.max(similarity, axis=0))


def _added(state: _State, into: Array, gone: Array, corners: Array) -> Regions:
    """Returns the regions and the new one, which is made of two."""
    regions, number = state.regions, state.number
    parts = state.region[jnp.stack([into, gone])]
    return Regions(
        regions.boxes.at[number].set(corners),
        regions.level.at[number].set(jnp.max(regions.level[parts]) + 1),
        regions.parent.at[parts].set(number),
        regions.valid.at[number].set(True),
    )
