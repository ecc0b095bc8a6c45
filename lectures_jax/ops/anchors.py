"""Anchors: the typical sizes of a data set's boxes."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from lectures_jax.ops.yolo import shape_iou


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


def kmeans_anchors(
    key: Key[Array, ""], sizes: Float[Array, "n 2"], *, k: int, iterations: int = 100
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
        ValueError: if there are no sizes, or `k` is below 1.

    Source:
        Redmon & Farhadi (2017), sec. 2; Arthur & Vassilvitskii (2007).
    """
    if not len(sizes) or k < 1:
        raise ValueError(
            f"sizes must hold at least one box and k be positive, got {sizes.shape}, {k}."
        )
    return _kmeans(key, sizes, k=k, iterations=iterations)


@partial(jax.jit, static_argnames=("k", "iterations"))
def _kmeans(key: Array, sizes: Array, *, k: int, iterations: int) -> Array:
    first, *others = jax.random.split(key, k)
    anchors = sizes[jax.random.randint(first, (1,), 0, len(sizes))]
    for step in others:
        distance = 1 - best_anchor_iou(sizes, anchors)
        # The offset leaves something to draw from when every box is an anchor already.
        weight = jnp.square(jnp.maximum(distance, 0)) + jnp.finfo(sizes.dtype).tiny
        anchors = jnp.concatenate(
            [anchors, sizes[jax.random.categorical(step, jnp.log(weight))][None]]
        )

    def moving(state):
        step, anchors, previous = state
        return (step < iterations) & jnp.any(anchors != previous)

    def move(state):
        step, anchors, _ = state
        return step + 1, _update(sizes, anchors), anchors

    anchors = lax.while_loop(moving, move, (0, anchors, jnp.zeros_like(anchors)))[1]
    return anchors[jnp.argsort(anchors[:, 0] * anchors[:, 1])]


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
