"""Layers that double a map, all called `(inputs, outputs, rngs=rngs)`."""

from functools import partial

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.nn.convolution import Conv, ConvTranspose
from lectures_jax.nn.initializers import he_normal, normal

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


class ResizeConv(nnx.Module):
    """Each cell four times, then a 3×3 convolution. Source: Odena et al. (2016)."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.conv = Conv(inputs, outputs, (3, 3), kernel_init=he_normal, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        return self.conv(ops.upsample_nearest(x))
