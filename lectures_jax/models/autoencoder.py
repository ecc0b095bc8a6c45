"""Encoder and decoder pairs, dense and convolutional, and the plain autoencoder that joins them."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import jax
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax.models.mlp import Mlp
from lectures_jax.nn.convolution import Conv
from lectures_jax.nn.images import check_images
from lectures_jax.nn.initializers import he_normal
from lectures_jax.nn.upsampling import ResizeConv

Shape = tuple[int, ...]
"""Of one example: `(height, width, channels)`, or `(d,)` for vectors."""


class DenseDecoder(nnx.Module):
    """An `Mlp` whose outputs are the cells of an image.

    Args:
        latent: size of the code.
        shape: of an example.
        hidden: sizes of the hidden layers.
        activation: of the hidden layers.

    Source:
        Hinton & Salakhutdinov (2006).
    """

    def __init__(
        self,
        latent: int,
        shape: Shape,
        *,
        hidden: Sequence[int] = (256, 256),
        activation: Callable[[Array], Array] = jax.nn.relu,
        rngs: nnx.Rngs,
    ):
        sizes = (latent, *hidden, math.prod(shape))
        self.layers = Mlp(sizes, activation=activation, rngs=rngs)
        self.shape = tuple(shape)

    def __call__(self, z: Float[Array, "b z"]) -> Float[Array, "b *shape"]:
        """Returns the image before it is squashed."""
        return self.layers(z).reshape(z.shape[0], *self.shape)


def dense_encoder(
    shape: Shape,
    outputs: int,
    *,
    hidden: Sequence[int] = (256, 256),
    activation: Callable[[Array], Array] = jax.nn.relu,
    rngs: nnx.Rngs,
) -> Mlp:
    """Returns the `Mlp` that encodes an image.

    Args:
        shape: of an example.
        outputs: size of the code, twice that for a VAE.
        hidden: sizes of the hidden layers.
        activation: of the hidden layers.
        rngs: for the initial parameters.
    """
    return Mlp((math.prod(shape), *hidden, outputs), activation=activation, rngs=rngs)


class ConvEncoder(nnx.Module):
    """3×3 convolutions with stride 2, then two dense layers.

    Args:
        shape: of an image; height and width divisible by 2 once per convolution.
        outputs: size of the code; twice that for a VAE.
        channels: of each convolution.
        hidden: size of the dense layer in between.

    Raises:
        ValueError: if a side cannot be halved so often.

    Source:
        Masci et al. (2011); strides instead of pooling: Radford et al. (2016).
    """

    def __init__(
        self,
        shape: Shape,
        outputs: int,
        *,
        channels: Sequence[int] = (32, 64),
        hidden: int = 256,
        rngs: nnx.Rngs,
    ):
        h, w, inputs = _coarse(shape, len(channels))
        self.shape = (shape[0], shape[1], inputs)
        self.convolutions = nnx.List(
            Conv(a, b, (3, 3), strides=2, padding=1, kernel_init=he_normal, rngs=rngs)
            for a, b in pairwise((inputs, *channels))
        )
        self.dense = Mlp((h * w * channels[-1], hidden, outputs), activation=jax.nn.silu, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b z"]:
        """Returns the code of images."""
        height, width, channels = self.shape
        check_images(x, channels=channels, size=(height, width), name="x")
        for convolution in self.convolutions:
            x = jax.nn.silu(convolution(x))
        return self.dense(x)


class ConvDecoder(nnx.Module):
    """Two dense layers, then 3×3 convolutions, each after doubling the map by repeating cells.

    The mirror image of `ConvEncoder`. Repeating does not draw the checkerboards of strided
    transposed convolutions, and is several times faster on CPU.

    Args:
        latent: size of the code.
        shape: of an image; height and width divisible by 2 once per convolution.
        channels: of the maps, from the coarsest on.
        hidden: size of the dense layer in between.

    Raises:
        ValueError: if a side cannot be halved so often.

    Source:
        Odena et al. (2016).
    """

    def __init__(
        self,
        latent: int,
        shape: Shape,
        *,
        channels: Sequence[int] = (64, 32),
        hidden: int = 256,
        rngs: nnx.Rngs,
    ):
        h, w, outputs = _coarse(shape, len(channels))
        self.coarse = (h, w, channels[0])
        self.dense = Mlp((latent, hidden, h * w * channels[0]), activation=jax.nn.silu, rngs=rngs)
        self.convolutions = nnx.List(
            ResizeConv(a, b, rngs=rngs) for a, b in pairwise((*channels, outputs))
        )

    def __call__(self, z: Float[Array, "b z"]) -> Float[Array, "b h w c"]:
        """Returns the image before it is squashed."""
        x = self.dense(z).reshape(z.shape[0], *self.coarse)
        for convolution in self.convolutions:
            x = convolution(jax.nn.silu(x))
        return x


class Autoencoder(nnx.Module):
    """A code between an encoder and a decoder: `decode(encode(x))` should be x.

    Args:
        encoder: from an image to its code.
        decoder: from a code to an image before it is squashed.
        squash: function from the decoder's output to the range of the data; the identity for a
            linear autoencoder.

    Source:
        Rumelhart, Hinton & Williams (1986); Hinton & Salakhutdinov (2006).
    """

    def __init__(
        self,
        encoder: Callable[[Array], Array],
        decoder: Callable[[Array], Array],
        *,
        squash: Callable[[Array], Array] = jax.nn.sigmoid,
    ):
        self.encoder = encoder
        self.decoder = decoder
        self.squash = squash

    def encode(self, x: Float[Array, "b *shape"]) -> Float[Array, "b z"]:
        """Returns the codes."""
        return self.encoder(x)

    def decode(self, z: Float[Array, "b z"]) -> Float[Array, "b *shape"]:
        """Returns the images of codes."""
        return self.squash(self.decoder(z))

    def __call__(self, x: Float[Array, "b *shape"]) -> Float[Array, "b *shape"]:
        """Returns the reconstruction."""
        return self.decode(self.encode(x))


def _coarse(shape: Shape, halvings: int) -> tuple[int, int, int]:
    """Height and width of the coarsest map, and the image's channels."""
    if len(shape) != 3:
        raise ValueError(f"shape must be (height, width, channels), got {tuple(shape)}.")
    h, w, c = shape
    factor = 2**halvings
    if h % factor or w % factor:
        raise ValueError(f"shape must be divisible by {factor} in height and width, got {shape}.")
    return h // factor, w // factor, c
