"""Where a network that repaints images meets the loss of another network."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax import losses
from lectures_jax.typing import Batch, Key, Metrics, check_range

TINY = 1e-12  # a sum of squares


class LossNetwork(NamedTuple):
    """What training keeps fixed: a network whose features are compared, and a style.

    Attributes:
        network: `network.features(images)` are its maps by the name of their layer.
        grams: Gram matrices of the style by layer, each divided by the positions of its map, so
            that images of other sizes can have them, too.
    """

    network: Any
    grams: Mapping[str, Float[Array, "_ _"]]


def stylizer(
    model: Callable[..., Array],
    batch: Batch,
    key: Key,
    fixed: LossNetwork,
    *,
    content_layer: str,
    style_weights: Mapping[str, float],
    alpha: float = 1.0,
    beta: float = 1.0,
    variation: float = 0.0,
) -> tuple[Float[Array, ""], Metrics]:
    """Returns `α · content + β · style + variation · total variation` of repainted images.

    Content and style are relative: each layer's loss is divided by that of an image without any
    features, so that the weights suit any network and any size. The variation is the mean over the
    pixels.

    Args:
        model: a network from images to images.
        batch: `image` in [0, 1].
        key: for layers that draw random numbers.
        fixed: the loss network and the style.
        content_layer: in which the repainted image should have the features of the image.
        style_weights: γ of each layer in which it should have the style's Gram matrix.
        alpha: weight of the content.
        beta: weight of the style.
        variation: weight of the mean squared difference of neighboring pixels.

    Returns:
        The mean over the images, and `loss`, `content`, `style` and `variation` before their
        weights.

    Raises:
        ValueError: if a weight is negative, or the loss network has no such layer.

    Source:
        Johnson et al. (2016), eq. 5. They divide by the sizes of maps, eq. 2 to 4.
    """
    check_range(alpha=alpha, beta=beta, variation=variation, low=0)
    images = batch["image"]
    painted = model(images, key=key)
    before, after = (fixed.network.features(x) for x in (images, painted))
    if content_layer not in before:
        layers = ", ".join(before)
        raise ValueError(f"content_layer must be one of {layers}, got {content_layer!r}.")
    target = before[content_layer]
    content = losses.content(after[content_layer], target)
    content = jnp.mean(content / (losses.content(target, 0 * target) + TINY))
    style = jnp.mean(_style(after, fixed.grams, style_weights))
    roughness = jnp.mean(losses.total_variation(painted)) / painted[0].size
    loss = alpha * content + beta * style + variation * roughness
    return loss, {"loss": loss, "content": content, "style": style, "variation": roughness}


def _style(
    maps: Mapping[str, Array], grams: Mapping[str, Array], weights: Mapping[str, float]
) -> Float[Array, " b"]:
    """The loss of the style, relative to that of images without features."""
    if missing := [layer for layer in weights if layer not in maps or layer not in grams]:
        layers = ", ".join(layer for layer in maps if layer in grams)
        raise ValueError(f"style_weights must be of the layers {layers}, got {missing[0]!r}.")
    targets, factors = {}, {}
    for layer, weight in weights.items():
        images, *cells, channels = maps[layer].shape
        gram = math.prod(cells) * grams[layer]
        targets[layer] = jnp.broadcast_to(gram, (images, channels, channels))
        factors[layer] = weight / (jnp.sum(gram**2) + TINY)
    return losses.style(maps, targets, factors)
