"""Style transfer by internal representations: the content of one image, the style of others.

The content of an image are its features in one layer, its style are the Gram matrices of several.
An image that has both is reached by gradient descent on its pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float

from lectures_jax import losses, ops
from lectures_jax.input_optimization.images import Image, as_images
from lectures_jax.input_optimization.loop import (
    MakeOptimizer,
    Optimized,
    as_argument,
    optimize_inputs,
)
from lectures_jax.input_optimization.outputs import check_maps, output_shapes
from lectures_jax.losses.style import Normalization
from lectures_jax.typing import Key, check_range

Features = Callable[[Float[Array, "b h w 3"]], Mapping[str, Float[Array, "b *_"]]]
"""`images -> maps` by the name of their layer."""

Maps = Mapping[str, Float[Array, "1 _ _ _"]]

COLORS = ("style", "luminance", "matched")
TINY = 1e-12  # a sum of squares: of an image without features every loss is finite


class _Targets(NamedTuple):
    """What an image should have in some layers, and how much each layer counts."""

    maps: Maps
    content_weights: Mapping[str, float]
    grams: Mapping[str, Float[Array, "1 _ _"]]
    style_weights: Mapping[str, float]


def stylize(
    key: Key,
    features: Features,
    content: Image,
    styles: Sequence[Image],
    *,
    content_layer: str,
    style_weights: Mapping[str, float],
    alpha: float = 1.0,
    beta: float = 1.0,
    variation: float = 0.0,
    mix: Sequence[float] | None = None,
    normalization: Normalization | None = None,
    colors: str = "style",
    start: Image | None = None,
    steps: int = 250,
    learning_rate: float = 0.02,
    optimizer: MakeOptimizer = optax.adam,
) -> Optimized:
    """Returns an image with the content of one image and the style of others.

    It minimizes `α · content + β · Σ_l γ_l style_l + variation · total variation` over the pixels.
    With `beta=0` it reconstructs the content alone, with `alpha=0` the style alone.

    Args:
        key: for the noise to start from, where there is no content.
        features: `images -> maps` of a network; as a Flax module's method it is an argument of the
            compiled program.
        content: image in [0, 1], whose size the result has.
        styles: one or more images in [0, 1], of any sizes: their Gram matrices are scaled to maps
            with as many positions as the result's.
        content_layer: whose features the result should share with `content`.
        style_weights: γ_l of each layer whose Gram matrix it should share with `styles`.
        alpha: weight of the content, at least 0.
        beta: weight of the style, at least 0.
        variation: weight of the total variation, at least 0.
        mix: share of each style, by default equal ones. The mean of the losses of several styles
            is, up to a constant, the loss of the mean of their Gram matrices.
        normalization: of both losses by the size of a map: `PLAIN`, the course's sums, `GATYS` or
            `JOHNSON`, all in `lectures_jax.losses.style`. None divides the loss of each layer by
            that of an image without any features, so that α and β mean the same for all networks.
        colors: "style" takes the colors of the styles; "matched" does so, too, but first gives the
            styles the mean and the covariance of the content's colors; "luminance" changes the
            brightness alone, towards styles whose brightness has first the mean and the deviation
            of the content's, and keeps the hues of the content.
        start: image of the content's size to start from; by default the content, or noise where
            `alpha` is 0.
        steps: updates.
        learning_rate: of the optimizer.
        optimizer: such as `optax.adam`; `optax.lbfgs` with a learning rate of 1.

    Returns:
        The image [h, w, 3] in [0, 1], and the loss before each step.

    Raises:
        ValueError: if an image is not RGB in [0, 1] or too small for the network, a layer is
            unknown, a weight is negative, all are 0, the shares do not fit the styles, or `colors`
            is none of the three.

    Source:
        Gatys et al. (2016), eq. 7, and L-BFGS in sec. 2; colors: Gatys et al. (2016b), "Preserving
        color in neural artistic style transfer", sec. 3 and 4.
    """
    check_range(alpha=alpha, beta=beta, variation=variation, low=0)
    for layer, weight in style_weights.items():
        check_range(**{f"style_weights[{layer!r}]": weight}, low=0)
    if colors not in COLORS:
        raise ValueError(f"colors must be one of {', '.join(COLORS)}, got {colors!r}.")
    if not alpha and not (beta and any(style_weights.values())):
        raise ValueError("alpha, or beta and a weight of a layer, must be above 0, got neither.")
    shares, features = _shares(mix, len(styles)), as_argument(features)
    image, *paintings = _checked(
        features, content, styles, content_layer=content_layer, style_layers=tuple(style_weights)
    )
    first = image if start is None else as_images(start, name="start", channels=3)
    if first.shape != image.shape:
        size, got = list(image.shape[1:]), list(first.shape[1:])
        raise ValueError(f"start must have the shape of content, {size}, got {got}.")
    if start is None and not alpha:
        first = jax.random.uniform(key, image.shape, image.dtype)
    prepare = ops.luminance if colors == "luminance" else lambda x: x
    paintings = [prepare(style) for style in paintings]
    if colors != "style":
        paintings = [_clip(ops.match_colors(style, prepare(image))) for style in paintings]
    targets = _targets(
        *(features, prepare(image), paintings),
        content_weights={content_layer: alpha},
        style_weights={layer: beta * weight for layer, weight in style_weights.items()},
        shares=shares,
        normalization=normalization,
    )
    result = optimize_inputs(
        *(key, Partial(_loss, features, targets, variation), prepare(first)),
        steps=steps,
        learning_rate=learning_rate,
        optimizer=optimizer,
        project=_clip,
    )
    painted = result.inputs
    if colors == "luminance":
        painted = _clip(ops.with_luminance(image, painted))
    return Optimized(painted[0], result.losses)


def _checked(
    features: Features,
    content: Image,
    styles: Sequence[Image],
    *,
    content_layer: str,
    style_layers: tuple[str, ...],
) -> list[Float[Array, "1 _ _ 3"]]:
    """The content and the styles, of which the network has all the maps."""
    named = {"content": content, **{f"styles[{n}]": style for n, style in enumerate(styles)}}
    images = []
    for name, given in named.items():
        image = as_images(given, name=name, channels=3)
        outputs = output_shapes(features, image, name=name)
        check_maps(outputs, [content_layer], name="content_layer")
        check_maps(outputs, style_layers, name="style_weights")
        images.append(image)
    return images


def _targets(
    features: Callable,
    image: Array,
    styles: Sequence[Array],
    *,
    content_weights: Mapping[str, float],
    style_weights: Mapping[str, float],
    shares: Sequence[float],
    normalization: Normalization | None,
) -> _Targets:
    """The maps and Gram matrices to reach; a layer without weight is left out."""
    content_weights, style_weights = (
        {layer: weight for layer, weight in weights.items() if weight}
        for weights in (content_weights, style_weights)
    )
    maps = _maps(features, image, layers=(*content_weights, *style_weights))
    painted = [_maps(features, style, layers=tuple(style_weights)) for style in styles]
    grams = {}
    for layer in style_weights:
        means = [
            share * _mean_gram(style[layer]) for share, style in zip(shares, painted, strict=True)
        ]
        grams[layer] = _positions(maps[layer]) * sum(means[1:], means[0])

    content = {layer: maps[layer] for layer in content_weights}
    for weights, targets, name in (
        (content_weights, content, "content"),
        (style_weights, grams, "style"),
    ):
        for layer, target in targets.items():
            if normalization is None:
                weights[layer] /= max(float(jnp.sum(target**2)), TINY)
            else:
                size = _positions(maps[layer]), maps[layer].shape[-1]
                weights[layer] *= getattr(normalization, name)(*size)
    return _Targets(content, content_weights, grams, style_weights)


@partial(jax.jit, static_argnames="layers")
def _maps(features: Features, images: Array, *, layers: tuple[str, ...]) -> dict[str, Array]:
    """The maps of some layers; gray images have three equal channels."""
    maps = features(jnp.broadcast_to(images, (*images.shape[:-1], 3)))
    return {layer: maps[layer] for layer in layers}


def _loss(
    features: Features, targets: _Targets, variation: Float[Array, ""], images: Array, key: Key
) -> Float[Array, " b"]:
    del key  # nothing here is random
    maps = _maps(features, images, layers=(*targets.maps, *targets.grams))
    loss = variation * losses.total_variation(images)
    for layer, target in targets.maps.items():
        loss += targets.content_weights[layer] * losses.content(maps[layer], target)
    if targets.grams:
        loss += losses.style(maps, targets.grams, targets.style_weights)
    return loss


def _shares(mix: Sequence[float] | None, count: int) -> list[float]:
    """The share of each style; together they are 1."""
    if not count:
        raise ValueError("styles must hold at least one image, got none.")
    shares = [1.0] * count if mix is None else list(mix)
    if len(shares) != count or min(shares) < 0 or not sum(shares) > 0:
        raise ValueError(
            f"mix must be a share of at least 0 for each of {count} styles, got {mix}."
        )
    return [share / sum(shares) for share in shares]


def _mean_gram(maps: Array) -> Array:
    return ops.gram_matrix(maps) / _positions(maps)


def _positions(maps: Array) -> int:
    return maps.shape[1] * maps.shape[2]


def _clip(images: Array) -> Array:
    return jnp.clip(images, 0, 1)
