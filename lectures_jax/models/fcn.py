"""Fully convolutional networks for segmentation: FCN-32s, 16s and 8s."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.models.vgg import GRID, VGG16, VggSize, vgg_maps, vgg_stages
from lectures_jax.nn.convolution import Conv
from lectures_jax.nn.image_sizes import ImageSizes
from lectures_jax.nn.images import check_images
from lectures_jax.nn.initializers import he_normal
from lectures_jax.nn.preprocessing import Normalize
from lectures_jax.nn.random import split_optional
from lectures_jax.nn.upsampling import BilinearUpsampling
from lectures_jax.typing import Key

STAGES = 5
COARSEST = 2**STAGES  # pixels of a cell of the last map


class Skip(nnx.Module):
    """Scores of a coarse map at twice its size, joined to what a finer map says.

    At first the finer map changes nothing: its weights are zeros, and the scores are interpolated.

    Args:
        classes: number of classes.
        channels: of the finer map.
        join: "sum" adds scores of the finer map, a 1×1 convolution of it; "concat" concatenates the
            map with the enlarged scores, and a 1×1 convolution of both makes the new ones.

    Source:
        Long et al. (2015), sec. 4.2 and fig. 3, who sum.
    """

    def __init__(self, classes: int, channels: int, *, join: str, rngs: nnx.Rngs):
        self.join = join
        self.enlarge = BilinearUpsampling(classes, rngs=rngs)
        inputs = channels if join == "sum" else classes + channels
        zeros = nnx.initializers.zeros
        self.score = Conv(inputs, classes, (1, 1), kernel_init=zeros, rngs=rngs)
        if join == "concat":
            kernel = jnp.eye(inputs, classes)  # the scores, and nothing of the map
            self.score.kernel[...] = kernel[None, None]

    def __call__(
        self, scores: Float[Array, "b h w k"], fine: Float[Array, "b 2*h 2*w c"]
    ) -> Float[Array, "b 2*h 2*w k"]:
        scores = self.enlarge(scores)
        if self.join == "sum":
            return scores + self.score(fine)
        return self.score(jnp.concatenate([scores, fine], axis=-1))


class Fcn(nnx.Module):
    """`model(images)` gives one logit per pixel and class.

    A convolutionalized VGG makes scores of cells of 32 pixels. FCN-32s enlarges them to pixels at
    once. FCN-16s first doubles them and joins scores of the map after the fourth pooling, FCN-8s
    once more those of the third; the last enlargement, a fixed interpolation, is by 16 or by 8.

    Args:
        num_classes: number of classes, the background included.
        size: of the VGG, of five stages with the padding "SAME"; its hidden units are the channels
            of the convolutions that its dense layers become.
        stride: 32, 16 or 8.
        join: of the scores with those of finer maps, "sum" as published, or "concat".
        inputs: channels of the images.
        dropout: share of each hidden convolution's entries that training sets to zero.
        normalize: applied to the images first.

    Attributes:
        sizes: the sizes of images that the network takes.

    Raises:
        ValueError: if there are not five stages, these have another padding, or the stride or the
            way to join is unknown.

    Source:
        Long et al. (2015), sec. 4, fig. 3.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        size: VggSize = VGG16,
        stride: int = 32,
        join: str = "sum",
        inputs: int = 3,
        dropout: float = 0.5,
        normalize: Normalize | None = None,
        rngs: nnx.Rngs,
    ):
        if len(size.channels) != STAGES or size.padding != "SAME":
            got = f"{len(size.channels)} with padding {size.padding}"
            raise ValueError(f"size must have five stages with padding SAME, got {got}.")
        if stride not in (32, 16, 8):
            raise ValueError(f"stride must be one of 32, 16, 8, got {stride}.")
        if join not in ("sum", "concat"):
            raise ValueError(f"join must be one of sum, concat, got {join!r}.")
        self.num_classes, self.size, self.join = num_classes, size, join
        self.inputs = inputs
        self.normalize = normalize
        self.stages = nnx.List(map(nnx.List, vgg_stages(size, inputs, rngs)))
        grid, one = (GRID, GRID), (1, 1)
        hidden, last = size.hidden, size.channels[-1]
        self.hidden = nnx.List(
            [
                Conv(last, hidden, grid, kernel_init=he_normal, rngs=rngs),
                Conv(hidden, hidden, one, kernel_init=he_normal, rngs=rngs),
            ]
        )
        self.dropout = nnx.Dropout(dropout) if dropout else None
        self.score = Conv(hidden, num_classes, one, rngs=rngs)
        count = (COARSEST // stride).bit_length() - 1
        finer = size.channels[-2 : -2 - count : -1]
        self.skips = nnx.List(Skip(num_classes, c, join=join, rngs=rngs) for c in finer)

    @property
    def stride(self) -> int:
        """Pixels of a cell of the map of scores that is enlarged at last."""
        return COARSEST // 2 ** len(self.skips)

    @property
    def sizes(self) -> ImageSizes:
        """The sizes of images that the network takes."""
        reach, past = 0, []
        for count in self.size.convolutions:  # a row for each convolution; pooling rounds up
            reach = -(-(reach + count) // 2)
            past.append(reach)
        reach += GRID // 2
        for number in range(len(self.skips)):  # an enlarged cell depends on its two neighbors
            reach = max(2 * reach + 1, past[-2 - number])
        return ImageSizes(COARSEST, COARSEST, reach=self.stride * reach + self.stride // 2)

    def features(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b _ _ _"]]:
        """Returns the maps by name: those of VGG, the hidden `conv6` and `conv7`, and the scores.

        `scores32` are those of the coarsest map; `scores16` and `scores8`, where they are, include
        them. Dropout is for `model(images)` alone.
        """
        return self._maps(images, None)

    def __call__(
        self, images: Float[Array, "b h w c"], *, key: Key | None = None
    ) -> Float[Array, "b h w k"]:
        """Returns the logits.

        Args:
            images: in [0, 1], with sides of a multiple of 32 pixels.
            key: for dropout; None: none.

        Raises:
            ValueError: if the images have other channels or another size; with the nearest sizes.
        """
        scores = self._maps(images, key)[f"scores{self.stride}"]
        return ops.upsample_bilinear(scores, factor=self.stride)

    def _maps(
        self, images: Float[Array, "b h w c"], key: Key | None
    ) -> dict[str, Float[Array, "b _ _ _"]]:
        check_images(images, channels=self.inputs)
        self.sizes.check(*images.shape[1:3])
        maps = vgg_maps(self.stages, images if self.normalize is None else self.normalize(images))
        x = maps["pool5"]
        keys = split_optional(key, len(self.hidden))
        for number, (conv, key) in enumerate(zip(self.hidden, keys, strict=True), 6):
            x = maps[f"conv{number}"] = jax.nn.relu(conv(x))
            x = x if self.dropout is None or key is None else self.dropout(x, rngs=key)
        x = maps["scores32"] = self.score(x)
        for number, skip in enumerate(self.skips, 1):
            x = skip(x, maps[f"pool{STAGES - number}"])
            maps[f"scores{COARSEST // 2**number}"] = x
        return maps


def refine(model: Fcn) -> Fcn:
    """Returns the network with half of the stride, and one skip more, that goes on from this one.

    All that was trained is kept. The new skip starts as an interpolation, so that the scores are at
    first those of before, interpolated in two steps and not in one.

    Args:
        model: FCN-32s or FCN-16s; left as it is.

    Raises:
        ValueError: if the model is FCN-8s.

    Source:
        Long et al. (2015), sec. 4.2.
    """
    if model.stride == 8:
        raise ValueError("model must be FCN-32s or FCN-16s, got FCN-8s.")
    finer: Any = nnx.clone(model)
    channels = model.size.channels[-2 - len(model.skips)]
    skip = Skip(model.num_classes, channels, join=model.join, rngs=nnx.Rngs(0))  # draws nothing
    finer.skips = nnx.List([*finer.skips, skip])
    return finer
