"""Anchors: the typical sizes of a data set's boxes."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from lectures_jax.ops._precision import in_float32
from lectures_jax.ops.yolo import shape_iou
from lectures_jax.typing import check_count, check_range, checked


@checked
@in_float32
def best_anchor_iou(sizes: Float[Array, "n 2"], anchors: Float[Array, "k 2"]) -> Float[Array, " n"]:
    """Returns the IoU of each box with the anchor that fits it best, as boxes with a common center.

    Args:
        sizes: widths and heights of the boxes, in pixels.
        anchors: widths and heights of the anchors, at least one, in the same unit.

    Returns:
        Values in [0, 1].

    Raises:
        ValueError: if there is no anchor.

    Source:
        Redmon & Farhadi (2017), table 1 ("Avg IOU").
    """
    if not len(anchors):
        raise ValueError(f"anchors must hold at least one size, got shape {anchors.shape}.")
    return jnp.max(shape_iou(sizes, anchors), axis=1)


@checked
def kmeans_anchors(
    key: Key[Array, ""],
    sizes: Float[Array, "n 2"],
    *,
    k: int,
    iterations: int | Int[Array, ""] = 100,
) -> Float[Array, "{k} 2"]:
    """Returns `k` typical sizes of boxes, by k-means with the distance `1 − IoU` of centered boxes.

    It is initialized by k-means++: each further anchor is a box drawn in proportion to its squared
    distance from the nearest anchor so far. A cluster that loses all its boxes restarts at the box
    of least overlap with its anchor. With fewer different sizes than anchors, some anchors are
    equal.

    Args:
        key: for the initialization.
        sizes: widths and heights of the boxes, at least one, positive, in pixels.
        k: number of anchors.
        iterations: most iterations of Lloyd's algorithm, which ends earlier when no anchor changes.

    Returns:
        Widths and heights of the anchors by rising area.

    Raises:
        ValueError: if there are no sizes, `k` is below 1, or `iterations` is negative.

    Source:
        Redmon & Farhadi (2017), sec. 2; Arthur & Vassilvitskii (2007).
    """
    check_count(k=k)
    check_range(iterations=iterations, low=0)
    if not len(sizes):
        raise ValueError(f"sizes must hold at least one box, got shape {sizes.shape}.")
    return _kmeans(key, sizes, iterations, k=k)


@partial(jax.jit, static_argnames="k")
@in_float32
def _kmeans(key: Array, sizes: Array, iterations: int | Array, *, k: int) -> Array:
    anchors = _distant_boxes(key, sizes, k)

    def moving(state):
        step, anchors, previous = state
        return (step < iterations) & jnp.any(anchors != previous)

    def move(state):
        step, anchors, _ = state
        return step + 1, _update(sizes, anchors), anchors

    anchors = lax.while_loop(moving, move, (0, anchors, jnp.zeros_like(anchors)))[1]
    return anchors[jnp.argsort(anchors[:, 0] * anchors[:, 1])]


def _distant_boxes(key: Array, sizes: Array, k: int) -> Array:
    """Returns `k` boxes, each drawn in proportion to its squared distance from those before it."""
    keys = jax.random.split(key, k)

    def draw(distance: Array, key: Array) -> tuple[Array, Array]:
        # The offset leaves something to draw from when every box is an anchor already.
        weight = jnp.square(jnp.maximum(distance, 0)) + jnp.finfo(sizes.dtype).tiny
        chosen = sizes[jax.random.categorical(key, jnp.log(weight))]
        return jnp.minimum(distance, distance_from(chosen)), chosen

    def distance_from(anchor: Array) -> Array:
        return 1 - shape_iou(sizes, anchor[None])[:, 0]

    first = sizes[jax.random.randint(keys[0], (), 0, len(sizes))]
    _, others = lax.scan(draw, distance_from(first), keys[1:])
    return jnp.concatenate([first[None], others])


def _update(sizes: Float[Array, "n 2"], anchors: Float[Array, "k 2"]) -> Float[Array, "k 2"]:
    """Returns the mean of each anchor's boxes; without boxes, the box of least overlap."""
    overlap = shape_iou(sizes, anchors)
    member = jax.nn.one_hot(jnp.argmax(overlap, axis=1), len(anchors), dtype=sizes.dtype)
    count = member.sum(axis=0)
    mean = member.T @ sizes / jnp.maximum(count, 1)[:, None]
    # Several empty clusters go to different boxes: the worst, the second worst, ...
    worst = jnp.argsort(jnp.max(overlap, axis=1))
    rank = jnp.cumsum(count == 0) - 1
    return jnp.where((count > 0)[:, None], mean, sizes[worst[rank % len(sizes)]])
