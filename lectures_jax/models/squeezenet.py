"""SqueezeNet: the accuracy of AlexNet with a fiftieth of its parameters."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.nn.classifier import Classifier
from lectures_jax.nn.convolution import Conv
from lectures_jax.nn.images import check_images
from lectures_jax.nn.initializers import he_normal
from lectures_jax.nn.linear import Linear
from lectures_jax.nn.preprocessing import Normalize
from lectures_jax.typing import Key


@dataclass(frozen=True)
class SqueezeNetSize:
    """How wide and deep a `SqueezeNet` is.

    Attributes:
        stem: channels of the first convolution, which has stride 2 and no padding.
        kernel: its rows and columns.
        fires: fire modules after each pooling.
        squeeze: channels that the first two fire modules squeeze to; every two modules it grows by
            as many.
        expand: channels of each of a module's two expansions, over those squeezed to.
    """

    stem: int = 64
    kernel: int = 3
    fires: tuple[int, ...] = (2, 2, 4)
    squeeze: int = 16
    expand: int = 4

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of maps in torchvision's order: the one at n is the output of `features.n`."""
        names, number = ["conv1", "relu1"], 1
        for count in self.fires:
            names.append(f"pool{number}")
            names += [f"fire{number + i}" for i in range(1, count + 1)]
            number += count
        return tuple(names)

    @property
    def smallest(self) -> int:
        """Rows and columns of the smallest image: of its map one cell is left."""
        return 2 * (2 ** len(self.fires) - 1) + self.kernel


SQUEEZENET1_0 = SqueezeNetSize(96, 7, (3, 4, 1))
"""As published: 1,248,424 parameters for 1000 classes."""

SQUEEZENET1_1 = SqueezeNetSize()
"""Its authors' second version, 2.4 times as fast: 1,235,496 parameters for 1000 classes."""


class Fire(nnx.Module):
    """1×1 convolutions to few channels, then 1×1 and 3×3 ones, side by side, to many.

    Args:
        inputs: channels of the input.
        squeeze: channels in between.
        expand: channels of each of the two results, which are concatenated.

    Source:
        Iandola et al. (2016), sec. 3.2, fig. 1.
    """

    def __init__(self, inputs: int, squeeze: int, expand: int, *, rngs: nnx.Rngs):
        self.squeeze = Conv(inputs, squeeze, (1, 1), kernel_init=he_normal, rngs=rngs)
        self.expand1x1 = Conv(squeeze, expand, (1, 1), kernel_init=he_normal, rngs=rngs)
        self.expand3x3 = Conv(squeeze, expand, (3, 3), padding=1, kernel_init=he_normal, rngs=rngs)

    def expand(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        """Returns the channels before the last ReLU."""
        x = jax.nn.relu(self.squeeze(x))
        return jnp.concatenate([self.expand1x1(x), self.expand3x3(x)], axis=-1)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        return jax.nn.relu(self.expand(x))


class SqueezeNet(Classifier):
    """`model(images)` gives one logit per class, none below 0.

    Its last layer classifies each cell of the last map; the logits are the means of these scores
    over the cells, after ReLU.

    Args:
        num_classes: number of classes.
        size: `SQUEEZENET1_0` or `SQUEEZENET1_1`.
        inputs: channels of the images.
        dropout: share of the last map's entries that training sets to zero.
        normalize: applied to the images first.

    Source:
        Iandola et al. (2016), table 1; version 1.1 and the ReLU of the scores as in torchvision.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        size: SqueezeNetSize = SQUEEZENET1_1,
        inputs: int = 3,
        dropout: float = 0.5,
        normalize: Normalize | None = None,
        rngs: nnx.Rngs,
    ):
        self.size = size
        self.inputs = inputs
        self.normalize = normalize
        kernel = (size.kernel, size.kernel)
        self.conv1 = Conv(
            inputs, size.stem, kernel, strides=2, padding=0, kernel_init=he_normal, rngs=rngs
        )
        fires, width = [], size.stem
        for number in range(sum(size.fires)):
            squeeze = size.squeeze * (1 + number // 2)
            fires.append(Fire(width, squeeze, size.expand * squeeze, rngs=rngs))
            width = 2 * size.expand * squeeze
        self.fires = nnx.List(fires)
        self.dropout = nnx.Dropout(dropout) if dropout else None
        self.classify = Linear(width, num_classes, rngs=rngs)

    def features(self, images: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b *_"]]:
        """Returns the maps by name, then the vector `pooled`, the mean of the last map.

        With torchvision's names of version 1.1: `conv1` (features.0), `relu1` (1), `pool1` (2),
        `fire2` and `fire3` (3, 4), `pool3` (5), `fire4` and `fire5` (6, 7), `pool5` (8), `fire6` to
        `fire9` (9 to 12); `size.layers` lists them. `expand2` to `expand9` are `fire2` to `fire9`
        before ReLU, and `scores` (classifier.1) those of each class in each cell, also before it.
        """
        maps, last = self._maps(images)
        pooled = jnp.mean(last, axis=(1, 2))
        return {**maps, "scores": self.classify(last), "pooled": pooled}

    def __call__(
        self, images: Float[Array, "b h w c"], *, key: Key | None = None
    ) -> Float[Array, "b k"]:
        """Returns the logits.

        Args:
            images: in [0, 1].
            key: for dropout.
        """
        _, x = self._maps(images)
        x = x if self.dropout is None else self.dropout(x, rngs=key)
        return jnp.mean(jax.nn.relu(self.classify(x)), axis=(1, 2))

    def last_map(self, images: Float[Array, "b h w c"]) -> Float[Array, "b _ _ _"]:
        """Returns the map of the last fire module, each of whose cells is classified."""
        return self._maps(images)[1]

    @property
    def stride(self) -> int:
        """Pixels from one cell of the last map to the next."""
        return 2 ** (len(self.size.fires) + 1)

    def _maps(
        self, images: Float[Array, "b h w c"]
    ) -> tuple[dict[str, Float[Array, "b _ _ _"]], Float[Array, "b _ _ _"]]:
        """The maps of the convolutions by name, and the last of them."""
        check_images(images, channels=self.inputs)
        if min(images.shape[1:3]) < (least := self.size.smallest):
            height, width = images.shape[1:3]
            raise ValueError(
                f"images must have {least} rows and columns at least, got {height}×{width}."
            )
        x = images if self.normalize is None else self.normalize(images)
        maps = {"conv1": self.conv1(x)}
        x = maps["relu1"] = jax.nn.relu(maps["conv1"])
        number = 1
        for count in self.size.fires:
            x = maps[f"pool{number}"] = _halve(x)
            for _ in range(count):
                number += 1
                x = maps[f"expand{number}"] = self.fires[number - 2].expand(x)
                x = maps[f"fire{number}"] = jax.nn.relu(x)
        return maps, x


def _halve(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """3×3 maxima with stride 2, where the last window may reach one cell beyond an even side."""
    bottom, right = ((n + 1) % 2 for n in x.shape[1:3])
    return ops.max_pool(x, size=3, stride=2, padding=((0, bottom), (0, right)))
