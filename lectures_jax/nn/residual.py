"""Blocks whose output is added to their input."""

from flax import nnx
from jaxtyping import Array, Float

from .convolution import ConvNorm


class DarknetResidual(nnx.Module):
    """`x + f(x)`, where `f` halves the channels by 1×1 and restores them by 3×3.

    Source: Redmon & Farhadi (2018), table 1.
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.reduce = ConvNorm(channels, channels // 2, 1, rngs=rngs)
        self.expand = ConvNorm(channels // 2, channels, 3, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return x + self.expand(self.reduce(x))
