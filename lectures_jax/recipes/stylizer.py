"""A network that repaints images in one style, trained against the features of another."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float
from PIL import Image

from lectures_jax import objectives, ops, weights
from lectures_jax.input_optimization.images import as_images
from lectures_jax.models.transform_net import SMALL, TransformNet, TransformNetSize
from lectures_jax.recipes.optimizers import adam
from lectures_jax.recipes.tiles import paint_tiles
from lectures_jax.train import fit
from lectures_jax.train.history import Row
from lectures_jax.typing import Batch

MULTIPLE = 64
"""Sides of images are rounded up to multiples of it, so that few programs are compiled."""

MOST_PIXELS = 1_000_000
"""Of an image that is repainted as a whole, which takes 0.6 to 2.1 KB for each."""


@dataclass(frozen=True)
class Settings:
    """How a stylizer is trained."""

    image_size: int = 192
    """rows and columns of the crops that it is trained on"""
    style_size: int = 320
    """pixels of the longer side of the style's image: the larger, the larger are its strokes"""
    steps: int = 3000
    """training steps"""
    batch_size: int = 1
    """crops per step"""
    learning_rate: float = 3e-3
    """highest of Adam's one-cycle schedule"""
    beta: float = 2.5
    """weight of the style; that of the content is 1"""
    variation: float = 5.0
    """weight of the mean squared difference of neighboring pixels"""
    size: TransformNetSize = SMALL
    """width and depth of the network"""


class Layers(NamedTuple):
    """The layers of a loss network.

    Attributes:
        content: whose features a repainted image should keep.
        style: γ of the layers whose Gram matrices it should share with the style.
    """

    content: str
    style: dict[str, float]


SQUEEZENET = Layers(
    "fire3",
    dict.fromkeys(("relu1", "fire2", "fire3", "fire4", "fire5", "fire7"), 1 / 6),
)
"""Of SqueezeNet."""

TEXTURES = Layers("stage2", dict.fromkeys(("pixels", "stage1", "stage2", "stage3"), 1 / 4))
"""Of the network of `feature_network` without a file, `WithPixels`."""


class WithPixels(nnx.Module):
    """A network whose first map, `pixels`, is the image itself, less a color.

    The network of textures was trained on images of changed colors: it does not tell which colors a
    style has. With the mean color of the style, the Gram matrix of its pixels is their covariance.

    Args:
        network: with `features(images)`.
        color: RGB that is subtracted.
    """

    def __init__(self, network: Any, color: Float[np.ndarray, " 3"]):
        self.network = network
        self.color = nnx.Variable(jnp.asarray(color, jnp.float32).reshape(1, 1, 1, 3))

    def features(self, images: Float[Array, "b h w 3"]) -> dict[str, Float[Array, "b *_"]]:
        """Returns the pixels and the maps of the network.

        Args:
            images: RGB in [0, 1].
        """
        return {"pixels": images - self.color[...], **self.network.features(images)}


class Trained(NamedTuple):
    """A trained stylizer.

    Attributes:
        model: the network, in evaluation mode.
        history: the rows of `train.fit`.
    """

    model: TransformNet
    history: list[Row]


def train(
    settings: Settings,
    photographs: Sequence[Float[np.ndarray, "_ _ 3"]],
    style: Float[np.ndarray, "_ _ 3"],
    network: Any,
    out: Path | None = None,
    *,
    layers: Layers = SQUEEZENET,
    seed: int = 0,
) -> Trained:
    """Trains a network that repaints images in the style of one.

    Args:
        settings: of the training.
        photographs: RGB in [0, 1], of any sizes, from which it is trained on crops.
        style: RGB in [0, 1], of any size.
        network: the loss network, with `features(images)`, such as
            `weights.load_pretrained("squeezenet1_1", path=…)`.
        out: folder of the run, in which it resumes (see `train.fit`) and where
            `model.safetensors` is written; None leaves no files.
        layers: of the loss network.
        seed: of parameters, crops and their order.

    Raises:
        ValueError: if there is no photograph, one is not RGB in [0, 1], or the network has no such
            layer.
    """
    key_init, key_train = jax.random.split(jax.random.key(seed))
    sizes = {"size": dataclasses.asdict(settings.size)}
    model, history = fit(
        key_train,
        weights.build_model("stylizer", sizes, rngs=nnx.Rngs(key_init)),
        partial(
            objectives.stylizer,
            content_layer=layers.content,
            style_weights=layers.style,
            beta=settings.beta,
            variation=settings.variation,
        ),
        adam(optax.cosine_onecycle_schedule(settings.steps, settings.learning_rate)),
        crops(settings, photographs, seed=seed),
        fixed=objectives.LossNetwork(network, grams(settings, style, network, tuple(layers.style))),
        steps=settings.steps,
        out=out,
    )
    if out is not None:
        weights.save_model(out / "model.safetensors", model, kind="stylizer", settings=sizes)
    return Trained(model, history)


