"""Xception: a residual network of depth-wise separable convolutions."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.nn.classifier import Classifier
from lectures_jax.nn.convolution import ConvNorm
from lectures_jax.nn.images import check_images
from lectures_jax.nn.linear import Linear
from lectures_jax.nn.normalization import BatchNorm
from lectures_jax.nn.separable import SeparableConv


@dataclass(frozen=True)
class XceptionSize:
    """How wide and deep an `Xception` is.

    Attributes:
        stem: channels of the two ordinary convolutions.
        stem_stride: stride of the first of them.
        entry: channels of the blocks that halve the image.
        middle: number of blocks that keep its size.
        exit: channels of the last block, which halves the image once more.
        top: channels of the two separable convolutions after it.
    """

    stem: tuple[int, int] = (32, 64)
    stem_stride: int = 2
    entry: tuple[int, ...] = (128, 256, 728)
    middle: int = 8
    exit: tuple[int, int] = (728, 1024)
    top: tuple[int, int] = (1536, 2048)


FULL = XceptionSize()
"""As published: 22,855,952 parameters for 1000 classes."""

SMALL = XceptionSize((16, 32), 1, (64, 128), 1, (128, 192), (192, 256))
"""The same network for images of about 32×32 pixels."""


class SeparableNorm(nnx.Module):
    """`norm(separable(relu(x)))`, or without the ReLU."""

    def __init__(self, inputs: int, outputs: int, *, relu: bool = True, rngs: nnx.Rngs):
        self.conv = SeparableConv(inputs, outputs, use_bias=False, rngs=rngs)
        self.norm = BatchNorm(outputs, rngs=rngs)
        self.relu = relu

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        return self.norm(self.conv(jax.nn.relu(x) if self.relu else x))


class Block(nnx.Module):
    """Separable convolutions whose result is added to their input.

    Args:
        widths: channels before, between and after the convolutions.
        halve: pools 3×3 with stride 2 after them, and maps the input to the new shape by a 1×1
            convolution of stride 2.
        first_relu: False where the input has just passed through one.
    """

    def __init__(
        self, widths: Sequence[int], *, halve: bool, first_relu: bool = True, rngs: nnx.Rngs
    ):
        self.layers = nnx.List(
            SeparableNorm(a, b, relu=first_relu or i > 0, rngs=rngs)
            for i, (a, b) in enumerate(itertools.pairwise(widths))
        )
        ends = widths[0], widths[-1]
        self.shortcut = (
            ConvNorm(*ends, 1, stride=2, momentum=0.99, activation=None, rngs=rngs)
            if halve
            else None
        )

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        y = x
        for layer in self.layers:
            y = layer(y)
        if self.shortcut is None:
            return x + y
        return self.shortcut(x) + ops.max_pool(y, size=3, stride=2, padding=1)


class Xception(Classifier):
    """`model(images)` gives one logit per class.

    Every convolution is padded to keep the size, where the published stem cuts two pixels off.

    Args:
        num_classes: number of classes.
        size: `FULL` as published, or `SMALL`.
        inputs: channels of the images.

    Source:
        Chollet (2017), fig. 5.
    """

    def __init__(
        self, num_classes: int, *, size: XceptionSize = FULL, inputs: int = 3, rngs: nnx.Rngs
    ):
        def conv(a: int, b: int, stride: int) -> ConvNorm:
            return ConvNorm(a, b, stride=stride, momentum=0.99, activation=jax.nn.relu, rngs=rngs)

        self.inputs = inputs
        self.stem_stride = size.stem_stride
        self.stem = nnx.List(
            [conv(inputs, size.stem[0], size.stem_stride), conv(*size.stem, stride=1)]
        )
        blocks, width = [], size.stem[1]
        for i, channels in enumerate(size.entry):
            widths = (width, channels, channels)
            blocks.append(Block(widths, halve=True, first_relu=i > 0, rngs=rngs))
            width = channels
        self.entry = nnx.List(blocks)
        self.middle = nnx.List(
            Block((width,) * 4, halve=False, rngs=rngs) for _ in range(size.middle)
        )
        self.exit = Block((width, *size.exit), halve=True, rngs=rngs)
        widths = (size.exit[-1], *size.top)
        self.top = nnx.List(
            SeparableNorm(a, b, relu=False, rngs=rngs) for a, b in itertools.pairwise(widths)
        )
        self.classify = Linear(size.top[-1], num_classes, rngs=rngs)

    def features(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b *_"]]:
        """Returns the maps by name: `stem`, `entry1`, …, `middle`, `exit`, `top`, then `pooled`."""
        check_images(images, channels=self.inputs)
        x = images
        for layer in self.stem:
            x = layer(x)
        maps = {"stem": x}
        for number, block in enumerate(self.entry, 1):
            x = maps[f"entry{number}"] = block(x)
        for block in self.middle:
            x = block(x)
        maps["middle"] = x
        x = maps["exit"] = self.exit(x)
        for layer in self.top:
            x = jax.nn.relu(layer(x))
        maps["top"] = x
        return {**maps, "pooled": jnp.mean(x, axis=(1, 2))}

    def last_map(self, images: Float[Array, "b h w c"]) -> Float[Array, "b _ _ _"]:
        """Returns the map `top`, whose mean is `pooled`."""
        return self.features(images)["top"]

    @property
    def stride(self) -> int:
        """Pixels from one cell of the last map to the next."""
        return self.stem_stride * 2 ** (len(self.entry) + 1)
