"""Residual networks: blocks learn what to add to their input, so that depth does no harm."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.nn.convolution import ConvNorm
from lectures_jax.nn.linear import Linear
from lectures_jax.typing import Key

MOMENTUM = 0.9


@dataclass(frozen=True)
class Size:
    """How wide and deep a `ResNet` is.

    Attributes:
        blocks: residual blocks of each stage; every stage but the first halves the image.
        channels: of each stage; with bottlenecks a stage has four times as many outputs.
        bottleneck: blocks of 1×1, 3×3, 1×1 convolutions, not of two 3×3.
        large: for photographs: a 7×7 stem of stride 2 and pooling. Otherwise a 3×3 stem.
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    channels: tuple[int, ...] = (64, 128, 256, 512)
    bottleneck: bool = False
    large: bool = True


RESNET18 = Size()
"""11,689,512 parameters for 1000 classes."""

RESNET34 = Size((3, 4, 6, 3))
"""21,797,672 parameters for 1000 classes."""

RESNET50 = Size((3, 4, 6, 3), bottleneck=True)
"""25,557,032 parameters for 1000 classes."""

CIFAR18 = Size(large=False)
"""ResNet-18 for images of 32×32: 11,173,962 parameters for 10 classes."""

CIFAR20 = Size((3, 3, 3), (16, 32, 64), large=False)
"""The smallest of He et al. (2016), sec. 4.2, with projections where the shape changes."""


class Block(nnx.Module):
    """`relu(f(x) + x)`; where the shape changes, x goes through a 1×1 convolution (option B).

    Args:
        inputs: channels.
        channels: of the 3×3 convolutions.
        stride: of the block, taken by its (first) 3×3 convolution.
        bottleneck: 1×1, 3×3 and 1×1 to four times the channels; otherwise two 3×3.

    Source:
        He et al. (2016), sec. 3.2 and 3.3, fig. 5.
    """

    def __init__(
        self, inputs: int, channels: int, *, stride: int, bottleneck: bool, rngs: nnx.Rngs
    ):
        outputs = 4 * channels if bottleneck else channels
        plan = (
            [(inputs, channels, 1, 1), (channels, channels, 3, stride), (channels, outputs, 1, 1)]
            if bottleneck
            else [(inputs, channels, 3, stride), (channels, channels, 3, 1)]
        )
        layers = [
            ConvNorm(
                a,
                b,
                kernel,
                stride=s,
                momentum=MOMENTUM,
                activation=None if i == len(plan) - 1 else jax.nn.relu,
                rngs=rngs,
            )
            for i, (a, b, kernel, s) in enumerate(plan)
        ]
        self.layers = nnx.List(layers)
        self.shortcut = (
            ConvNorm(
                inputs, outputs, 1, stride=stride, momentum=MOMENTUM, activation=None, rngs=rngs
            )
            if stride > 1 or inputs != outputs
            else None
        )

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        y = x
        for layer in self.layers:
            y = layer(y)
        return jax.nn.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    """A residual network: `model(images)` gives one score per class.

    Args:
        num_classes: classes to tell apart.
        size: `RESNET18`, `RESNET34`, `RESNET50`, `CIFAR18`, `CIFAR20`.
        inputs: channels of the images.

    Source:
        He et al. (2016), table 1 and sec. 4.2; with the stride of a bottleneck on its 3×3
        convolution, as in torchvision.
    """

    def __init__(self, num_classes: int, *, size: Size = RESNET18, inputs: int = 3, rngs: nnx.Rngs):
        first = size.channels[0]
        self.size = size
        self.stem = ConvNorm(
            inputs,
            first,
            7 if size.large else 3,
            stride=2 if size.large else 1,
            momentum=MOMENTUM,
            activation=jax.nn.relu,
            rngs=rngs,
        )
        stages, width = [], first
        for number, (channels, count) in enumerate(zip(size.channels, size.blocks, strict=True)):
            blocks = []
            for i in range(count):
                stride = 2 if number and not i else 1
                blocks.append(
                    Block(width, channels, stride=stride, bottleneck=size.bottleneck, rngs=rngs)
                )
                width = 4 * channels if size.bottleneck else channels
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.classify = Linear(width, num_classes, rngs=rngs)

    def features(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b *_"]]:
        """Returns the maps by name: `stem`, `stage1`, …, then the vector `pooled`."""
        x = self.stem(images)
        maps = {"stem": x}
        if self.size.large:
            x = ops.max_pool(x, size=3, stride=2, padding=1)
        for number, blocks in enumerate(self.stages, 1):
            for block in blocks:
                x = block(x)
            maps[f"stage{number}"] = x
        return {**maps, "pooled": jnp.mean(x, axis=(1, 2))}

    def __call__(
        self, images: Float[Array, "b h w c"], *, key: Key | None = None
    ) -> Float[Array, "b k"]:
        """Returns the logits.

        Args:
            images: in [0, 1].
            key: for random layers, of which there are none.
        """
        del key
        return self.classify(self.features(images)["pooled"])
