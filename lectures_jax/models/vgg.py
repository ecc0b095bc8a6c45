"""VGG: depth by 3×3 convolutions alone."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.nn.classifier import Classifier
from lectures_jax.nn.convolution import Conv
from lectures_jax.nn.images import check_images
from lectures_jax.nn.initializers import he_normal
from lectures_jax.nn.linear import Linear
from lectures_jax.nn.normalization import BatchNorm
from lectures_jax.nn.preprocessing import Normalize
from lectures_jax.typing import Key

GRID = 7
"""Rows and columns that the last map is averaged to, before the dense layers."""


@dataclass(frozen=True)
class VggSize:
    """How wide and deep a `Vgg` is.

    Attributes:
        convolutions: of each stage; every stage ends with a pooling that halves the map.
        channels: of the convolutions of each stage.
        batch_norm: whether batch normalization follows each convolution.
        hidden: units of the two dense layers before the last.
        padding: of the convolutions: "SAME", zeros around the image keep its size; "VALID": none.
    """

    convolutions: tuple[int, ...] = (2, 2, 3, 3, 3)
    channels: tuple[int, ...] = (64, 128, 256, 512, 512)
    batch_norm: bool = False
    hidden: int = 4096
    padding: str = "SAME"

    @property
    def smallest(self) -> int:
        """Rows and columns of the smallest image: of its map one cell is left."""
        rows = 1
        for count in reversed(self.convolutions):
            rows = 2 * rows + (2 * count if self.padding == "VALID" else 0)
        return rows

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of maps in torchvision's order: the one at n is the output of `features.n`."""
        kinds = ("conv", "norm", "relu") if self.batch_norm else ("conv", "relu")
        names = []
        for stage, count in enumerate(self.convolutions, 1):
            for number, kind in itertools.product(range(1, count + 1), kinds):
                names.append(f"{kind}{stage}_{number}")
            names.append(f"pool{stage}")
        return tuple(names)


VGG11 = VggSize((1, 1, 2, 2, 2))
"""Configuration A: 132,863,336 parameters for 1000 classes."""

VGG13 = VggSize((2, 2, 2, 2, 2))
"""Configuration B: 133,047,848 parameters for 1000 classes."""

VGG16 = VggSize()
"""Configuration D: 138,357,544 parameters for 1000 classes."""

VGG19 = VggSize((2, 2, 4, 4, 4))
"""Configuration E: 143,667,240 parameters for 1000 classes."""

VGG11_BN, VGG13_BN, VGG16_BN, VGG19_BN = (
    replace(size, batch_norm=True) for size in (VGG11, VGG13, VGG16, VGG19)
)
"""The same with batch normalization, two more parameters per channel."""


class ConvLayer(nnx.Module):
    """A 3×3 convolution, and the batch normalization after it, if there is one."""

    def __init__(
        self, inputs: int, outputs: int, *, batch_norm: bool, padding: str, rngs: nnx.Rngs
    ):
        self.conv = Conv(inputs, outputs, (3, 3), padding=padding, kernel_init=he_normal, rngs=rngs)
        self.norm = BatchNorm(outputs, momentum=0.9, rngs=rngs) if batch_norm else None


