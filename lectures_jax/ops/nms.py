"""Suppression: of the boxes that overlap, keep the one with the highest score."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, ScalarLike


class Selection(NamedTuple):
    """Which boxes were kept, by falling score, padded to a fixed number.

    Attributes:
        indices: rows of the input, -1 where not valid.
        scores: their scores, 0 where not valid.
        valid: which entries are boxes and not padding.
        exact: False only if a cut before suppression took boxes away that could have been kept.
    """

    indices: Int[Array, "*b k"]
    scores: Float[Array, "*b k"]
    valid: Bool[Array, "*b k"]
    exact: Bool[Array, "*b"]


def nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    labels: Int[Array, " n"] | None = None,
    *,
    max_outputs: int,
    iou_threshold: ScalarLike = 0.5,
    score_threshold: ScalarLike = -np.inf,
    candidates: int | None = None,
) -> Selection:
    """Keeps boxes greedily: by falling score, each that overlaps no kept box by more than a threshold.

    Boxes of equal score are taken in the order of their indices. Areas are not clamped, so that the
    result equals torchvision's bit for bit, also for boxes with swapped corners. For a batch of
    images use `jax.vmap`. Scores have a gradient, the choice has none.

    Args:
        boxes: corners.
        scores: any floats; boxes whose score is NaN or -inf are dropped.
        labels: classes; boxes of different classes do not suppress each other.
        max_outputs: number of results, and the number at which the search ends.
        iou_threshold: IoU above which the lower of two boxes is dropped.
        score_threshold: boxes are kept only above this score.
        candidates: suppress only among so many boxes of highest score; all by default.

    Raises:
        ValueError: if the numbers of boxes, scores and labels differ, or a limit is below 1.

    Source:
        Felzenszwalb et al. (2010), sec. 5.2 ("non-maximum suppression").
    """
    _check(boxes, scores, labels, max_outputs, candidates)
    iou_limit = _round_down(iou_threshold, boxes.dtype)
    score_limit = _round_down(score_threshold, scores.dtype)
    return _nms(
        boxes,
        scores,
        labels,
        iou_limit,
        score_limit,
        max_outputs=max_outputs,
        candidates=candidates,
    )
