"""Losses of a mask: of each pixel's class, and of the overlap of whole regions.

The logits of a mask of classes are [..., h, w, c] and its labels [..., h, w]; pixels whose label is
`ignore` count in no sum. A binary mask has one logit per pixel.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lectures_jax.losses.classification import cross_entropy
from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import check_range, checked

IGNORE = 255
"""Label of a pixel that does not count, as in the masks of Pascal VOC."""

LEAST_WHOLE = 1e-18  # its square is a float32, and so is the inverse of that


@checked
@in_float32
def pixel_cross_entropy(
    logits: Float[Array, "*b h w c"],
    labels: Int[Array, "*b h w"],
    class_weights: Float[Array, " c"] | None = None,
    pixel_weights: Float[Array, "*b h w"] | None = None,
    *,
    ignore: int = IGNORE,
) -> Float[Array, "*b"]:
    """Returns the weighted mean of `−log softmax(logits)[label]` over the pixels, in nats.

    `Σ_x w(x) v(l(x)) (−log p_l(x)(x)) / Σ_x w(x) v(l(x))`, with the weights w of the pixels and v
    of the classes.

    Args:
        logits: one score per class at each pixel.
        labels: index of the true class, in [0, c), or `ignore`.
        class_weights: at least 0; 1 by default.
        pixel_weights: at least 0, such as `data.border_weights`; 1 by default.
        ignore: label of the pixels that do not count.

    Returns:
        One value per mask, at least 0: 0 where no pixel counts, NaN where a label is neither in
        range nor `ignore`.

    Source:
        Ronneberger et al. (2015), eq. 1, divided by the sum of the weights.
    """
    nll, counts = _pixel_nll(logits, labels, ignore)
    return _weighted_mean(nll, _weights(nll, labels, counts, class_weights, pixel_weights))


@checked
@in_float32
def pixel_focal(
    logits: Float[Array, "*b h w c"],
    labels: Int[Array, "*b h w"],
    class_weights: Float[Array, " c"] | None = None,
    pixel_weights: Float[Array, "*b h w"] | None = None,
    *,
    gamma: float = 2.0,
    ignore: int = IGNORE,
) -> Float[Array, "*b"]:
    """Returns the weighted mean of `−(1 − p)^γ log p` over the pixels, p that of the true class.

    Pixels that are classified well weigh little, so that rare and difficult ones are not outvoted.

    Args:
        logits: one score per class at each pixel.
        labels: index of the true class, in [0, c), or `ignore`.
        class_weights: the paper's α of each class, at least 0; 1 by default.
        pixel_weights: at least 0; 1 by default.
        gamma: at least 0; 0 is `pixel_cross_entropy`.
        ignore: label of the pixels that do not count.

    Returns:
        One value per mask, at least 0: 0 where no pixel counts, NaN where a label is neither in
        range nor `ignore`.

    Raises:
        ValueError: if `gamma` is negative.

    Source:
        Lin et al. (2017), "Focal loss for dense object detection", eq. 5, with a softmax.
    """
    check_range(gamma=gamma, low=0)
    nll, counts = _pixel_nll(logits, labels, ignore)
    # 1 − p without the difference of near numbers; at p = 1 a power below 1 has no derivative.
    rest = -jnp.expm1(-nll)
    wrong = rest > 0
    factor = jnp.where(wrong, jnp.where(wrong, rest, 1) ** gamma, 0 if gamma else 1)
    weights = _weights(nll, labels, counts, class_weights, pixel_weights)
    return _weighted_mean(factor * nll, weights)


@checked
@in_float32
def dice(
    logits: Float[Array, "*b h w"],
    mask: Float[Array, "*b h w"] | Bool[Array, "*b h w"] | Int[Array, "*b h w"],
    valid: Bool[Array, "*b h w"] | None = None,
    *,
    smooth: float = 0.0,
) -> Float[Array, "*b"]:
    """Returns one minus the soft Dice coefficient of a binary mask.

    `1 − (2 Σ p g + s) / (Σ p² + Σ g² + s)`, with p = σ(logit). Where the mask is empty, and s = 0,
    the loss is 1 whatever p is, and has no gradient.

    Args:
        logits: log-odds that a pixel belongs to the mask.
        mask: g, in [0, 1].
        valid: pixels that count; all by default.
        smooth: s, at least 0; above 0 an empty mask has a gradient.

    Returns:
        One value per mask in [0, 1]; 0 where all sums are 0, as where no pixel counts.

    Raises:
        ValueError: if `smooth` is negative.

    Source:
        Milletari et al. (2016), "V-Net", sec. 3.
    """
    check_range(smooth=smooth, low=0)
    p, g = _binary(logits, mask, valid)
    return 1 - _share(2 * _over_pixels(p * g), _over_pixels(p**2 + g**2), smooth)


@checked
@in_float32
def jaccard(
    logits: Float[Array, "*b h w"],
    mask: Float[Array, "*b h w"] | Bool[Array, "*b h w"] | Int[Array, "*b h w"],
    valid: Bool[Array, "*b h w"] | None = None,
    *,
    smooth: float = 0.0,
) -> Float[Array, "*b"]:
    """Returns one minus the soft intersection over union of a binary mask.

    `1 − (Σ p g + s) / (Σ (p + g − p g) + s)`, with p = σ(logit).

    Args:
        logits: log-odds that a pixel belongs to the mask.
        mask: g, in [0, 1].
        valid: pixels that count; all by default.
        smooth: s, at least 0; above 0 an empty mask has a gradient.

    Returns:
        One value per mask in [0, 1]; 0 where all sums are 0, as where no pixel counts.

    Raises:
        ValueError: if `smooth` is negative.

    Source:
        Rahman & Wang (2016), "Optimizing intersection-over-union", eq. 3 to 5.
    """
    check_range(smooth=smooth, low=0)
    p, g = _binary(logits, mask, valid)
    return 1 - _share(_over_pixels(p * g), _over_pixels(p + g - p * g), smooth)


@checked
@in_float32
def multiclass_dice(
    logits: Float[Array, "*b h w c"], labels: Int[Array, "*b h w"], *, ignore: int = IGNORE
) -> Float[Array, "*b"]:
    """Returns the mean of `dice` over the classes that a mask holds, with p = softmax(logits).

    A class that is not in the mask has no term of its own; to predict it costs the classes that
    are there.

    Args:
        logits: one score per class at each pixel.
        labels: index of the true class, in [0, c), or `ignore`.
        ignore: label of the pixels that do not count.

    Returns:
        One value per mask in [0, 1]: 0 where no pixel counts, NaN where a label is neither in range
        nor `ignore`.

    Source:
        Milletari et al. (2016), "V-Net", sec. 3, for each class.
    """
    p, g = _classes(logits, labels, ignore)
    share = _share(2 * _over_pixels(p * g), _over_pixels(p**2 + g))
    return _mean_of_present(1 - share, g)


@checked
@in_float32
def multiclass_jaccard(
    logits: Float[Array, "*b h w c"], labels: Int[Array, "*b h w"], *, ignore: int = IGNORE
) -> Float[Array, "*b"]:
    """Returns the mean of `jaccard` over the classes that a mask holds, with p = softmax(logits).

    Args:
        logits: one score per class at each pixel.
        labels: index of the true class, in [0, c), or `ignore`.
        ignore: label of the pixels that do not count.

    Returns:
        One value per mask in [0, 1]: 0 where no pixel counts, NaN where a label is neither in range
        nor `ignore`.

    Source:
        Rahman & Wang (2016), "Optimizing intersection-over-union", eq. 3 to 5, for each class.
    """
    p, g = _classes(logits, labels, ignore)
    share = _share(_over_pixels(p * g), _over_pixels(p + g - p * g))
    return _mean_of_present(1 - share, g)


def _pixel_nll(logits: Array, labels: Array, ignore: int) -> tuple[Array, Array]:
    """The cross-entropy of each pixel, 0 where it does not count, and whether it counts."""
    counts = labels != ignore
    logits = jnp.where(counts[..., None], logits, 0)
    return cross_entropy(logits, jnp.where(counts, labels, 0)), counts


def _weights(
    nll: Array,
    labels: Array,
    counts: Array,
    class_weights: Array | None,
    pixel_weights: Array | None,
) -> Array:
    weights = jnp.ones_like(nll) if pixel_weights is None else pixel_weights
    weights = jnp.where(counts, weights, 0)
    if class_weights is not None:
        own = jax.nn.one_hot(labels, len(class_weights), dtype=class_weights.dtype)
        # A label of no class has the weight 1, so that its NaN counts.
        weights = weights * (own @ class_weights + 1 - jnp.sum(own, axis=-1))
    return weights


def _weighted_mean(values: Array, weights: Array) -> Array:
    # Where a weight is 0, even infinity must not reach the sum or the gradient.
    values = jnp.where(weights > 0, values, 0)
    return _mean(_over_pixels(values * weights), _over_pixels(weights))


def _binary(logits: Array, mask: Array, valid: Array | None) -> tuple[Array, Array]:
    """Probability and truth of each pixel, both 0 where it does not count."""
    g = mask.astype(logits.dtype)
    if valid is None:
        return jax.nn.sigmoid(logits), g
    p = jax.nn.sigmoid(jnp.where(valid, logits, 0))
    return jnp.where(valid, p, 0), jnp.where(valid, g, 0)


def _classes(logits: Array, labels: Array, ignore: int) -> tuple[Array, Array]:
    """Probability and truth of each class, [..., c, h, w], both 0 where a pixel does not count."""
    counts = (labels != ignore)[..., None]
    p = jnp.where(counts, jax.nn.softmax(jnp.where(counts, logits, 0)), 0)
    g = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype) * counts.astype(logits.dtype)
    unknown = counts[..., 0] & ((labels < 0) | (labels >= logits.shape[-1]))
    g = jnp.where(unknown[..., None], jnp.nan, g)
    return jnp.moveaxis(p, -1, -3), jnp.moveaxis(g, -1, -3)


def _over_pixels(values: Array) -> Array:
    return jnp.sum(values, axis=(-2, -1))


def _share(part: Array, whole: Array, smooth: float = 0.0) -> Array:
    """The quotient after `smooth` is added to both, and 1 for 0/0, without a gradient."""
    part, whole = part + smooth, whole + smooth
    # The derivative divides by the square, which is 0 for a sum of 1e-20.
    return jnp.where(whole == 0, 1, part / jnp.maximum(whole, LEAST_WHOLE))


def _mean(total: Array, weight: Array) -> Array:
    """The quotient, and 0 where nothing weighs, without a gradient."""
    some = weight > 0
    return jnp.where(some, total / jnp.where(some, weight, 1), 0)


def _mean_of_present(losses: Array, g: Array) -> Array:
    present = (_over_pixels(g) != 0).astype(losses.dtype)
    count = jnp.sum(present, axis=-1)
    return _mean(jnp.sum(losses * present, axis=-1), count)
