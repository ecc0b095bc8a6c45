"""Residual networks: a block computes what to add to its input, so that depth does no harm."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.nn.classifier import Classifier
from lectures_jax.nn.convolution import ConvNorm
from lectures_jax.nn.images import check_images
from lectures_jax.nn.linear import Linear
from lectures_jax.nn.preprocessing import Normalize
from lectures_jax.nn.residual import ResidualConcat, ResidualSum

MOMENTUM = 0.9


@dataclass(frozen=True)
class ResNetSize:
    """How wide and deep a `ResNet` is.

    Attributes:
        blocks: residual blocks of each stage; every stage but the first halves the image.
        channels: of each stage; with bottlenecks a stage has four times as many outputs.
        bottleneck: blocks of 1×1, 3×3, 1×1 convolutions, not of two 3×3.
        large: for photographs, a 7×7 stem of stride 2 and pooling; otherwise a 3×3 stem.
        concatenate: a block's result is concatenated with its input and not added to it, so that
            the channels grow with each block.
        padded: where the shape changes, the input is not projected by a convolution but padded with
            channels of zeros (option A), so that shortcuts have no parameters.
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    channels: tuple[int, ...] = (64, 128, 256, 512)
    bottleneck: bool = False
    large: bool = True
    concatenate: bool = False
    padded: bool = False


RESNET18 = ResNetSize()
"""11,689,512 parameters for 1000 classes."""

RESNET34 = ResNetSize((3, 4, 6, 3))
"""21,797,672 parameters for 1000 classes."""

RESNET50 = ResNetSize((3, 4, 6, 3), bottleneck=True)
"""25,557,032 parameters for 1000 classes."""

RESNET101 = ResNetSize((3, 4, 23, 3), bottleneck=True)
"""44,549,160 parameters for 1000 classes."""

RESNET152 = ResNetSize((3, 8, 36, 3), bottleneck=True)
"""60,192,808 parameters for 1000 classes."""

CIFAR18 = ResNetSize(large=False)
"""ResNet-18 for images of 32×32: 11,173,962 parameters for 10 classes."""

CIFAR20 = ResNetSize((3, 3, 3), (16, 32, 64), large=False)
"""The smallest of He et al. (2016), sec. 4.2, with projections where the shape changes."""

CIFAR20_PADDED = replace(CIFAR20, padded=True)
"""The same as published, without projections: 269,722 parameters for 10 classes."""


class ZeroPadding(nnx.Module):
    """Every other cell, or all of them, between channels of zeros: a shortcut without parameters.

    Args:
        inputs: channels of the input.
        outputs: channels of the result, with half of the new ones on either side.
        stride: rows and columns from one cell to the next.

    Source:
        He et al. (2016), sec. 4.2, option A.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int):
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before
        self.stride = stride

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        x = x[:, :: self.stride, :: self.stride]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (self.before, self.after)))


class Block(nnx.Module):
    """`relu(f(x) + x)`; where the shape changes, x goes through a 1×1 convolution (option B).

    Args:
        inputs: channels of the input.
        channels: of the 3×3 convolutions.
        stride: of the block, taken by its (first) 3×3 convolution.
        bottleneck: 1×1, 3×3 and 1×1 to four times the channels; otherwise two 3×3.
        concatenate: `relu([x, f(x)])` in place of the sum.
        padded: channels of zeros in place of the 1×1 convolution (option A).

    Source:
        He et al. (2016), sec. 3.2 and 3.3, fig. 5; concatenation: Huang et al. (2017), eq. 2.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        *,
        stride: int,
        bottleneck: bool,
        concatenate: bool = False,
        padded: bool = False,
        rngs: nnx.Rngs,
    ):
        def conv(a: int, b: int, kernel: int, stride: int, relu: bool = True) -> ConvNorm:
            activation = jax.nn.relu if relu else None
            options = {"stride": stride, "momentum": MOMENTUM, "activation": activation}
            return ConvNorm(a, b, kernel, **options, rngs=rngs)

        results = 4 * channels if bottleneck else channels
        if bottleneck:
            layers = [conv(inputs, channels, 1, 1), conv(channels, channels, 3, stride)]
            layers.append(conv(channels, results, 1, 1, relu=False))
        else:
            layers = [conv(inputs, channels, 3, stride), conv(channels, channels, 3, 1, relu=False)]
        past = inputs if concatenate else results
        direct = stride == 1 and past == inputs
        if direct:
            shortcut = None
        elif padded:
            shortcut = ZeroPadding(inputs, past, stride=stride)
        else:
            shortcut = conv(inputs, past, 1, stride, relu=False)
        join = ResidualConcat if concatenate else ResidualSum
        self.residual = join(nnx.Sequential(*layers), shortcut=shortcut)
        self.outputs = past + results if concatenate else results

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        return jax.nn.relu(self.residual(x))


class ResNet(Classifier):
    """A residual network: `model(images)` gives one logit per class.

    Args:
        num_classes: number of classes.
        size: such as `RESNET18`, `RESNET50`, `CIFAR18` or `CIFAR20`.
        inputs: channels of the images.
        normalize: applied to the images first.

    Source:
        He et al. (2016), table 1 and sec. 4.2; with the stride of a bottleneck on its 3×3
        convolution, as in torchvision.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        size: ResNetSize = RESNET18,
        inputs: int = 3,
        normalize: Normalize | None = None,
        rngs: nnx.Rngs,
    ):
        first = size.channels[0]
        self.size = size
        self.inputs = inputs
        self.normalize = normalize
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
                block = Block(
                    width,
                    channels,
                    stride=2 if number and not i else 1,
                    bottleneck=size.bottleneck,
                    concatenate=size.concatenate,
                    padded=size.padded,
                    rngs=rngs,
                )
                blocks.append(block)
                width = block.outputs
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.classify = Linear(width, num_classes, rngs=rngs)

    def features(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b *_"]]:
        """Returns the maps by name: `stem`, `stage1`, …, then the vector `pooled`.

        In torchvision these are the outputs of `relu`, `layer1`, … and `avgpool`.
        """
        check_images(images, channels=self.inputs)
        x = self.stem(images if self.normalize is None else self.normalize(images))
        maps = {"stem": x}
        if self.size.large:
            x = ops.max_pool(x, size=3, stride=2, padding=1)
        for number, blocks in enumerate(self.stages, 1):
            for block in blocks:
                x = block(x)
            maps[f"stage{number}"] = x
        return {**maps, "pooled": jnp.mean(x, axis=(1, 2))}

    def last_map(self, images: Float[Array, "b h w c"]) -> Float[Array, "b _ _ _"]:
        """Returns the last stage's map, whose mean is `pooled`."""
        return self.features(images)[f"stage{len(self.stages)}"]

    @property
    def stride(self) -> int:
        """Pixels from one cell of the last map to the next."""
        return 2 ** (len(self.stages) - 1) * (4 if self.size.large else 1)
