"""Networks of diffusion models, which depend on the noise level: a small U-Net, and a dense one."""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from lectures_jax import ops
from lectures_jax.models.mlp import Mlp
from lectures_jax.nn.diffusion import (
    ConditionedBlock,
    ConditionEmbedding,
    GroupNorm,
    SelfAttention,
    XlaConv,
)
from lectures_jax.nn.images import check_images
from lectures_jax.nn.random import split_optional
from lectures_jax.typing import Key


class Denoiser(nnx.Module):
    """`model(x_t, alpha_bar, labels)` gives numbers in the shape of `x_t`: noise, x0 or velocity.

    Maps are halved between levels on the way down and doubled on the way up, where the map of the
    same size from the way down is concatenated. Cells of the smallest map attend to one another.

    Args:
        channels: of each level, from the finest; multiples of `groups`.
        inputs: channels of the images.
        num_classes: number of classes; 0 makes a network without classes.
        patch: side of the squares of pixels that become one cell, and pixels again at the end; 2
            takes a quarter of the time.
        blocks: number of blocks on each level, down and up.
        condition: size of the vector that encodes noise level and class.
        groups: number of groups of the normalizations.
        dropout: share of the values in each block that training sets to zero.

    Raises:
        ValueError: if there is no level.

    Source:
        Ho et al. (2020), appendix B; Dhariwal & Nichol (2021), sec. 3.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64),
        inputs: int = 1,
        num_classes: int = 0,
        patch: int = 1,
        blocks: int = 1,
        condition: int = 128,
        groups: int = 8,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        if not channels:
            raise ValueError(f"channels must have at least one level, got {channels}.")

        def block(a: int, b: int) -> ConditionedBlock:
            return ConditionedBlock(
                a, b, condition=condition, groups=groups, dropout=dropout, rngs=rngs
            )

        def level(a: int, b: int):
            return nnx.List(block(a if i == 0 else b, b) for i in range(blocks))

        self.patch = patch
        self.inputs = inputs
        self.num_classes = num_classes
        self.condition = ConditionEmbedding(condition, num_classes=num_classes, rngs=rngs)
        self.stem = XlaConv(inputs * patch**2, channels[0], (3, 3), rngs=rngs)
        widths = list(itertools.pairwise((channels[0], *channels)))
        self.down = nnx.List(level(a, b) for a, b in widths)
        self.attend = SelfAttention(channels[-1], groups=groups, rngs=rngs)
        self.middle = block(channels[-1], channels[-1])
        # Narrowed before it is enlarged: a convolution of 1×1 costs least on the smaller map.
        self.narrow = nnx.List(
            XlaConv(b, a, (1, 1), rngs=rngs) for a, b in list(itertools.pairwise(channels))[::-1]
        )
        self.up = nnx.List(level(2 * c, c) for c in channels[::-1])
        self.norm = GroupNorm(channels[0], groups=groups, rngs=rngs)
        self.head = XlaConv(
            channels[0],
            inputs * patch**2,
            (3, 3),
            kernel_init=nnx.initializers.zeros,
            rngs=rngs,
        )

    def __call__(
        self,
        x_t: Float[Array, "b h w c"],
        alpha_bar: Float[Array, " b"],
        labels: Int[Array, " b"] | None = None,
        *,
        key: Key | None = None,
    ) -> Float[Array, "b h w c"]:
        """Returns the prediction.

        Args:
            x_t: noisy images, about in [-1, 1] without noise.
            alpha_bar: signal ratio of each image.
            labels: class of each image; `num_classes` stands for no class, None for no class at
                all images.
            key: for dropout.
        """
        check_images(x_t, channels=self.inputs, name="x_t", signed=True)
        factor = self.patch * 2 ** (len(self.down) - 1)
        if x_t.shape[1] % factor or x_t.shape[2] % factor:
            raise ValueError(f"x_t must have sides of a multiple of {factor}, got {x_t.shape}.")
        blocks = [block for level in (*self.down, *self.up) for block in level]
        keys = iter(split_optional(key, len(blocks) + 1))
        condition = self.condition(alpha_bar, labels)
        x = self.stem(ops.space_to_depth(x_t, factor=self.patch))
        past = []
        for number, level in enumerate(self.down):
            x = x if number == 0 else _halve(x)
            for block in level:
                x = block(x, condition, key=next(keys))
            past.append(x)
        x = self.middle(self.attend(x), condition, key=next(keys))
        for number, level in enumerate(self.up):
            x = x if number == 0 else ops.upsample_nearest(self.narrow[number - 1](x))
            x = jnp.concatenate([x, past.pop()], axis=-1)
            for block in level:
                x = block(x, condition, key=next(keys))
        return ops.depth_to_space(self.head(jax.nn.silu(self.norm(x))), factor=self.patch)


class DenseDenoiser(nnx.Module):
    """A denoiser without convolutions or classes, for images of few pixels.

    A residual block between dense layers, and a shortcut from the input to the output that is
    weighted by the level of noise: at the ends of the scale nearly all of the input is kept.

    Args:
        shape: of an image.
        hidden: units of each layer.
        embedding: size of the encoding of the level, even.
        rngs: for the initial parameters.

    Source:
        He et al. (2016), eq. 1; the shortcut: Karras et al. (2022), eq. 7.
    """

    num_classes = 0

    def __init__(
        self, shape: tuple[int, ...], *, hidden: int = 192, embedding: int = 64, rngs: nnx.Rngs
    ):
        size = math.prod(shape)
        self.embedding = embedding
        self.image = Mlp((size, hidden), rngs=rngs)
        self.level = Mlp((embedding, hidden), rngs=rngs)
        self.shortcut = Mlp((embedding, 1), rngs=rngs)
        self.block = Mlp((hidden, hidden, hidden), activation=jax.nn.silu, rngs=rngs)
        self.end = Mlp((hidden, hidden, size), activation=jax.nn.silu, rngs=rngs)

    def __call__(
        self,
        x_t: Float[Array, "b *shape"],
        alpha_bar: Float[Array, " b"],
        labels: None = None,
        *,
        key: Key | None = None,
    ) -> Float[Array, "b *shape"]:
        """Returns the prediction.

        Args:
            x_t: noisy images.
            alpha_bar: signal ratio of each image, or the time of flow matching.
            labels: None, as there are no classes.
            key: not used.
        """
        x, level = (
            x_t.reshape(x_t.shape[0], -1),
            ops.signal_embedding(alpha_bar, dim=self.embedding),
        )
        y = self.image(x) + self.level(level)
        y = y + self.block(jax.nn.silu(y))
        return (self.end(jax.nn.silu(y)) + self.shortcut(level) * x).reshape(x_t.shape)


def _halve(x: Array) -> Array:
    b, h, w, c = x.shape
    return jnp.mean(x.reshape(b, h // 2, 2, w // 2, 2, c), axis=(2, 4))
