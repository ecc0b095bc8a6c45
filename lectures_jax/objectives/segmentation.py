"""Where a network with scores for every pixel meets its loss."""

from typing import Any, Literal, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax import losses, metrics
from lectures_jax.ops._precision import upcast
from lectures_jax.typing import Batch, Key, Metrics, check_range

PixelLoss = Literal["cross_entropy", "focal"]
OverlapLoss = Literal["dice", "jaccard"]
"""Losses of a pixel, and of the overlap of a class's predicted and true pixels."""
PIXELS = {"cross_entropy": losses.pixel_cross_entropy, "focal": losses.pixel_focal}
OVERLAPS = {"dice": losses.multiclass_dice, "jaccard": losses.multiclass_jaccard}


def segmentation(
    model,
    batch: Batch,
    key: Key,
    *,
    class_weights: tuple[float, ...] | None = None,
    pixel_loss: PixelLoss = "cross_entropy",
    overlap_loss: OverlapLoss = "dice",
    overlap_weight: float = 0.0,
    ignore: int = 255,
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean over the images of a loss of their pixels, and of Dice or Jaccard losses.

    Args:
        model: `model(image, key=key)` gives one logit per pixel and class; the result may lack a
            margin of the image, the same on opposite sides.
        batch: `image` in [0, 1], `mask` of class ids in [0, classes) or `ignore`, and maybe
            `weights` of the pixels.
        key: for layers that draw random numbers.
        class_weights: of the loss of the pixels, one per class; None: 1.
        pixel_loss: "cross_entropy" or "focal", see `losses.pixel_cross_entropy` and
            `losses.pixel_focal`.
        overlap_loss: "dice" or "jaccard", see `losses.multiclass_dice` and
            `losses.multiclass_jaccard`.
        overlap_weight: of the overlap loss; that of the pixels has 1.
        ignore: id of the pixels that do not count.

    Returns:
        The loss, and `loss`, its two terms by their names, the overlap loss before its weight, and
        `confusion`, the pixels of an image by true and predicted class.

    Raises:
        ValueError: if `overlap_weight` is negative, or a loss is none of those known.

    Source:
        Ronneberger et al. (2015), eq. 1; Dice: Milletari et al. (2016), sec. 3; focal loss: Lin et
        al. (2017), eq. 5; Jaccard: Rahman & Wang (2016), eq. 3 to 5.
    """
    check_range(overlap_weight=overlap_weight, low=0)
    _check_known(pixel_loss, PixelLoss, "pixel_loss")
    _check_known(overlap_loss, OverlapLoss, "overlap_loss")
    logits = upcast(model(batch["image"], key=key))
    height, width = logits.shape[1:3]
    mask = _central(batch["mask"], height, width).astype(jnp.int32)
    weights = _central(batch["weights"], height, width) if "weights" in batch else None
    of_classes = None if class_weights is None else jnp.asarray(class_weights, logits.dtype)
    pixels = jnp.mean(PIXELS[pixel_loss](logits, mask, of_classes, weights, ignore=ignore))
    overlap = jnp.mean(OVERLAPS[overlap_loss](logits, mask, ignore=ignore))
    loss = pixels + overlap_weight * overlap if overlap_weight else pixels
    predicted = jnp.argmax(logits, axis=-1)
    counts = metrics.pixel_confusion(
        predicted, mask, num_classes=logits.shape[-1], ignore=ignore
    ).astype(jnp.float32)
    measured = {"loss": loss, pixel_loss: pixels, overlap_loss: overlap}
    return loss, measured | {"confusion": counts / len(mask)}


def _check_known(value: str, known: Any, name: str) -> None:
    if value not in (names := get_args(known)):
        raise ValueError(f"{name} must be one of {', '.join(names)}, got {value!r}.")


def _central(pixels: Array, height: int, width: int) -> Array:
    """The pixels in the middle of maps, without the margin that a network's result lacks."""
    top, left = ((n - k) // 2 for n, k in zip(pixels.shape[1:3], (height, width), strict=True))
    return pixels[:, top : top + height, left : left + width]
