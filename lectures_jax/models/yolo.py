"""YOLOv3: one network that predicts, for every cell of three grids, classes and boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from lectures_jax.models.darknet import Darknet
from lectures_jax.nn.convolution import Conv, ConvNorm
from lectures_jax.nn.detection import Detections, Suppression, detect
from lectures_jax.nn.images import check_images
from lectures_jax.nn.pyramid import Lateral, Neck
from lectures_jax.typing import Key, check_positive

STRIDES = (32, 16, 8)
"""Pixels per cell of the three heads, the coarsest first."""

COCO_ANCHORS = (
    ((116, 90), (156, 198), (373, 326)),
    ((30, 61), (62, 45), (59, 119)),
    ((10, 13), (16, 30), (33, 23)),
)
"""Width and height in pixels, by head. Source: Redmon & Farhadi (2018), sec. 2.3."""


@dataclass(frozen=True)
class YoloSize:
    """How wide and deep a `Yolo` is.

    Attributes:
        stem: channels of the first convolution.
        stem_stride: stride of the first convolution.
        channels: of the backbone's stages; the last three feed the heads.
        blocks: residual blocks of each stage.
        necks: channels before each head, the coarsest first.
        depth: pairs of 3×3 and 1×1 convolutions in each neck.
    """

    stem: int = 32
    stem_stride: int = 1
    channels: tuple[int, ...] = (64, 128, 256, 512, 1024)
    blocks: tuple[int, ...] = (1, 2, 8, 8, 4)
    necks: tuple[int, ...] = (512, 256, 128)
    depth: int = 2


FULL = YoloSize()
"""Darknet-53 with its feature pyramid: 61,949,149 parameters for 80 classes."""

SMALL = YoloSize(12, 2, (24, 48, 96, 192), (1, 2, 2, 1), (96, 48, 32), 0)
"""The same network for two CPU cores: about 0.8 million parameters."""


class Head(nnx.Module):
    """A 3×3 convolution, then a 1×1 to the numbers of each anchor."""

    def __init__(self, channels: int, num_anchors: int, num_classes: int, *, rngs: nnx.Rngs):
        entries = 5 + num_classes
        self.expand = ConvNorm(channels, 2 * channels, rngs=rngs)
        self.predict = Conv(2 * channels, num_anchors * entries, (1, 1), rngs=rngs)
        # Almost every slot is empty, so the objectness starts at 0.7 % and not at one half.
        bias = jnp.zeros((num_anchors, entries)).at[:, 4].set(-5.0)
        self.predict.bias = nnx.Param(bias.ravel())

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w f"]:
        return self.predict(self.expand(x))


class Yolo(nnx.Module):
    """YOLOv3: `model(images)` gives the raw heads at strides 32, 16 and 8.

    Args:
        num_classes: number of classes.
        anchors: width and height in pixels of each head's anchors, the coarsest head first.
        size: `FULL` as published, or `SMALL`.

    Source:
        Redmon & Farhadi (2018).
    """

    def __init__(
        self,
        num_classes: int,
        *,
        anchors: Sequence[Sequence[Sequence[float | int]]] = COCO_ANCHORS,
        size: YoloSize = FULL,
        rngs: nnx.Rngs,
    ):
        if len(anchors) != 3 or any(len(head) != len(anchors[0]) for head in anchors):
            raise ValueError(f"anchors must be three heads of equally many, got {anchors}.")
        if size.stem_stride * 2 ** len(size.channels) != STRIDES[0]:
            raise ValueError(f"size must halve the image to a stride of 32 in all, got {size}.")
        self.num_classes = num_classes
        self.strides = STRIDES
        self.size = size
        self.anchors = tuple(tuple((float(w), float(h)) for w, h in head) for head in anchors)
        self.backbone = Darknet(
            stem=size.stem,
            stem_stride=size.stem_stride,
            channels=size.channels,
            blocks=size.blocks,
            rngs=rngs,
        )
        fine, middle, coarse = size.channels[-3:]
        neck32, neck16, neck8 = size.necks
        self.lateral16 = Lateral(neck32, neck16, rngs=rngs)
        self.lateral8 = Lateral(neck16, neck8, rngs=rngs)
        self.neck32 = Neck(coarse, neck32, depth=size.depth, rngs=rngs)
        self.neck16 = Neck(neck16 + middle, neck16, depth=size.depth, rngs=rngs)
        self.neck8 = Neck(neck8 + fine, neck8, depth=size.depth, rngs=rngs)
        count = len(self.anchors[0])
        self.heads = nnx.List(Head(c, count, num_classes, rngs=rngs) for c in size.necks)

    def features(self, images: Float[Array, "b h w 3"]) -> dict[str, Float[Array, "b _ _ _"]]:
        """Returns the intermediate maps: the backbone's, then `neck32`, `neck16`, `neck8`."""
        check_images(images, channels=3)
        if images.shape[1] % STRIDES[0] or images.shape[2] % STRIDES[0]:
            raise ValueError(f"images must be multiples of 32 pixels, got {images.shape}.")
        maps = self.backbone.features(images)
        *_, fine, middle, coarse = maps.values()
        maps["neck32"] = self.neck32(coarse)
        maps["neck16"] = self.neck16(self.lateral16(maps["neck32"], middle))
        maps["neck8"] = self.neck8(self.lateral8(maps["neck16"], fine))
        return maps

    def __call__(
        self, images: Float[Array, "b h w 3"], *, key: Key | None = None
    ) -> tuple[Float[Array, "b _ _ f"], ...]:
        """Returns the raw heads at strides 32, 16, 8; `ops.yolo_decode` reads them.

        Args:
            images: in [0, 1], height and width multiples of 32.
            key: unused, since nothing here is random.

        Raises:
            ValueError: if the height or width is not a multiple of 32.
        """
        maps = self.features(images)
        necks = (maps["neck32"], maps["neck16"], maps["neck8"])
        return tuple(head(x) for head, x in zip(self.heads, necks, strict=True))

    def predict(
        self,
        images: Float[Array | np.ndarray, "b h w 3"],
        *,
        max_outputs: int = 100,
        score_threshold: float = 0.01,
        iou_threshold: float = 0.5,
        sigma: float = 0.5,
        suppression: Suppression = "hard",
        class_agnostic: bool = False,
    ) -> Detections:
        """Returns the objects in each image, after suppression; compiled once for a shape.

        A box's score for a class is σ(objectness) · σ(class). By default a box may carry several
        classes, and boxes of different classes never suppress each other, as COCO scores it; that
        leaves two labels on one object in a drawing.

        Args:
            images: in [0, 1].
            max_outputs: largest number of boxes per image.
            score_threshold: boxes with a lower score are dropped.
            iou_threshold: a box is suppressed if its IoU ("hard"), or its IoU less the distance of
                the centers ("diou"), with a box of higher score is larger.
            sigma: width of the Gaussian by which "soft" lowers the scores of boxes that overlap.
            suppression: "hard", "soft" or "diou"; see `ops.nms`, `ops.soft_nms`, `ops.diou_nms`.
            class_agnostic: a box carries its best class only, and suppresses boxes of any class.

        Raises:
            ValueError: if `suppression` is none of those, or a number is out of its range.
        """
        check_images(images, channels=3)
        check_positive(sigma=sigma)
        return _predict(
            *nnx.split(nnx.view(self, use_running_average=True)),
            images,
            max_outputs=max_outputs,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            sigma=sigma,
            suppression=suppression,
            class_agnostic=class_agnostic,
        )


@partial(
    jax.jit,
    static_argnums=0,
    static_argnames=("max_outputs", "suppression", "class_agnostic"),
)
def _predict(structure: Any, state: Any, images: Array, **options) -> Detections:
    model = nnx.merge(structure, state)
    _, height, width, _ = images.shape
    return detect(model(images), model.anchors, STRIDES, image_size=(height, width), **options)