def grams(
    settings: Settings, style: Float[np.ndarray, "_ _ 3"], network: Any, layers: tuple[str, ...]
) -> dict[str, jax.Array]:
    """Returns the Gram matrices of a style, divided by the positions of their maps.

    Args:
        settings: for the size of the style's image.
        style: RGB in [0, 1].
        network: with `features(images)`.
        layers: names of maps.
    """
    maps = network.features(jnp.asarray(resized(style, settings.style_size))[None])
    if unknown := [layer for layer in layers if layer not in maps]:
        raise ValueError(f"layers must be some of {', '.join(maps)}, got {unknown[0]!r}.")
    return {
        layer: ops.gram_matrix(maps[layer][0]) / (maps[layer].shape[1] * maps[layer].shape[2])
        for layer in layers
    }


def crops(
    settings: Settings, photographs: Sequence[Float[np.ndarray, "_ _ 3"]], *, seed: int = 0
) -> Iterator[Batch]:
    """Returns batches of squares, mirrored at random, without end.

    A square is between half of a photograph's shorter side and all of it, at a random place.

    Args:
        settings: for the sizes of crop and batch.
        photographs: RGB in [0, 1], of any sizes.
        seed: of the crops.

    Raises:
        ValueError: if there is no photograph, or one is not RGB in [0, 1].
    """
    if not len(photographs):
        raise ValueError("photographs must hold at least one image, got none.")
    images = [_pixels(x, name=f"photographs[{n}]") for n, x in enumerate(photographs)]
    side = settings.image_size

    def batches() -> Iterator[Batch]:
        rng = np.random.default_rng(seed)
        while True:
            batch = np.empty((settings.batch_size, side, side, 3), np.float32)
            for crop in batch:
                image = images[rng.integers(len(images))]
                length = min(image.size) * rng.uniform(0.5, 1)
                x, y = (rng.uniform(0, n - length) for n in image.size)
                square = image.resize(
                    (side, side), Image.Resampling.BICUBIC, (x, y, x + length, y + length)
                )
                crop[:] = np.asarray(square)[:, :: rng.choice([-1, 1])] / np.float32(255)
            yield {"image": batch}

    return batches()


def resized(image: Float[np.ndarray, "h w 3"], longest: int) -> Float[np.ndarray, "_ _ 3"]:
    """Returns an image whose longer side has so many pixels.

    Args:
        image: RGB in [0, 1].
        longest: pixels, at least 1.

    Raises:
        ValueError: if the image is not RGB in [0, 1].
    """
    height, width = image.shape[:2]
    factor = longest / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    pixels = _pixels(image, name="image").resize(size, Image.Resampling.LANCZOS)
    return np.asarray(pixels, np.float32) / 255


def _pixels(image: Any, *, name: str) -> Image.Image:
    """As Pillow has it, after a look at it."""
    as_images(image, name=name, channels=3)
    return Image.fromarray(np.rint(255 * np.asarray(image)).astype(np.uint8))


@jax.jit
def _paint(model: TransformNet, images: jax.Array) -> jax.Array:
    return model(images)


def paint(model: TransformNet, image: Any) -> Float[np.ndarray, "h w 3"]:
    """Returns an image of any size as a stylizer repaints it.

    It is continued by its reflection to sides that are multiples of 64, and cut afterwards. One of
    more than a million pixels is repainted in tiles, without seams, whose mean and variance are
    those of parts of it (see `recipes.tiles`).

    Args:
        model: as `train` or `weights.load_model` returns it.
        image: RGB in [0, 1].

    Raises:
        ValueError: if it is no such image.
    """
    as_images(image, channels=3)  # refuses what is none; a large image is not kept twice
    image = np.asarray(image)
    height, width = image.shape[:2]
    if height * width > MOST_PIXELS:
        return paint_tiles(model, image)
    rows, columns = (-n % MULTIPLE for n in (height, width))
    whole = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="symmetric")
    return np.asarray(_paint(model, jnp.asarray(whole)[None]))[0, :height, :width]
