"""Darknet: a residual backbone that halves the image at every stage."""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from lectures_jax.nn.convolution import ConvNorm
from lectures_jax.nn.images import check_images
from lectures_jax.nn.residual import DarknetResidual


class Stage(nnx.Module):
    """A convolution of stride 2, then residual blocks at that resolution."""

    def __init__(self, inputs: int, outputs: int, blocks: int, *, rngs: nnx.Rngs):
        self.down = ConvNorm(inputs, outputs, stride=2, rngs=rngs)
        self.blocks = nnx.List(DarknetResidual(outputs, rngs=rngs) for _ in range(blocks))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        x = self.down(x)
        for block in self.blocks:
            x = block(x)
        return x


class Darknet(nnx.Module):
    """The backbone of YOLOv3; by default Darknet-53, without its classifier.

    Args:
        stem: channels of the first convolution.
        stem_stride: 1 as published; with 2 the costly finest resolution is left out.
        channels: of each stage; a stage halves the resolution.
        blocks: residual blocks of each stage.

    Source:
        Redmon & Farhadi (2018), sec. 2.4 and table 1.
    """

    def __init__(
        self,
        *,
        stem: int = 32,
        stem_stride: int = 1,
        channels: Sequence[int] = (64, 128, 256, 512, 1024),
        blocks: Sequence[int] = (1, 2, 8, 8, 4),
        rngs: nnx.Rngs,
    ):
        self.stem = ConvNorm(3, stem, stride=stem_stride, rngs=rngs)
        widths = (stem, *channels)
        self.stages = nnx.List(
            Stage(inputs, outputs, count, rngs=rngs)
            for inputs, outputs, count in zip(widths[:-1], widths[1:], blocks, strict=True)
        )

    def features(self, images: Float[Array, "b h w 3"]) -> dict[str, Float[Array, "b _ _ _"]]:
        """Returns the stem's and each stage's map: `stem`, `stage1`, `stage2`, ..."""
        check_images(images, channels=3)
        maps = {"stem": self.stem(images)}
        x = maps["stem"]
        for number, stage in enumerate(self.stages, 1):
            x = maps[f"stage{number}"] = stage(x)
        return maps

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h2 w2 c"]:
        return self.features(images)[f"stage{len(self.stages)}"]
