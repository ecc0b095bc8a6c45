"""Layers that double a map, all called `(inputs, outputs, rngs=rngs)`; and an interpolation."""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.nn.convolution import Conv, ConvTranspose
from lectures_jax.nn.initializers import he_normal, normal
from lectures_jax.nn.precision import promote

TransposedConv = partial(ConvTranspose, kernel=4, stride=2)
"""A transposed 4×4 convolution: taps and stride fit, so that each cell gets as many of them."""


class SubpixelConv(nnx.Module):
    """A 3×3 convolution to four times the channels, which become four cells.

    Computed on the small map: on CPU several times as fast as the other two. The four kernels of a
    channel start alike, so that at first it is a convolution and repetition of its cells.
    Source: Shi et al. (2016), sec. 3.2; start: Aitken et al. (2017), sec. 4.
    """

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.conv = Conv(inputs, 4 * outputs, (3, 3), rngs=rngs)
        deviation = (2 / (9 * inputs)) ** 0.5
        kernel = deviation * normal(rngs.params(), (3, 3, inputs, outputs))
        self.conv.kernel[...] = jnp.tile(kernel, (1, 1, 1, 4))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        return ops.depth_to_space(self.conv(x), factor=2)


class BilinearUpsampling(nnx.Module):
    """A transposed convolution that starts as bilinear interpolation, and is trained from there.

    The map is continued by its outer cells, so that it starts as `ops.upsample_bilinear` up to the
    border, where the transposed convolution of the map alone fades towards 0.

    Args:
        channels: of the map and of the result.
        factor: by which rows and columns are enlarged.

    Source:
        Long et al. (2015), sec. 3.3 and 4.1.
    """

    def __init__(self, channels: int, *, factor: int = 2, rngs: nnx.Rngs):
        kernel = ops.bilinear_kernel(factor=factor, channels=channels)
        self.factor = factor
        self.conv = ConvTranspose(
            channels, channels, len(kernel), stride=factor, use_bias=False, rngs=rngs
        )
        self.conv.kernel[...] = kernel

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        f = self.factor
        y = self.conv(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge"))
        return y[:, f:-f, f:-f]


class ResizeConv(nnx.Conv):
    """Each cell four times, then a 3×3 convolution. Source: Odena et al. (2016).

    Args:
        inputs: channels of the map.
        outputs: channels of the result.
        border: what lies around the map, as for `ops.upsample_conv2d`.
        use_bias: whether there is one.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        border: str = "zeros",
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            inputs, outputs, (3, 3), use_bias=use_bias, kernel_init=he_normal, rngs=rngs
        )
        self.border = border

    def __call__(
        self, inputs: Float[Array, "b h w c"], out_sharding: Any = None
    ) -> Float[Array, "b h2 w2 d"]:
        del out_sharding  # of Flax's layer
        bias = None if self.bias is None else self.bias[...]
        x, kernel, bias = promote(self.dtype, inputs, self.kernel[...], bias)
        return ops.upsample_conv2d(x, kernel, bias, border=self.border)
