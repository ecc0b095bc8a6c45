"""A detector whose heads see objects of all sizes in one of four ways."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.models.darknet import Darknet
from lectures_jax.models.yolo import Head
from lectures_jax.nn.convolution import ConvNorm
from lectures_jax.nn.detection import Detections, detect
from lectures_jax.nn.images import check_images
from lectures_jax.typing import Key

Form = Literal["image pyramid", "single map", "hierarchy", "FPN"]
"""The four of Lin et al. (2017), fig. 1."""

STRIDES = (32, 16, 8)
"""Pixels per cell of the heads, the coarsest first; a single map has the first only."""


@dataclass(frozen=True)
class PyramidSize:
    """How wide and deep a `Pyramid` is.

    Attributes:
        stem: channels of the first convolution, whose stride is 2.
        channels: of the backbone's stages, four of them; three for an image pyramid.
        blocks: residual blocks of each stage.
        neck: channels of the maps that the heads see.
    """

    stem: int = 12
    channels: tuple[int, ...] = (24, 48, 96, 192)
    blocks: tuple[int, ...] = (1, 2, 2, 1)
    neck: int = 48


SIZES: dict[Form, PyramidSize] = {
    "image pyramid": PyramidSize(6, (12, 20, 48), (1, 2, 2)),
    "single map": PyramidSize(blocks=(4, 4, 2, 1), neck=72),
    "hierarchy": PyramidSize(),
    "FPN": PyramidSize(),
}
"""Sizes of equal FLOPs, to 1 %. The image pyramid's backbone, which runs on three images, is
narrower and ends at a stride of 16; the single map, which has one head, has more blocks."""


class Pyramid(nnx.Module):
    """A Darknet, 1×1 convolutions of its maps, and a YOLO head for each of them.

    - "image pyramid": the last map of the image at half, full and twice its size.
    - "single map": the last map, with the anchors of all heads.
    - "hierarchy": the last three maps.
    - "FPN": these, and to each the coarser one is added, enlarged.

    Args:
        form: one of the four.
        num_classes: number of classes.
        anchors: width and height in pixels of three heads' anchors, the coarsest head first.
        size: widths and depths; None: that of `SIZES`.

    Raises:
        ValueError: if the form is none of the four, or the size has not its number of stages.

    Source:
        Lin et al. (2017), fig. 1 and sec. 3.
    """

    def __init__(
        self,
        form: Form,
        num_classes: int,
        *,
        anchors: Sequence[Sequence[Sequence[float | int]]],
        size: PyramidSize | None = None,
        rngs: nnx.Rngs,
    ):
        if form not in SIZES:
            raise ValueError(f"form must be one of {', '.join(SIZES)}, got {form!r}.")
        size = SIZES[form] if size is None else size
        stages = 3 if form == "image pyramid" else 4
        if len(size.channels) != stages:
            raise ValueError(f"size must have {stages} stages for {form!r}, got {size}.")
        heads = np.reshape(anchors, (1 if form == "single map" else 3, -1, 2)).tolist()
        self.form: Form = form
        self.num_classes = num_classes
        self.anchors = tuple(tuple((float(w), float(h)) for w, h in head) for head in heads)
        self.strides = STRIDES[: len(heads)]
        self.backbone = Darknet(
            stem=size.stem, stem_stride=2, channels=size.channels, blocks=size.blocks, rngs=rngs
        )
        inputs = size.channels[:-4:-1] if form in ("hierarchy", "FPN") else size.channels[-1:]
        self.laterals = nnx.List(
            ConvNorm(channels, size.neck, 1, activation=None, rngs=rngs) for channels in inputs
        )
        self.heads = nnx.List(Head(size.neck, len(head), num_classes, rngs=rngs) for head in heads)

    def features(self, images: Float[Array, "b h w 3"]) -> dict[str, Float[Array, "b _ _ _"]]:
        """Returns the map of each head: `stride32`, and but for a single map `stride16`, `stride8`.

        Args:
            images: in [0, 1], height and width multiples of 32.
        """
        check_images(images, channels=3)
        if images.shape[1] % STRIDES[0] or images.shape[2] % STRIDES[0]:
            raise ValueError(f"images must be multiples of 32 pixels, got {images.shape}.")
        if self.form == "image pyramid":
            sizes = ops.mean_pool(images, size=2), images, ops.upsample_bilinear(images)
            maps = [self.laterals[0](self.backbone(x)) for x in sizes]
        else:
            coarsest_first = [*self.backbone.features(images).values()][::-1]
            maps = [f(x) for f, x in zip(self.laterals, coarsest_first, strict=False)]
        if self.form == "FPN":
            for i in (1, 2):
                maps[i] = maps[i] + ops.upsample_nearest(maps[i - 1])
        return {f"stride{stride}": x for stride, x in zip(self.strides, maps, strict=True)}

    def __call__(
        self, images: Float[Array, "b h w 3"], *, key: Key | None = None
    ) -> tuple[Float[Array, "b _ _ f"], ...]:
        """Returns the raw heads, as `Yolo` does.

        Args:
            images: in [0, 1], height and width multiples of 32.
            key: unused, since nothing here is random.
        """
        maps = self.features(images).values()
        return tuple(head(x) for head, x in zip(self.heads, maps, strict=True))

    def predict(self, images: Float[Array | np.ndarray, "b h w 3"], **options: Any) -> Detections:
        """Returns the objects in each image; compiled once for a shape.

        Args:
            images: in [0, 1].
            **options: of `nn.detection.detect`.
        """
        model = nnx.view(self, use_running_average=True)
        return _predict(*nnx.split(model), images, **options)


@partial(
    jax.jit,
    static_argnums=0,
    static_argnames=("max_outputs", "suppression", "class_agnostic"),
)
def _predict(structure: Any, state: Any, images: Array, **options: Any) -> Detections:
    model = nnx.merge(structure, state)
    _, height, width, _ = images.shape
    return detect(
        model(images), model.anchors, model.strides, image_size=(height, width), **options
    )
