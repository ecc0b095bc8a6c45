"""Selective search: regions merged by similarity, from the parts of an image to the whole of it."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from lectures_jax.ops._merging import Regions, SimilarityWeights, color_bins, merge_by
from lectures_jax.ops._precision import upcast
from lectures_jax.ops._texture import texture_bins
from lectures_jax.typing import Key, check_count, checked

ALL = (SimilarityWeights(),)


class Proposals(NamedTuple):
    """Boxes of which no two are equal, the most promising first, then padding.

    Attributes:
        boxes: corners in pixels, 0 where not valid.
        valid: which entries are boxes and not padding.
    """

    boxes: Float[Array, "n 4"]
    valid: Bool[Array, " n"]


@checked
def merge_regions(
    labels: Int[Array, "h w"],
    image: Float[Array, "h w c"],
    *,
    max_regions: int,
    weights: Sequence[SimilarityWeights] = ALL,
) -> Regions:
    """Merges the two most similar neighbors among the regions of an image, until none touch.

    Two regions are neighbors where a pixel of one lies left of, above, or diagonally above left of
    one of the other, the first row and column left out. Their similarity is a weighted mean of four
    numbers in [0, 1]: the intersections of the histograms of color (25 bins of each channel) and
    of texture (10 bins of each derivative, see `texture_bins`), `1 − (a + b) / image` and `1 − (box
    − a − b) / image`, where a and b are the numbers of pixels, and box that of the box around both.
    Of equal similarities that of the first labels counts, where OpenCV's order is that of an
    unstable sort: with a weight for size or fill alone, many are equal, and boxes differ.

    Several label maps of one image, or of several, are merged under `jax.vmap`.

    Args:
        labels: region of each pixel, in [0, max_regions); of other pixels none is a part.
        image: its channels, such as hue, saturation and value, each in [0, 1]; they count in 8
            bits.
        max_regions: at least the number of regions; the result has `2 · max_regions − 1` entries.
        weights: which similarities count, and how much; for each, regions are merged anew.

    Returns:
        For each of the weights, the regions of the label map in the order of their labels, then the
        merged ones.

    Raises:
        ValueError: if labels and image are not of one size of at least 2×2 pixels, `max_regions` is
            below 1, or a weight is negative, or all are 0.

    Source:
        Uijlings et al. (2013), sec. 3; OpenCV, `SelectiveSearchSegmentation`.
    """
    check_count(max_regions=max_regions)
    for each in weights:
        if min(each) < 0 or not sum(each) > 0:
            raise ValueError(f"weights must be at least 0 and not all 0, got {tuple(each)}.")
    if not weights:
        raise ValueError("weights must have at least one entry, got none.")
    if min(labels.shape) < 2 or not image.shape[-1]:
        raise ValueError(
            f"labels must have at least 2×2 pixels and image a channel, got {image.shape}."
        )
    labels = labels.astype(jnp.int32)
    labels = jnp.where((labels >= 0) & (labels < max_regions), labels, max_regions)
    levels = jnp.round(255 * upcast(lax.stop_gradient(image))).astype(jnp.int32)
    levels = jnp.clip(levels, 0, 255)
    color = color_bins(levels) if any(each.color for each in weights) else None
    texture = texture_bins(levels) if any(each.texture for each in weights) else None
    regions = merge_by(labels, color, texture, n=max_regions, weights=weights)
    return regions._replace(boxes=regions.boxes.astype(image.dtype))


@checked
def rank_boxes(
    key: Key,
    boxes: Float[Array, "n 4"],
    level: Int[Array, " n"],
    valid: Bool[Array, " n"],
    *,
    max_outputs: int,
) -> Proposals:
    """Returns each box once, in a random order that prefers those of many merges.

    Boxes are in the order of `u / level`, where u is uniform in [0, 1) for each entry; of equal
    ones the first counts. A hierarchy is not simply turned over, since its uppermost regions are
    those of the whole image.

    Args:
        key: of the order.
        boxes: corners, in pixels, with repetitions.
        level: of the region in its hierarchy, as `merge_regions` has it.
        valid: which entries count.
        max_outputs: size of the result; boxes beyond it are left out.

    Returns:
        The boxes in their order, then padding.

    Raises:
        ValueError: if the arrays do not belong together, or `max_outputs` is below 1.

    Source:
        Uijlings et al. (2013), sec. 4.3.
    """
    check_count(max_outputs=max_outputs)
    number = boxes.shape[0]
    if not number:
        return Proposals(jnp.zeros((max_outputs, 4), boxes.dtype), jnp.zeros(max_outputs, bool))
    draw = jax.random.uniform(key, (number,))
    rank = jnp.where(valid, draw / jnp.maximum(level, 1).astype(draw.dtype), jnp.inf)
    # The first of equal boxes: sorted by corners and rank, it is the one that differs before it.
    order = jnp.lexsort((rank, *(boxes[:, k] for k in range(4)), ~valid))
    sorted_ = boxes[order]
    repeated = jnp.all(sorted_[1:] == sorted_[:-1], axis=1)
    first = jnp.concatenate([jnp.ones(1, bool), ~repeated]) & valid[order]
    rank = jnp.where(first, rank[order], jnp.inf)
    chosen = jnp.argsort(rank)[:max_outputs]
    kept = rank[chosen] < jnp.inf
    padding = max(max_outputs - number, 0)
    rows = jnp.where(kept[:, None], sorted_[chosen], 0)
    return Proposals(jnp.pad(rows, ((0, padding), (0, 0))), jnp.pad(kept, (0, padding)))
