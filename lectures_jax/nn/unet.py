"""The blocks of a U-Net: two convolutions, and the way up to a map of twice the size."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax.nn.convolution import Conv, ConvTranspose
from lectures_jax.nn.initializers import he_normal
from lectures_jax.nn.normalization import BatchNorm
from lectures_jax.typing import Length


class DoubleConv(nnx.Module):
    """Two 3×3 convolutions, each with ReLU. Source: Ronneberger et al. (2015), sec. 2.

    Args:
        inputs: channels of the input.
        outputs: channels of both results.
        padding: "VALID" takes two pixels off each side, "SAME" none.
        batch_norm: whether batch normalization precedes each ReLU; convolutions then have no bias.
    """

    def __init__(
        self, inputs: int, outputs: int, *, padding: str, batch_norm: bool, rngs: nnx.Rngs
    ):
        def conv(channels: int) -> nnx.Conv:
            return Conv(
                channels,
                outputs,
                (3, 3),
                padding=padding,
                use_bias=not batch_norm,
                kernel_init=he_normal,
                rngs=rngs,
            )

        def norm() -> BatchNorm | None:
            return BatchNorm(outputs, momentum=0.9, rngs=rngs) if batch_norm else None

        self.convs = nnx.List([conv(inputs), conv(outputs)])
        self.norms = nnx.List([norm(), norm()])

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = conv(x)
            x = jax.nn.relu(x if norm is None else norm(x))
        return x


class UpBlock(nnx.Module):
    """Joins a coarse map to a finer one: a 2×2 up-convolution, concatenation, two convolutions.

    The finer map is cropped at its middle where it is larger than the enlarged one.
    Source: Ronneberger et al. (2015), sec. 2.

    Args:
        inputs: channels of the coarse map.
        outputs: channels of the finer map and of the result.
        padding: of the convolutions, as for `DoubleConv`.
        batch_norm: of the convolutions, as for `DoubleConv`.
    """

    def __init__(
        self, inputs: int, outputs: int, *, padding: str, batch_norm: bool, rngs: nnx.Rngs
    ):
        self.enlarge = ConvTranspose(inputs, outputs, 2, stride=2, padding="VALID", rngs=rngs)
        self.convs = DoubleConv(
            2 * outputs, outputs, padding=padding, batch_norm=batch_norm, rngs=rngs
        )

    def __call__(
        self, coarse: Float[Array, "b h w c"], fine: Float[Array, "b h2 w2 d"]
    ) -> Float[Array, "b h3 w3 d"]:
        coarse = self.enlarge(coarse)
        fine = crop_center(fine, height=coarse.shape[1], width=coarse.shape[2])
        return self.convs(jnp.concatenate([fine, coarse], axis=-1))


def crop_center(
    x: Float[Array, "b h w c"], *, height: Length, width: Length
) -> Float[Array, "b h2 w2 c"]:
    """Returns the middle of maps; an odd row or column more is cut off at the bottom and right.

    Args:
        x: maps at least as large as the result.
        height: rows of the result.
        width: its columns.
    """
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    return x[:, top : top + height, left : left + width]
