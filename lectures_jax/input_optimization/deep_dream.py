"""Deep dream: what a network sees in an image is enhanced, at several sizes of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial, register_static
from jaxtyping import Array, Float

from lectures_jax.input_optimization.images import Image, as_images
from lectures_jax.input_optimization.loop import as_argument, optimize_inputs
from lectures_jax.input_optimization.outputs import Network, check_layers, output_shapes
from lectures_jax.input_optimization.transforms import warp
from lectures_jax.typing import Key, check_count, check_positive

Dream = Callable[[Key, Float[Array, "h w c"]], Float[Array, "h w c"]]
"""`(key, image) -> image`."""


@register_static
@dataclass(frozen=True)
class _Cut:
    """The side of the squares that an image is cut into, None for the whole image at once."""

    side: int | None


def deep_dream(
    key: Key,
    features: Network,
    image: Image,
    layers: Mapping[str, float],
    *,
    guide: Image | None = None,
    octaves: int = 5,
    octave_scale: float = 1.4,
    smallest: int = 64,
    steps: int = 20,
    learning_rate: float = 0.01,
    jitter: int = 32,
    tile: int | None = None,
) -> Float[Array, "h w c"]:
    """Returns the image with more of what some layers already see in it.

    It maximizes half the mean square of each layer or, with a guide, the product of each position's
    features with those of the guide that suit them most. The image is first reduced, and then
    enlarged octave by octave: what was added to it is enlarged with it, so that patterns are of all
    sizes. Each step divides the gradient by its mean size.

    Args:
        key: of the shifts.
        features: `images -> {layer: map}`, such as `model.features`.
        image: in [0, 1].
        layers: weight of each layer.
        guide: image in [0, 1], of any size, whose features are to be seen.
        octaves: sizes of the image, the whole one included.
        octave_scale: ratio of their sides, above 1.
        smallest: octaves with a shorter side than this, in pixels, are left out.
        steps: at each size.
        learning_rate: mean change of a pixel in a step.
        jitter: largest shift of the image before each step, in pixels; opposite borders are joined.
        tile: side of the squares that a larger image is cut into, in pixels. Their features are
            computed one after the other, which bounds the memory; shifts are then as large as a
            square, which hides their borders. None takes the whole image at once.

    Raises:
        ValueError: if an image is not in [0, 1] or the network does not take its size, a layer is
            unknown or missing, or a number is out of its range.

    Source:
        Mordvintsev et al. (2015), "Inceptionism: going deeper into neural networks", and the
        program published with it.
    """
    check_count(octaves=octaves, smallest=smallest, steps=steps, tile=tile)
    check_count(jitter=jitter, low=0)
    if not octave_scale > 1:
        raise ValueError(f"octave_scale must be above 1, got {octave_scale}.")
    if not layers:
        raise ValueError("layers must hold at least one layer, got none.")
    features, original = as_argument(features), as_images(image)
    sizes = _sizes(original.shape[1:3], octaves, octave_scale, smallest)
    _check_network(features, layers, original, sizes[0], tile)
    wanted = {}
    if guide is not None:
        sample = as_images(guide, name="guide", channels=original.shape[-1])
        check_layers(output_shapes(features, sample, name="guide"), layers)
        wanted = _positions(features, sample, tuple(layers))
    weights = {layer: jnp.asarray(weight, jnp.float32) for layer, weight in layers.items()}
    detail = jnp.zeros_like(original)
    for number, size in enumerate(sizes):
        base, start = _enlarge(original, detail, size=size)
        objective = Partial(_loss, features, weights, wanted, jitter, _Cut(tile))
        result = optimize_inputs(
            *(jax.random.fold_in(key, number), objective, start),
            steps=steps,
            learning_rate=learning_rate,
            optimizer=_ascent,
            project=_clip,
        )
        detail = result.inputs - base
    return _clip(original + detail)[0]


def zoom(
    key: Key, dream: Dream, image: Image, *, count: int, factor: float = 1.04
) -> Iterator[Float[Array, "h w c"]]:
    """Returns the frames of a fall into a dream: each is the dream of the one before, enlarged.

    Args:
        key: each frame has its own.
        dream: `(key, image) -> image`, such as a `deep_dream` with one or two octaves.
        image: in [0, 1], of which the first frame is the dream.
        count: frames.
        factor: by which the middle of a frame is enlarged for the next, above 0.

    Raises:
        ValueError: if the image is not in [0, 1], or `count` or `factor` is out of its range.
    """
    image = as_images(image)[0]
    check_count(count=count)
    check_positive(factor=factor)
    for number in range(count):
        image = dream(jax.random.fold_in(key, number), image)
        yield image
        image = _scale(image, factor)


def _check_network(
    features: Network,
    layers: Mapping[str, float],
    image: Float[Array, "1 h w c"],
    size: tuple[int, ...],
    tile: int | None,
) -> None:
    """Refuses unknown layers, and octaves or squares that are too small for the network."""
    whole = size == image.shape[1:3]
    name = "image" if whole else "image, in its smallest octave,"
    least = jax.ShapeDtypeStruct((1, *size, image.shape[-1]), image.dtype)
    check_layers(output_shapes(features, least, name=name), layers)
    if tile is not None and max(image.shape[1:3]) > tile:
        squares = jax.eval_shape(lambda x: _squares(x, tile)[0], image)
        output_shapes(features, squares, name="image, in squares of tile,")


def _loss(
    features: Callable,
    weights: Mapping[str, Array],
    wanted: Mapping[str, Array],
    jitter: Any,
    cut: _Cut,
    images: Float[Array, "1 h w c"],
    key: Key,
) -> Float[Array, ""]:
    """What is descended, the negative sum over the layers."""

    def score(images: Float[Array, "1 h w c"]) -> Array:
        maps = features(images)
        terms = [
            weight * _similarity(maps[layer], wanted.get(layer))
            for layer, weight in weights.items()
        ]
        return sum(terms[1:], terms[0])

    side = cut.side
    reach = jitter if side is None else max(side, 1)
    images = jnp.roll(images, jax.random.randint(key, (2,), -reach, reach + 1), axis=(1, 2))
    if side is None or max(images.shape[1:3]) <= side:
        return -score(images)
    # Each square is computed again for its gradient, so that only one is in memory.
    return -jnp.mean(jax.lax.map(jax.checkpoint(score), _squares(images, side)))


def _similarity(maps: Float[Array, "1 h w c"], wanted: Float[Array, "n c"] | None) -> Array:
    """Half the mean square, or the mean product with those wanted features that suit most."""
    if wanted is None:
        return 0.5 * jnp.mean(maps**2)
    positions = maps.reshape(-1, maps.shape[-1])
    most = jnp.argmax(jax.lax.stop_gradient(positions) @ wanted.T, axis=1)
    return jnp.mean(positions * wanted[most])


def _squares(images: Float[Array, "1 h w c"], side: int) -> Float[Array, "n 1 s t c"]:
    """Parts of equal size, at most `side` high and wide, that cover the image on its torus."""
    _, h, w, c = images.shape
    rows, columns = -(-h // side), -(-w // side)
    s, t = -(-h // rows), -(-w // columns)
    images = jnp.pad(images, ((0, 0), (0, rows * s - h), (0, columns * t - w), (0, 0)), mode="wrap")
    parts = images.reshape(rows, s, columns, t, c).swapaxes(1, 2)
    return parts.reshape(rows * columns, 1, s, t, c)


def _sizes(
    size: tuple[int, ...], octaves: int, scale: float, smallest: int
) -> list[tuple[int, ...]]:
    """Rows and columns of each octave, the smallest first, the whole image last."""
    sizes = [(round(size[0] / scale**n), round(size[1] / scale**n)) for n in range(1, octaves)]
    return [*(s for s in reversed(sizes) if min(s) >= smallest), size]


def _ascent(learning_rate: Any) -> optax.GradientTransformation:
    """Steps of this mean size, whatever the gradient's."""

    def divide(gradient: Any, _: Any) -> Any:
        mean = jnp.mean(jnp.abs(gradient))
        return gradient / jnp.where(mean > 0, mean, 1)

    return optax.chain(optax.stateless(divide), optax.sgd(learning_rate))


@partial(jax.jit, static_argnames="layers")
def _positions(features: Callable, guide: Array, layers: tuple[str, ...]) -> dict[str, Array]:
    """The guide's features at each position, by layer."""
    maps = features(guide)
    return {layer: maps[layer].reshape(-1, maps[layer].shape[-1]) for layer in layers}


@partial(jax.jit, static_argnames="size")
def _enlarge(original: Array, detail: Array, *, size: tuple[int, ...]) -> tuple[Array, Array]:
    """The original at a size, and the same with what was added to it at a smaller one."""
    shape = (1, *size, original.shape[-1])
    base = jax.image.resize(original, shape, "linear")
    return base, base + jax.image.resize(detail, shape, "linear")


@jax.jit
def _scale(image: Array, factor: Any) -> Array:
    zero = jnp.zeros((), image.dtype)
    return _clip(warp(image[None], factor, zero, jnp.zeros(2, image.dtype))[0])


def _clip(images: Array) -> Array:
    return jnp.clip(images, 0, 1)