class Vgg(Classifier):
    """`model(images)` gives one logit per class.

    Args:
        num_classes: number of classes.
        size: such as `VGG16` or `VGG19_BN`.
        inputs: channels of the images.
        dropout: share of each hidden layer's units that training sets to zero.
        normalize: applied to the images first.

    Raises:
        ValueError: if the padding is unknown.

    Source:
        Simonyan & Zisserman (2015), table 1. Images of any size: the last map is averaged to 7×7
        cells, as in torchvision.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        size: VggSize = VGG16,
        inputs: int = 3,
        dropout: float = 0.5,
        normalize: Normalize | None = None,
        rngs: nnx.Rngs,
    ):
        if size.padding not in ("SAME", "VALID"):
            raise ValueError(f"padding must be one of SAME, VALID, got {size.padding!r}.")
        self.size = size
        self.padding = size.padding
        self.inputs = inputs
        self.normalize = normalize
        self.stages = nnx.List(map(nnx.List, vgg_stages(size, inputs, rngs)))
        widths = (GRID * GRID * size.channels[-1], size.hidden, size.hidden)
        self.hidden = nnx.List(
            Linear(a, b, kernel_init=he_normal, rngs=rngs) for a, b in itertools.pairwise(widths)
        )
        self.dropout = nnx.Dropout(dropout) if dropout else None
        self.classify = Linear(size.hidden, num_classes, rngs=rngs)

    def features(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b *_"]]:
        """Returns the maps by name, then `pooled`, the units of the last hidden layer.

        The names are those of the literature: `conv1_1`, `relu1_1`, …, `pool1`, `conv2_1`, … up to
        `pool5`, with `norm1_1`, … between convolution and ReLU where batch normalization is.
        `size.layers` lists them in torchvision's order, so that `features.n` is `size.layers[n]`.
        Dropout is for `model(images)` alone.
        """
        maps, x = self._maps(images)
        for layer in self.hidden:
            x = jax.nn.relu(layer(x))
        return {**maps, "pooled": x}

    def __call__(
        self, images: Float[Array, "b h w c"], *, key: Key | None = None
    ) -> Float[Array, "b k"]:
        """Returns the logits.

        Args:
            images: in [0, 1].
            key: for dropout.
        """
        _, x = self._maps(images)
        keys = (None, None) if key is None else jax.random.split(key)
        for layer, key in zip(self.hidden, keys, strict=True):
            x = jax.nn.relu(layer(x))
            x = x if self.dropout is None else self.dropout(x, rngs=key)
        return self.classify(x)

    def last_map(self, images: Float[Array, "b h w c"]) -> Float[Array, "b _ _ _"]:
        """Returns the map of the last pooling, which becomes a row of 7×7 cells."""
        return self._maps(images)[0][f"pool{len(self.stages)}"]

    @property
    def stride(self) -> int:
        """Pixels from one cell of the last map to the next."""
        return 2 ** len(self.stages)

    def _maps(
        self, images: Float[Array, "b h w c"]
    ) -> tuple[dict[str, Float[Array, "b _ _ _"]], Float[Array, "b d"]]:
        """The maps of the convolutions by name, and the last as a row of 7×7 cells."""
        check_images(images, channels=self.inputs)
        if min(images.shape[1:3]) < (least := self.size.smallest):
            height, width = images.shape[1:3]
            raise ValueError(
                f"images must have {least} rows and columns at least, got {height}×{width}."
            )
        maps = vgg_maps(self.stages, images if self.normalize is None else self.normalize(images))
        x = maps[f"pool{len(self.stages)}"]
        return maps, _to_grid(x).reshape(x.shape[0], -1)


def vgg_stages(size: VggSize, inputs: int, rngs: nnx.Rngs) -> list[list[ConvLayer]]:
    """Returns the convolutions of each stage.

    Args:
        size: of the network.
        inputs: channels of the images.
        rngs: for the parameters.
    """
    stages = []
    for channels, count in zip(size.channels, size.convolutions, strict=True):
        widths = (inputs, *(channels,) * count)
        stages.append(
            [
                ConvLayer(a, b, batch_norm=size.batch_norm, padding=size.padding, rngs=rngs)
                for a, b in itertools.pairwise(widths)
            ]
        )
        inputs = channels
    return stages


def vgg_maps(
    stages: Sequence[Sequence[ConvLayer]], x: Float[Array, "b h w c"]
) -> dict[str, Float[Array, "b _ _ _"]]:
    """Returns the maps of the convolutions by name, up to the pooling of the last stage.

    Args:
        stages: as `vgg_stages` makes them.
        x: images, normalized.
    """
    maps = {}
    for stage, layers in enumerate(stages, 1):
        for number, layer in enumerate(layers, 1):
            name = f"{stage}_{number}"
            x = maps[f"conv{name}"] = layer.conv(x)
            if layer.norm is not None:
                x = maps[f"norm{name}"] = layer.norm(x)
            x = maps[f"relu{name}"] = jax.nn.relu(x)
        x = maps[f"pool{stage}"] = ops.max_pool(x, size=2)
    return maps


def _to_grid(x: Float[Array, "b h w c"]) -> Float[Array, "b 7 7 c"]:
    """Averages a map of any size to 7×7 cells; a smaller one is repeated."""
    if x.shape[1:3] == (GRID, GRID):
        return x
    rows, columns = (jnp.asarray(grid_shares(n), x.dtype) for n in x.shape[1:3])
    return jnp.einsum("ih,bhwc,jw->bijc", rows, x, columns, precision="highest")


def grid_shares(length: int) -> np.ndarray:
    """Returns what each of `length` cells adds to each of 7: torch's adaptive pooling of one axis.

    Args:
        length: rows or columns of the map.

    Returns:
        Shares of shape [7, length], each row of sum 1.
    """
    shares = np.zeros((GRID, length), np.float32)
    for i in range(GRID):
        first, end = i * length // GRID, math.ceil((i + 1) * length / GRID)
        shares[i, first:end] = 1 / (end - first)
    return shares
