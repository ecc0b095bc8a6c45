"""Non-maximum suppression: of boxes that overlap, only the one with the highest score stays."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Bool, Float, Int

from lectures_jax.ops._greedy import ELSEWHERE, ON_CPU, float_bits, search
from lectures_jax.ops._measures import Measure, distance_iou, intersection_over_union
from lectures_jax.ops._precision import upcast
from lectures_jax.ops._thresholds import overlap_limit, score_limit
from lectures_jax.ops.boxes import iou
from lectures_jax.typing import check_count, check_positive, checked


class Selection(NamedTuple):
    """Which boxes were kept, by falling score, padded to a fixed number.

    Attributes:
        indices: rows of the input, -1 where not valid.
        scores: scores of these boxes, 0 where not valid.
        valid: which entries are boxes and not padding.
        exact: False only if the cut to `candidates` removed boxes that could have been kept.
    """

    indices: Int[Array, "*b k"]
    scores: Float[Array, "*b k"]
    valid: Bool[Array, "*b k"]
    exact: Bool[Array, "*b"]


@checked
def nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    labels: Int[Array, " n"] | None = None,
    *,
    max_outputs: int,
    iou_threshold: int | float | Float[Array, ""] = 0.5,
    score_threshold: int | float | Float[Array, ""] = -np.inf,
    candidates: int | None = None,
) -> Selection:
    """Keeps, by falling score, each box that overlaps no box kept before it.

    Boxes of equal score are taken in the order of their indices. On a CPU the result is
    torchvision's, to the last box, also where corners are swapped: areas are not clamped. For a
    batch of images use `jax.vmap`. The scores have a gradient, the choice has none.

    Args:
        boxes: corners, in pixels or any other unit.
        scores: confidence of each box; boxes whose score is NaN or -inf are dropped.
        labels: class of each box; boxes of different classes do not suppress each other. Without
            labels all boxes do.
        max_outputs: size of the result; the search ends when so many boxes are kept.
        iou_threshold: in [0, 1]; two boxes overlap if their IoU is above it.
        score_threshold: only boxes with a score above it, in the dtype of the scores, are kept: a
            score of 0.3 is not above 0.3.
        candidates: suppress only among so many boxes of highest score; by default among all. In an
            exported program with an open number of boxes it must be given.

    Returns:
        The boxes kept, by falling score; entries beyond their number are not valid.

    Raises:
        ValueError: if boxes, scores and labels do not belong together, or a number is below 1.

    Source:
        Felzenszwalb et al. (2010), sec. 7.2.
    """
    check_count(max_outputs=max_outputs, candidates=candidates)
    if not scores.size:
        return _nothing(max_outputs, scores.dtype)
    return _nms(
        boxes,
        scores,
        labels,
        overlap_limit(iou_threshold, boxes),
        score_limit(score_threshold, scores.dtype),
        max_outputs=max_outputs,
        candidates=candidates,
        measure=intersection_over_union,
    )


@checked
def diou_nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    labels: Int[Array, " n"] | None = None,
    *,
    max_outputs: int,
    diou_threshold: int | float | Float[Array, ""] = 0.5,
    score_threshold: int | float | Float[Array, ""] = -np.inf,
    candidates: int | None = None,
) -> Selection:
    """Keeps, by falling score, each box whose DIoU with no box kept before it is too large.

    `IoU(M, b_i) − |center(M) − center(b_i)|² / d² > t` suppresses, where M is a box kept and d the
    diagonal of the smallest box around both: of two objects that overlap much but whose centers are
    apart, as in a crowd, more often both stay than with `nms`. All else is as there.

    Args:
        boxes: corners, in pixels or any other unit.
        scores: confidence of each box; boxes whose score is NaN or -inf are dropped.
        labels: class of each box; boxes of different classes do not suppress each other. Without
            labels all boxes do.
        max_outputs: size of the result; the search ends when so many boxes are kept.
        diou_threshold: t, in [-1, 1]; a box is suppressed above it.
        score_threshold: only boxes with a score above it, in the dtype of the scores, are kept.
        candidates: suppress only among so many boxes of highest score; by default among all.

    Returns:
        The boxes kept, by falling score; entries beyond their number are not valid.

    Raises:
        ValueError: if boxes, scores and labels do not belong together, or a number is below 1.

    Source:
        Zheng et al. (2020), sec. "Non-Maximum Suppression using DIoU".
    """
    check_count(max_outputs=max_outputs, candidates=candidates)
    if not scores.size:
        return _nothing(max_outputs, scores.dtype)
    return _nms(
        boxes,
        scores,
        labels,
        overlap_limit(diou_threshold, boxes),
        score_limit(score_threshold, scores.dtype),
        max_outputs=max_outputs,
        candidates=candidates,
        measure=distance_iou,
    )


@checked
def soft_nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    labels: Int[Array, " n"] | None = None,
    *,
    max_outputs: int,
    sigma: int | float | Float[Array, ""] = 0.5,
    score_threshold: int | float | Float[Array, ""] = 0.0,
) -> Selection:
    """Takes the best box again and again, and lowers the scores of the boxes that overlap it.

    `s_i ← s_i exp(−IoU(M, b_i)² / σ)` after each box M taken. Scores and boxes have gradients.

    Args:
        boxes: corners, in pixels or any other unit.
        scores: confidence of each box, not negative; boxes whose score is NaN are dropped.
        labels: class of each box; boxes of different classes do not lower each other's scores.
            Without labels all boxes do.
        max_outputs: size of the result; the search ends when so many boxes are taken.
        sigma: σ, width of the Gaussian, positive; the smaller, the closer to hard suppression.
        score_threshold: the search ends when no lowered score is above it, in the scores' dtype.

    Returns:
        The boxes in the order in which they were taken, with their lowered scores.

    Raises:
        ValueError: if boxes, scores and labels do not belong together, `max_outputs` is below 1, or
            sigma is not positive.

    Source:
        Bodla et al. (2017), sec. 3, the Gaussian penalty.
    """
    check_count(max_outputs=max_outputs)
    check_positive(sigma=sigma)
    if not scores.size:
        return _nothing(max_outputs, scores.dtype)
    limit = score_limit(score_threshold, scores.dtype)
    return _soft_nms(boxes, scores, labels, sigma, limit, max_outputs=max_outputs)


@functools.partial(jax.jit, static_argnames="max_outputs")
def _soft_nms(
    boxes: Array,
    scores: Array,
    labels: Array | None,
    sigma: int | float | Float[Array, ""],
    threshold: Array,
    *,
    max_outputs: int,
) -> Selection:
    number = scores.shape[0]
    is_open = ~jnp.isnan(scores)
    # What is dropped is replaced before it is used, or its NaN would reach the gradient of others.
    wide_boxes = upcast(jnp.where(is_open[:, None], boxes, 0))
    wide_scores = upcast(jnp.where(is_open, scores, 0))
    threshold = threshold.astype(wide_scores.dtype)

    def take(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        current, is_open = carry
        best = jnp.argmax(jnp.where(is_open, current, -jnp.inf))
        valid = is_open[best] & (current[best] > threshold)
        overlap = iou(wide_boxes[best][None], wide_boxes)
        if labels is not None:
            overlap = jnp.where(labels == labels[best], overlap, 0)
        lowered = current * jnp.exp(-(overlap**2) / sigma).astype(current.dtype)
        taken = best, jnp.where(valid, current[best], 0), valid
        return (lowered, is_open & (jnp.arange(number) != best)), taken

    start = wide_scores, is_open
    _, (indices, values, valid) = lax.scan(take, start, length=min(max_outputs, number))
    valid = _pad(valid, max_outputs)
    return Selection(
        jnp.where(valid, _pad(indices.astype(jnp.int32), max_outputs), -1),
        _pad(values, max_outputs).astype(scores.dtype),
        valid,
        jnp.bool_(True),
    )


@functools.partial(jax.jit, static_argnames=("max_outputs", "candidates", "measure"))
def _nms(
    boxes: Array,
    scores: Array,
    labels: Array | None,
    iou_threshold: Array,
    score_threshold: Array,
    *,
    max_outputs: int,
    candidates: int | None,
    measure: Measure,
) -> Selection:
    if not isinstance(scores.shape[0], int):
        boxes, scores, labels = _longer(boxes, scores, labels, candidates)
    number = scores.shape[0]
    considered = number if candidates is None else min(candidates, number)
    ranked = upcast(lax.stop_gradient(scores))
    above = ranked > score_threshold.astype(ranked.dtype)  # NaN is not above anything
    ranked = jnp.where(above, ranked, -jnp.inf)
    total = jnp.sum(ranked > -jnp.inf, dtype=jnp.int32)
    find = functools.partial(
        search, considered=considered, max_outputs=min(max_outputs, considered), measure=measure
    )
    indices, count = lax.platform_dependent(
        upcast(lax.stop_gradient(boxes)),
        _positive_zero(ranked),
        None if labels is None else labels.astype(jnp.int32),
        jnp.minimum(total, considered),
        iou_threshold,
        # Under vmap a CPU takes one image after the other, so that each ends as soon as it can.
        cpu=sequential_vmap(functools.partial(find, plan=ON_CPU)),
        default=functools.partial(find, plan=ELSEWHERE),
    )
    valid = jnp.arange(max_outputs, dtype=jnp.int32) < count
    indices = jnp.where(valid, _pad(indices, max_outputs), -1)
    kept_scores = jnp.where(valid, scores[indices], 0)
    return Selection(indices, kept_scores, valid, (count >= max_outputs) | (total <= considered))


def _longer(
    boxes: Array, scores: Array, labels: Array | None, candidates: int | None
) -> tuple[Array, Array, Array | None]:
    """Boxes of a number that an exported program leaves open, and so many more that are dropped.

    Then there are as many as are considered, whatever their number.
    """
    if candidates is None:
        raise ValueError(
            f"candidates must be given for an open number of boxes, got {scores.shape[0]}."
        )
    more = (0, candidates)
    labels = None if labels is None else jnp.pad(labels, more)
    return jnp.pad(boxes, (more, (0, 0))), jnp.pad(scores, more, constant_values=-np.inf), labels


def _nothing(max_outputs: int, dtype: np.dtype) -> Selection:
    return Selection(
        jnp.full(max_outputs, -1, jnp.int32),
        jnp.zeros(max_outputs, dtype),
        jnp.zeros(max_outputs, bool),
        jnp.bool_(True),
    )


def _pad(x: Array, size: int) -> Array:
    return jnp.pad(x, (0, size - x.shape[0]))


def _positive_zero(x: Array) -> Array:
    """Replaces -0.0 by 0.0, by its bits: a comparison with 0 would hit denormal numbers, too."""
    bits = float_bits(x)
    return jnp.where(bits == jnp.iinfo(bits.dtype).min, 0, x)
