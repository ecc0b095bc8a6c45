"""The plain convolutional network: convolutions, pooling, and a dense layer at the end."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.nn.classifier import Classifier
from lectures_jax.nn.convolution import ConvNorm
from lectures_jax.nn.images import check_images
from lectures_jax.nn.linear import Linear


class Cnn(Classifier):
    """`model(images)` gives one logit per class.

    Stages of 3×3 convolutions, each with batch normalization and ReLU; max-pooling halves the map
    between stages; the mean over the last map goes to a dense layer.

    Args:
        num_classes: number of classes.
        channels: of the convolutions of each stage.
        inputs: channels of the images.
        padding: of the convolutions: "SAME", zeros around the image keep its size; "VALID": none.
        dropout: share of the mean's entries that training sets to zero.

    Raises:
        ValueError: if a stage has no convolution, or the padding is unknown.

    Source:
        LeCun et al. (1998), sec. II; mean instead of large dense layers: Lin et al. (2014),
        sec. 3.2; batch normalization: Ioffe & Szegedy (2015).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        channels: Sequence[Sequence[int]] = ((32,), (64, 64), (128, 128)),
        inputs: int = 3,
        padding: str = "SAME",
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        if not channels or not all(channels):
            raise ValueError(f"channels must name a convolution in each stage, got {channels}.")
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"padding must be one of SAME, VALID, got {padding!r}.")
        self.inputs = inputs
        self.padding = padding
        stages = []
        for stage in channels:
            widths = (inputs, *stage)
            stages.append(
                nnx.List(
                    ConvNorm(a, b, padding=padding, momentum=0.9, activation=None, rngs=rngs)
                    for a, b in itertools.pairwise(widths)
                )
            )
            inputs = stage[-1]
        self.stages = nnx.List(stages)
        self.dropout = nnx.Dropout(dropout, rngs=rngs) if dropout else None
        self.classify = Linear(inputs, num_classes, rngs=rngs)

    def features(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b *_"]]:
        """Returns each stage's map, before pooling: `stage1`, …, then the vector `pooled`.

        `norm1`, … are the same maps before their ReLU, which has no gradient where a map is 0.

        Raises:
            ValueError: if an image is so small that no cell is left in the last stage.
        """
        check_images(images, channels=self.inputs)
        if min(images.shape[1:3]) < (least := self._smallest()):
            height, width = images.shape[1:3]
            raise ValueError(
                f"images must have {least} rows and columns at least, got {height}×{width}."
            )
        x, maps = images, {}
        for number, layers in enumerate(self.stages, 1):
            if number > 1:
                x = ops.max_pool(x, size=2)
            for layer in layers:
                maps[f"norm{number}"] = layer(x)
                x = maps[f"stage{number}"] = jax.nn.relu(maps[f"norm{number}"])
        return {**maps, "pooled": jnp.mean(x, axis=(1, 2))}

    def last_map(self, images: Float[Array, "b h w c"]) -> Float[Array, "b _ _ _"]:
        """Returns the last stage's map, whose mean is `pooled`."""
        return self.features(images)[f"stage{len(self.stages)}"]

    @property
    def stride(self) -> int:
        """Pixels from one cell of the last map to the next."""
        return 2 ** (len(self.stages) - 1)

    def _smallest(self) -> int:
        """Rows of the smallest image of which a cell is left in the last stage."""
        rows = 1
        for number, layers in reversed(list(enumerate(self.stages))):
            rows += 2 * len(layers) if self.padding == "VALID" else 0
            rows *= 2 if number else 1
        return rows
