"""Blocks whose output is joined to their input: added to it, or concatenated with it."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax.nn.convolution import ConvNorm


class ResidualSum(nnx.Module):
    """`x + f(x)`, or `g(x) + f(x)` where f changes the shape.

    The gradient reaches x through the sum undiminished, whatever the gradient of f.
    Source: He et al. (2016), eq. 1 and 2.

    Args:
        f: a layer or a network.
        shortcut: g, such as a 1×1 convolution with the stride of f; by default the identity.
    """

    def __init__(self, f: nnx.Module, *, shortcut: nnx.Module | None = None):
        self.f = f
        self.shortcut = shortcut

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b2 d"]:
        y, past = self.f(x), x if self.shortcut is None else self.shortcut(x)
        if y.shape != past.shape:
            raise ValueError(
                f"f must keep the shape {past.shape} without a shortcut, got {y.shape}."
            )
        return y + past


class ResidualConcat(nnx.Module):
    """`[x, f(x)]` along the channels, or `[g(x), f(x)]` where f changes the resolution.

    What comes after reads x unchanged, beside what f computed from it.
    Source: Huang et al. (2017), eq. 2; Ronneberger et al. (2015), fig. 1.

    Args:
        f: a layer or a network.
        shortcut: g, such as a 1×1 convolution with the stride of f; by default the identity.
    """

    def __init__(self, f: nnx.Module, *, shortcut: nnx.Module | None = None):
        self.f = f
        self.shortcut = shortcut

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b2 d"]:
        y, past = self.f(x), x if self.shortcut is None else self.shortcut(x)
        if y.shape[:-1] != past.shape[:-1]:
            raise ValueError(f"f must keep all axes of {past.shape} but the last, got {y.shape}.")
        return jnp.concatenate([past, y], axis=-1)


class DarknetResidual(nnx.Module):
    """`x + f(x)`, where `f` halves the channels by 1×1 and restores them by 3×3.

    Source: Redmon & Farhadi (2018), table 1.
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.reduce = ConvNorm(channels, channels // 2, 1, rngs=rngs)
        self.expand = ConvNorm(channels // 2, channels, 3, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return x + self.expand(self.reduce(x))
