"""A network's layers as the text of a Darknet configuration."""

from collections.abc import Iterator
from typing import Any

from lectures_jax.models.darknet_config import DarknetConfig
from lectures_jax.models.darknet_layers import (
    AvgPool,
    Convolutional,
    Dropout,
    Head,
    Layer,
    MaxPool,
    Reorg,
    Route,
    Shortcut,
    Softmax,
    Upsample,
)


def darknet_config_text(config: DarknetConfig) -> str:
    """Returns the text of a `.cfg` file from which the same configuration is read.

    Args:
        config: of a network.

    Raises:
        ValueError: if Darknet has no words for a layer, which can be if it was not read from a
            file.
    """
    sections = [("net", dict(_net(config)))]
    strides = dict(zip(config.heads, config.strides(), strict=True))
    for index, layer in enumerate(config.layers):
        sections.append(_section(layer, strides.get(index, 1)))
    return "\n".join(
        f"[{kind}]\n" + "".join(f"{key}={value}\n" for key, value in values.items())
        for kind, values in sections
    )


def _net(config: DarknetConfig) -> Iterator[tuple[str, int]]:
    yield from [("width", config.width), ("height", config.height), ("channels", config.channels)]
    if config.letterbox:
        yield "letter_box", 1


def _section(layer: Layer, stride: int) -> tuple[str, dict[str, Any]]:
    """The kind and the keys of one layer; the stride is that of a head."""
    match layer:
        case Convolutional():
            return "convolutional", _convolutional(layer)
        case MaxPool(size, step, padding):
            return "maxpool", {"size": size, "stride": step, "padding": padding}
        case Route(layers, groups, group_id):
            split = {} if groups == 1 else {"groups": groups, "group_id": group_id}
            return "route", {"layers": _listed(layers)} | split
        case Shortcut(layers, activation):
            return "shortcut", {"from": _listed(layers), "activation": activation}
        case Upsample(factor, scale):
            return "upsample", {"stride": factor} | ({} if scale == 1 else {"scale": scale})
        case Reorg(side):
            return "reorg", {"stride": side}
        case AvgPool():
            return "avgpool", {}
        case Softmax(groups, temperature):
            return "softmax", {"groups": groups, "temperature": temperature}
        case Dropout(probability):
            return "dropout", {"probability": probability}
        case Head():
            return _head(layer, stride)


def _convolutional(layer: Convolutional) -> dict[str, Any]:
    strides = {"stride": layer.stride_y}
    if layer.stride_x != layer.stride_y:
        strides = {"stride_y": layer.stride_y, "stride_x": layer.stride_x}
    values = {"filters": layer.filters, "size": layer.size, **strides}
    if layer.padding:
        half = layer.padding == layer.size // 2
        values |= {"pad": 1} if half else {"padding": layer.padding}
    if layer.dilation > 1:
        values["dilation"] = layer.dilation
    if layer.groups > 1:
        values["groups"] = layer.groups
    normalize = {"batch_normalize": 1} if layer.batch_normalize else {}
    return normalize | values | {"activation": layer.activation}


def _head(layer: Head, stride: int) -> tuple[str, dict[str, Any]]:
    """A head with softmax is YOLOv2's, whose anchors are in cells."""
    cells = stride if layer.softmax else 1
    values: dict[str, Any] = {
        "anchors": _listed([side / cells for anchor in layer.anchors for side in anchor]),
        "classes": layer.classes,
        "num": len(layer.anchors),
    }
    if layer.softmax:
        return "region", values | {"softmax": 1}
    mask = {"mask": _listed(range(len(layer.anchors)))}
    if layer.scale_x_y != 1:
        values["scale_x_y"] = layer.scale_x_y
    if layer.new_coords:
        values["new_coords"] = 1
    if layer.distance_power is not None:
        values |= {"nms_kind": "diounms", "beta_nms": layer.distance_power}
    return "yolo", mask | values


def _listed(values: Any) -> str:
    return ",".join(f"{value:g}" if value == round(value) else repr(value) for value in values)
