"""Convolution, normalization, activation: the brick of every detector here."""

from functools import partial

import jax
from flax import nnx
from jaxtyping import Array, Float

from .normalization import BatchNorm

leaky_relu = partial(jax.nn.leaky_relu, negative_slope=0.1)
"""Darknet's activation. Source: Redmon et al. (2016), eq. 2."""


class ConvNorm(nnx.Module):
    """`leaky(norm(conv(x)))`, without bias since the normalization has one.

    The picture is padded by half the kernel on every side, also under a stride, as in Darknet
    (XLA's SAME would pad the far sides only). Source: Redmon & Farhadi (2017), sec. 2.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        momentum: float = 0.95,
        rngs: nnx.Rngs,
    ):
        self.conv = nnx.Conv(
            inputs,
            outputs,
            (kernel, kernel),
            strides=stride,
            padding=kernel // 2,
            use_bias=False,
            kernel_init=nnx.initializers.he_normal(),
            rngs=rngs,
        )
        self.norm = BatchNorm(outputs, momentum=momentum, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        return leaky_relu(self.norm(self.conv(x)))
