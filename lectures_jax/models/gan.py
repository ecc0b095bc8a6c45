"""Generative adversarial networks: DCGAN's generator and discriminator, and the pair of any two."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax.nn.convolution import Conv
from lectures_jax.nn.images import check_images
from lectures_jax.nn.initializers import he_normal
from lectures_jax.nn.linear import Linear
from lectures_jax.nn.normalization import BatchNorm
from lectures_jax.nn.spectral import SpectralNorm
from lectures_jax.nn.upsampling import SubpixelConv

Up = Callable[..., Any]
"""`(inputs, outputs, rngs=rngs)` makes a layer that doubles a map; see `nn.upsampling`."""


class Generator(nnx.Module):
    """`generator(z)` draws images: a dense layer, layers that double the map, a convolution.

    Batch normalization and ReLU follow all but the last, which a sigmoid takes to [0, 1] (DCGAN has
    tanh, for images in [−1, 1], and draws them by its last doubling).

    Args:
        image_shape: height, width and channels of an image.
        latent: size of z.
        channels: of the maps, from the smallest to that of the image's size, each twice as large
            as the one before.
        up: the layer that doubles; `TransposedConv` is DCGAN's, the default faster on CPU.

    Raises:
        ValueError: if height and width cannot be halved so often.

    Source:
        Radford et al. (2016), fig. 1.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        *,
        latent: int = 32,
        channels: Sequence[int] = (64, 32),
        up: Up = SubpixelConv,
        rngs: nnx.Rngs,
    ):
        h, w, c = image_shape
        factor = 2 ** (len(channels) - 1)
        if not channels or h % factor or w % factor:
            raise ValueError(
                f"channels must double to {h}×{w} pixels, got {len(channels)} of them, which would "
                f"end at a multiple of {factor}."
            )
        self.start = (h // factor, w // factor, channels[0])
        size = self.start[0] * self.start[1] * channels[0]
        self.dense = Linear(latent, size, use_bias=False, rngs=rngs)
        self.norms = nnx.List(BatchNorm(n, momentum=0.9, rngs=rngs) for n in channels)
        self.ups = nnx.List(up(a, b, rngs=rngs) for a, b in pairwise(channels))
        self.draw = Conv(channels[-1], c, (3, 3), rngs=rngs)

    def __call__(self, z: Float[Array, "b d"]) -> Float[Array, "b h w c"]:
        x = self.dense(z).reshape(-1, *self.start)
        for norm, layer in zip(self.norms, (*self.ups, self.draw), strict=True):
            x = layer(jax.nn.relu(norm(x)))
        return jax.nn.sigmoid(x)


class Discriminator(nnx.Module):
    """`discriminator(images)` gives one logit per image, of being real.

    Convolutions that halve the map, each with a leaky ReLU, then a dense layer. Unlike DCGAN's it
    has no batch normalization: a gradient penalty needs a logit that depends on its image alone.

    Args:
        image_shape: height, width and channels of an image.
        channels: of the convolutions.
        spectral: divides every kernel by its spectral norm.

    Source:
        Radford et al. (2016), sec. 3; without normalization: Mescheder et al. (2018), sec. 5.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        *,
        channels: Sequence[int] = (32, 64),
        spectral: bool = False,
        rngs: nnx.Rngs,
    ):
        def maybe(layer: Any) -> Any:
            return SpectralNorm(layer, rngs=rngs) if spectral else layer

        h, w, c = image_shape
        self.image_shape = (h, w, c)
        self.convs = nnx.List(
            maybe(Conv(a, b, (4, 4), strides=2, padding="SAME", kernel_init=he_normal, rngs=rngs))
            for a, b in pairwise((c, *channels))
        )
        for _ in channels:
            h, w = -(-h // 2), -(-w // 2)
        self.dense = maybe(Linear(h * w * channels[-1], 1, rngs=rngs))

    def features(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b *_"]]:
        """Returns the map after each convolution: `conv1`, `conv2`, …"""
        height, width, channels = self.image_shape
        check_images(images, channels=channels, size=(height, width))
        x, maps = 2 * images - 1, {}
        for number, conv in enumerate(self.convs, 1):
            x = maps[f"conv{number}"] = jax.nn.leaky_relu(conv(x), negative_slope=0.2)
        return maps

    def __call__(self, images: Float[Array, "b h w c"]) -> Float[Array, " b"]:
        x = self.features(images)[f"conv{len(self.convs)}"]
        return self.dense(x.reshape(x.shape[0], -1))[:, 0]


class Gan(nnx.Module):
    """A generator and its discriminator, of any kind, as `train.fit_adversarial` takes them.

    Args:
        generator: `generator(z)` gives examples, with z of `latent` normal numbers.
        discriminator: `discriminator(examples)` gives logits, [b] or [b, 1].
        latent: size of z.

    Source:
        Goodfellow et al. (2014), sec. 3.
    """

    def __init__(self, generator: nnx.Module, discriminator: nnx.Module, *, latent: int):
        self.generator = generator
        self.discriminator = discriminator
        self.latent = latent

    def __call__(self, z: Float[Array, "b d"]) -> Float[Array, "b *_"]:
        return self.generator(z)

    def logits(self, examples: Float[Array, "b *_"]) -> Float[Array, " b"]:
        """Returns the logit of being real of each example."""
        return jnp.reshape(self.discriminator(examples), examples.shape[0])


def dcgan(
    image_shape: Sequence[int],
    *,
    latent: int = 32,
    channels: Sequence[int] = (64, 32),
    up: Up = SubpixelConv,
    spectral: bool = False,
    rngs: nnx.Rngs,
) -> Gan:
    """Returns a generator and a discriminator of mirrored sizes.

    Args:
        image_shape: height, width and channels of an image.
        latent: size of z.
        channels: of the generator, the smallest map first: two for 8×8 pixels, three for 28×28,
            four for 32×32. The discriminator has them reversed.
        up: the generator's layer that doubles a map.
        spectral: divides the discriminator's kernels by their spectral norms.
        rngs: for the initial parameters.
    """
    generator = Generator(image_shape, latent=latent, channels=channels, up=up, rngs=rngs)
    discriminator = Discriminator(
        image_shape, channels=channels[::-1], spectral=spectral, rngs=rngs
    )
    return Gan(generator, discriminator, latent=latent)
