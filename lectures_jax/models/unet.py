"""The U-Net: scores for every pixel, from maps of all sizes that are joined on the way up."""

from collections.abc import Sequence
from itertools import pairwise

from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.nn.convolution import Conv
from lectures_jax.nn.image_sizes import ImageSizes
from lectures_jax.nn.images import check_images
from lectures_jax.nn.preprocessing import Normalize
from lectures_jax.nn.unet import DoubleConv, UpBlock
from lectures_jax.typing import Key

PUBLISHED = (64, 128, 256, 512, 1024)
"""Channels of each level as published."""


class UNet(nnx.Module):
    """`model(images)` gives one logit per pixel and class.

    On the way down each level is two 3×3 convolutions, with a pooling that halves the map between
    levels; on the way up the map is doubled, concatenated with the map of the same size from the
    way down, and convolved twice. A 1×1 convolution makes the logits.

    Args:
        num_classes: number of classes, the background included.
        inputs: channels of the images.
        channels: of each level, from the finest.
        padding: "VALID", as published: convolutions see no zeros, and the result lacks a margin
            (388×388 of 572×572 pixels with five levels); or "SAME": the result has the size of the
            images.
        batch_norm: whether batch normalization follows each 3×3 convolution; as published, none.
        dropout: share of the smallest map's entries that training sets to zero.
        normalize: applied to the images first.

    Attributes:
        sizes: the sizes of images that the network takes, and the margin that its result lacks.

    Raises:
        ValueError: if there is no level, or the padding is unknown.

    Source:
        Ronneberger et al. (2015), sec. 2 and fig. 1.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        inputs: int = 3,
        channels: Sequence[int] = PUBLISHED,
        padding: str = "VALID",
        batch_norm: bool = False,
        dropout: float = 0.0,
        normalize: Normalize | None = None,
        rngs: nnx.Rngs,
    ):
        self.sizes = unet_sizes(len(channels), padding)
        self.inputs = inputs
        self.normalize = normalize
        widths = list(pairwise((inputs, *channels)))
        options = {"padding": padding, "batch_norm": batch_norm, "rngs": rngs}
        self.down = nnx.List(DoubleConv(a, b, **options) for a, b in widths)
        self.dropout = nnx.Dropout(dropout) if dropout else None
        self.up = nnx.List(UpBlock(b, a, **options) for a, b in widths[:0:-1])
        self.classify = Conv(channels[0], num_classes, (1, 1), rngs=rngs)

    def features(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b _ _ _"]]:
        """Returns the maps by name: `down1` (the finest), …, and from the way up …, `up1`.

        Dropout is for `model(images)` alone.
        """
        return self._maps(images, None)

    def __call__(
        self, images: Float[Array, "b h w c"], *, key: Key | None = None
    ) -> Float[Array, "b h2 w2 k"]:
        """Returns the logits, for all pixels but the margin.

        Args:
            images: in [0, 1], of sides that `sizes` admits.
            key: for dropout; None: none.

        Raises:
            ValueError: if the images have other channels or another size; with the nearest sizes.
        """
        *_, last = self._maps(images, key).values()
        return self.classify(last)

    def _maps(
        self, images: Float[Array, "b h w c"], key: Key | None
    ) -> dict[str, Float[Array, "b _ _ _"]]:
        check_images(images, channels=self.inputs)
        self.sizes.check(*images.shape[1:3])
        x = images if self.normalize is None else self.normalize(images)
        past, maps = [], {}
        for number, block in enumerate(self.down, 1):
            x = maps[f"down{number}"] = block(x if number == 1 else ops.max_pool(x, size=2))
            past.append(x)
        past.pop()
        x = x if self.dropout is None or key is None else self.dropout(x, rngs=key)
        for number, block in zip(range(len(past), 0, -1), self.up, strict=True):
            x = maps[f"up{number}"] = block(x, past.pop())
        return maps


def unet_sizes(levels: int, padding: str) -> ImageSizes:
    """Returns the sizes of images that a U-Net takes.

    Args:
        levels: maps of different size on the way down.
        padding: "VALID" or "SAME".

    Raises:
        ValueError: if there is no level, or the padding is unknown.
    """
    if levels < 1:
        raise ValueError(f"channels must have at least one level, got {levels}.")
    if padding not in ("VALID", "SAME"):
        raise ValueError(f"padding must be one of VALID, SAME, got {padding!r}.")
    factor = 2 ** (levels - 1)
    reach = 0
    for level in range(levels):  # two rows at each level; pooling rounds up, doubling doubles
        reach = -(-reach // 2) + 2 if level else 2
    for _ in range(levels - 1):
        reach = 2 * reach + 2
    if padding == "SAME":
        return ImageSizes(factor, factor, reach=reach)
    # From a map of n rows to the next finer one: 2 n + 4 on the way down, 2 n − 4 on the way up.
    margin = 6 * factor - 4
    return ImageSizes(factor, 2 * margin + min(factor, 4), margin=margin)
