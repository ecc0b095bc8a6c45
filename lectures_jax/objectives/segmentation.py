"""Where a network with scores for every pixel meets its loss."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax import losses, metrics
from lectures_jax.ops._precision import upcast
from lectures_jax.typing import Batch, Key, Metrics, check_range


def segmentation(
    model,
    batch: Batch,
    key: Key,
    *,
    class_weights: tuple[float, ...] | None = None,
    dice_weight: float = 0.0,
    ignore: int = 255,
) -> tuple[Float[Array, ""], Metrics]:
    """Returns the mean over the images of the cross-entropy of their pixels, and of Dice losses.

    Args:
        model: `model(image, key=key)` gives one logit per pixel and class; the result may lack a
            margin of the image, the same on opposite sides.
        batch: `image` in [0, 1], `mask` of class ids in [0, classes) or `ignore`, and maybe
            `weights` of the pixels.
        key: for layers that draw random numbers.
        class_weights: of the cross-entropy, one per class; None: 1.
        dice_weight: weight of `losses.multiclass_dice` beside the cross-entropy, which has 1.
        ignore: id of the pixels that do not count.

    Returns:
        The loss, and `loss`, its terms `cross_entropy` in nats and `dice` before its weight, and
        `confusion`, the pixels of an image by true and predicted class.

    Raises:
        ValueError: if `dice_weight` is negative.

    Source:
        Ronneberger et al. (2015), eq. 1; Dice: Milletari et al. (2016), sec. 3.
    """
    check_range(dice_weight=dice_weight, low=0)
    logits = upcast(model(batch["image"], key=key))
    height, width = logits.shape[1:3]
    mask = _central(batch["mask"], height, width).astype(jnp.int32)
    weights = _central(batch["weights"], height, width) if "weights" in batch else None
    of_classes = None if class_weights is None else jnp.asarray(class_weights, logits.dtype)
    cross_entropy = jnp.mean(
        losses.pixel_cross_entropy(logits, mask, of_classes, weights, ignore=ignore)
    )
    dice = jnp.mean(losses.multiclass_dice(logits, mask, ignore=ignore))
    loss = cross_entropy + dice_weight * dice if dice_weight else cross_entropy
    predicted = jnp.argmax(logits, axis=-1)
    counts = metrics.pixel_confusion(
        predicted, mask, num_classes=logits.shape[-1], ignore=ignore
    ).astype(jnp.float32)
    measured = {"loss": loss, "cross_entropy": cross_entropy, "dice": dice}
    return loss, measured | {"confusion": counts / len(mask)}


def _central(pixels: Array, height: int, width: int) -> Array:
    """The pixels in the middle of maps, without the margin that a network's result lacks."""
    top, left = ((n - k) // 2 for n, k in zip(pixels.shape[1:3], (height, width), strict=True))
    return pixels[:, top : top + height, left : left + width]
