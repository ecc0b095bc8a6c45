"""Our YOLOv3 as a Darknet configuration: the same layers in the order of `yolov3.cfg`."""

from collections.abc import Iterator

from lectures_jax.models.darknet_config import DarknetConfig
from lectures_jax.models.darknet_layers import Convolutional, Head, Layer, Route, Shortcut, Upsample
from lectures_jax.models.yolo import Yolo, YoloSize


def yolo_config(model: Yolo, *, image_size: tuple[int, int] = (416, 416)) -> DarknetConfig:
    """Returns the configuration of the network that computes the same.

    Args:
        model: of any size; one without arrays, from `nnx.eval_shape`, will do.
        image_size: height and width of the images that it is made for, in pixels.

    Source:
        Redmon & Farhadi (2018); Darknet's `yolov3.cfg`.
    """
    size, layers, joined = model.size, [], []
    layers += _backbone(size, joined)
    maps = joined[-2::-1]  # of the finer stages, where the necks join them
    for number, (width, anchors) in enumerate(zip(size.necks, model.anchors, strict=True)):
        if number:
            start = len(layers)  # the last neck's map lies three layers before its head
            layers += [Route((start - 4,)), _conv(width, 1), Upsample()]
            layers.append(Route((start + 2, maps[number - 1])))
        layers.append(_conv(width, 1))
        for _ in range(size.depth):
            layers += [_conv(2 * width, 3), _conv(width, 1)]
        filters = len(anchors) * (5 + model.num_classes)
        layers += [_conv(2 * width, 3), Convolutional(filters, activation="linear")]
        layers.append(Head(anchors, model.num_classes))
    return DarknetConfig(*image_size, 3, tuple(layers), letterbox=True)


def yolo_convolutions(model: Yolo) -> Iterator[str]:
    """Gives the names of the model's convolutions in the order of that configuration.

    Args:
        model: whose modules are named.
    """
    size = model.size
    yield "backbone.stem"
    for stage, count in enumerate(size.blocks):
        yield f"backbone.stages.{stage}.down"
        for block in range(count):
            yield f"backbone.stages.{stage}.blocks.{block}.reduce"
            yield f"backbone.stages.{stage}.blocks.{block}.expand"
    for head, stride in enumerate(model.strides):
        if head:
            yield f"lateral{stride}.reduce"
        yield f"neck{stride}.reduce"
        for block in range(size.depth):
            yield from (f"neck{stride}.blocks.{block}.{part}" for part in (0, 1))
        yield f"heads.{head}.expand"
        yield f"heads.{head}.predict"


def _backbone(size: YoloSize, ends: list[int]) -> list[Layer]:
    """Its layers; `ends` gets the number of the last layer of each stage."""
    layers: list[Layer] = [_conv(size.stem, 3, size.stem_stride)]
    for channels, count in zip(size.channels, size.blocks, strict=True):
        layers.append(_conv(channels, 3, 2))
        for _ in range(count):
            start = len(layers)
            layers += [_conv(channels // 2, 1), _conv(channels, 3), Shortcut((start - 1,))]
        ends.append(len(layers) - 1)
    return layers


def _conv(filters: int, size: int, stride: int = 1) -> Convolutional:
    return Convolutional(
        filters,
        size,
        stride,
        stride,
        padding=size // 2,
        batch_normalize=True,
        activation="leaky",
    )
