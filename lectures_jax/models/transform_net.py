"""The image transformation network: a feed-forward network that repaints an image in one style."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.nn.convolution import Conv
from lectures_jax.nn.images import check_images
from lectures_jax.nn.initializers import he_normal
from lectures_jax.nn.upsampling import ResizeConv
from lectures_jax.typing import Key


@dataclass(frozen=True)
class TransformNetSize:
    """How wide and deep a `TransformNet` is.

    Attributes:
        channels: of the three maps on the way down, at full, half and a quarter of the resolution.
        blocks: residual blocks at a quarter of the resolution.
        kernel: rows and columns of the first and the last convolution, an odd number.
    """

    channels: tuple[int, int, int] = (32, 64, 128)
    blocks: int = 5
    kernel: int = 9


PUBLISHED = TransformNetSize()
"""As published."""

SMALL = TransformNetSize((16, 32, 64))
"""Half of its channels: a fourth of the computation, for training on a CPU."""


class InstanceNorm(nnx.Module):
    """`ops.instance_norm` with its scale and bias. Source: Ulyanov et al. (2016), eq. 2."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        del rngs  # nothing here is random; taken as every layer takes it
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return ops.instance_norm(x, self.scale[...], self.bias[...])


class ConvInstanceNorm(nnx.Module):
    """A convolution of the map continued by its reflection, and instance normalization.

    It has no bias, which the normalization would remove. Zeros around the map would be seen at the
    borders of the repainted image.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, rngs: nnx.Rngs):
        self.edge = kernel // 2
        self.conv = Conv(
            inputs,
            outputs,
            (kernel, kernel),
            strides=stride,
            padding="VALID",
            use_bias=False,
            kernel_init=he_normal,
            rngs=rngs,
        )
        self.norm = InstanceNorm(outputs, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        return self.norm(self.conv(_reflected(x, self.edge)))


class Upsampling(nnx.Module):
    """A convolution of the enlarged map, which is continued by its reflection, and the same."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.conv = ResizeConv(inputs, outputs, border="edge", use_bias=False, rngs=rngs)
        self.norm = InstanceNorm(outputs, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        return self.norm(self.conv(x))


class Residual(nnx.Module):
    """`x + f(x)`, where f is two 3×3 convolutions. Source: Johnson et al. (2016), sec. 3.1."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.first = ConvInstanceNorm(channels, channels, 3, rngs=rngs)
        self.second = ConvInstanceNorm(channels, channels, 3, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return x + self.second(jax.nn.relu(self.first(x)))


class TransformNet(nnx.Module):
    """`model(images)` are the images as it repaints them, of the same size, in [0, 1].

    A 9×9 convolution, two 3×3 ones of stride 2, residual blocks, two enlargements, each followed by
    a 3×3 convolution, and a 9×9 one. An image whose sides are no multiples of four is continued up
    to them by its reflection. As published, the image is continued once, by 40 pixels, which the
    blocks consume, and not each map: that takes 2.25 times the computation at 160 pixels.

    Args:
        size: such as `PUBLISHED` or `SMALL`.

    Source:
        Johnson et al. (2016), sec. 3.1, and table 1 of their supplementary material; normalization
        over one image: Ulyanov et al. (2016); enlargement before a convolution, in place of a
        transposed one: Odena et al. (2016).
    """

    def __init__(self, *, size: TransformNetSize = PUBLISHED, rngs: nnx.Rngs):
        self.size = size
        full, half, quarter = size.channels
        self.down = nnx.List(
            [
                ConvInstanceNorm(3, full, size.kernel, rngs=rngs),
                ConvInstanceNorm(full, half, 3, stride=2, rngs=rngs),
                ConvInstanceNorm(half, quarter, 3, stride=2, rngs=rngs),
            ]
        )
        self.blocks = nnx.List(Residual(quarter, rngs=rngs) for _ in range(size.blocks))
        self.up = nnx.List(
            [Upsampling(quarter, half, rngs=rngs), Upsampling(half, full, rngs=rngs)]
        )
        self.paint = Conv(full, 3, (size.kernel, size.kernel), padding="VALID", rngs=rngs)

    def __call__(
        self, images: Float[Array, "b h w c"], *, key: Key | None = None
    ) -> Float[Array, "b h w c"]:
        """Returns the repainted images.

        Args:
            images: RGB in [0, 1], of at least two rows and columns.
            key: not used.
        """
        check_images(images, channels=3)
        height, width = images.shape[1:3]
        if height < 2 or width < 2:
            raise ValueError(f"images must have 2 rows and columns at least, got {height}×{width}.")
        far = ((0, 0), (0, -height % 4), (0, -width % 4), (0, 0))
        x = jnp.pad(images, far, mode="reflect")
        for layer in self.down:
            x = jax.nn.relu(layer(x))
        for block in self.blocks:
            x = block(x)
        for layer in self.up:
            x = jax.nn.relu(layer(x))
        x = self.paint(_reflected(x, self.size.kernel // 2))
        return jax.nn.sigmoid(x[:, :height, :width])


def _reflected(x: Float[Array, "b h w c"], edge: int) -> Float[Array, "b h2 w2 c"]:
    return jnp.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)), mode="reflect")
