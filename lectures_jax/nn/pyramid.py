"""Feature pyramids for detectors: a coarse map is enlarged and joined to a finer one."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.nn.convolution import ConvNorm


class Neck(nnx.Module):
    """Convolutions before a head: 1×1 down, then `depth` times 3×3 up and 1×1 down.

    Source: Redmon & Farhadi (2018), sec. 2.3 ("several convolutional layers"); depth 2 in Darknet's
    configuration.
    """

    def __init__(self, inputs: int, channels: int, *, depth: int, rngs: nnx.Rngs):
        self.reduce = ConvNorm(inputs, channels, 1, rngs=rngs)
        self.blocks = nnx.List(
            nnx.List(
                [
                    ConvNorm(channels, 2 * channels, 3, rngs=rngs),
                    ConvNorm(2 * channels, channels, 1, rngs=rngs),
                ]
            )
            for _ in range(depth)
        )

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        x = self.reduce(x)
        for expand, reduce in self.blocks:
            x = reduce(expand(x))
        return x


class Lateral(nnx.Module):
    """Joins a coarse map to a finer one: 1×1 to half its channels, twice the size, concatenated.

    Source: Redmon & Farhadi (2018), sec. 2.3; Lin et al. (2017), who add instead.
    """

    def __init__(self, channels: int, outputs: int, *, rngs: nnx.Rngs):
        self.reduce = ConvNorm(channels, outputs, 1, rngs=rngs)

    def __call__(
        self, coarse: Float[Array, "b h w c"], fine: Float[Array, "b 2*h 2*w d"]
    ) -> Float[Array, "b 2*h 2*w e"]:
        return jnp.concatenate([ops.upsample_nearest(self.reduce(coarse)), fine], axis=-1)
