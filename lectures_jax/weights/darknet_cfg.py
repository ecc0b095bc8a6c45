"""Darknet's configuration files: the layer that each section describes, by Darknet's defaults."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from lectures_jax.data.files import text_of
from lectures_jax.data.problems import BadInputError
from lectures_jax.models.darknet_config import DarknetConfig, LayerError
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
from lectures_jax.weights.darknet_sections import MOST, Section, sections_of

MAX_TEXT = 2**20  # characters of a file


def read_darknet_config(path: Path | str) -> DarknetConfig:
    """Returns the network that a `.cfg` file describes.

    Args:
        path: of the file.

    Raises:
        ValueError: in one line with file, line, what was expected and what came.
        FileNotFoundError: if there is no file.
    """
    return parse_darknet_config(text_of(Path(path)), path)


def parse_darknet_config(text: str, path: Path | str = "cfg") -> DarknetConfig:
    """Returns the network that the text of a `.cfg` file describes.

    Args:
        text: of the file.
        path: of the file, for messages.

    Raises:
        ValueError: in one line with file, line, what was expected and what came.
    """
    path = Path(path)
    if len(text) > MAX_TEXT:
        raise BadInputError(path, "file", f"at most {MAX_TEXT:,} characters", f"{len(text):,}")
    net, *sections = sections_of(path, text, tuple(LAYERS))
    height, width = net.whole("height"), net.whole("width")
    channels, letterbox = net.whole("channels", 3), net.flag("letter_box")
    layers: list[Layer] = []
    for index, section in enumerate(sections):
        layers.append(LAYERS[section.kind](section, index))
        section.check_keys()
    config = DarknetConfig(height, width, channels, tuple(layers), letterbox)
    try:
        config = _in_pixels(config, sections)
        config.strides()
    except LayerError as error:
        raise sections[error.index].error("", error.expected, error.got) from error
    if len({head.classes for head in config.heads.values()}) > 1:
        counts = ", ".join(str(head.classes) for head in config.heads.values())
        raise BadInputError(path, "classes", "the same number in each head", counts)
    return config


def _convolutional(section: Section, index: int) -> Layer:
    size, stride = section.whole("size", 1, most=255), section.whole("stride", 1)
    padding = section.whole("padding", 0, least=0, most=255)
    if section.flag("pad"):
        padding = size // 2
    dilation = 1 if size == 1 else section.whole("dilation", 1)
    section.known = section.known | {"dilation"}
    if dilation > 1 and 2 * padding != size - 1:
        raise section.error("dilation", "1 where the padding does not keep the size", dilation)
    return Convolutional(
        filters=section.whole("filters"),
        size=size,
        stride_y=section.whole("stride_y", stride),
        stride_x=section.whole("stride_x", stride),
        padding=padding,
        dilation=dilation,
        groups=section.whole("groups", 1),
        batch_normalize=section.flag("batch_normalize"),
        activation=section.activation("logistic"),
    )


def _max_pool(section: Section, index: int) -> Layer:
    stride = section.whole("stride", 1)
    size = section.whole("size", stride, most=255)
    padding = section.whole("padding", size - 1, least=0, most=2 * (size - 1))
    return MaxPool(size, stride, padding)


def _route(section: Section, index: int) -> Layer:
    groups = section.whole("groups", 1)
    group_id = section.whole("group_id", 0, least=0, most=groups - 1)
    return Route(section.sources("layers", index), groups, group_id)


def _shortcut(section: Section, index: int) -> Layer:
    return Shortcut(section.sources("from", index), section.activation("linear"))


def _upsample(section: Section, index: int) -> Layer:
    scale = section.real("scale", 1.0, least=-1e6, most=1e6)
    return Upsample(section.whole("stride", 2, most=255), scale)


def _reorg(section: Section, index: int) -> Layer:
    return Reorg(section.whole("stride", 1, most=255))


def _softmax(section: Section, index: int) -> Layer:
    temperature = section.real("temperature", 1.0, least=1e-6, most=1e6)
    return Softmax(section.whole("groups", 1), temperature)


def _dropout(section: Section, index: int) -> Layer:
    return Dropout(section.real("probability", 0.5, least=0.0, most=0.999))


def _yolo(section: Section, index: int) -> Layer:
    scale = section.real("scale_x_y", 1.0, least=1.0, most=4.0)
    classes = section.whole("classes", 20)
    return Head(
        _anchors(section),
        classes,
        scale,
        distance_power=_distance_power(section),
        new_coords=section.flag("new_coords"),
    )


def _distance_power(section: Section) -> float | None:
    """Where suppression counts the distance of centers, by which exponent."""
    kind = section.text("nms_kind", "default")
    beta = section.real("beta_nms", 0.6, least=0.0, most=9.0)
    if kind not in ("default", "greedynms", "diounms"):
        raise section.error("nms_kind", "one of default, greedynms, diounms", kind)
    return {"default": None, "greedynms": 0.6, "diounms": beta}[kind]


def _region(section: Section, index: int) -> Layer:
    """YOLOv2's head, its anchors in cells, which become pixels once the grid is known."""
    section.whole("coords", 4, least=4, most=4)
    return Head(_anchors(section), section.whole("classes", 20), softmax=section.flag("softmax"))


def _anchors(section: Section) -> tuple[tuple[float, float], ...]:
    values, count = section.reals("anchors"), section.whole("num", 1)
    if len(values) != 2 * count or not all(0 < value <= MOST for value in values):
        expected = f"2 · num = {2 * count} positive numbers"
        raise section.error("anchors", expected, f"{len(values)}: {section.text('anchors')}")
    shapes = list(zip(values[::2], values[1::2], strict=True))
    if section.kind == "region":
        return tuple(shapes)
    mask = section.wholes("mask", ",".join(map(str, range(count))))
    if not all(0 <= n < count for n in mask) or len(set(mask)) < len(mask):
        raise section.error("mask", f"numbers from 0 to {count - 1}, once each", mask)
    return tuple(shapes[n] for n in mask)


def _in_pixels(config: DarknetConfig, sections: list[Section]) -> DarknetConfig:
    """The configuration with the anchors of [region], which are in cells, in pixels."""
    shapes, layers = config.shapes(), list(config.layers)
    for index, head in config.heads.items():
        if sections[index].kind == "region":
            stride = config.height / shapes[index][0]
            anchors = tuple((w * stride, h * stride) for w, h in head.anchors)
            layers[index] = dataclasses.replace(head, anchors=anchors)
    return dataclasses.replace(config, layers=tuple(layers))


LAYERS: Mapping[str, Callable[[Section, int], Layer]] = {
    "convolutional": _convolutional,
    "maxpool": _max_pool,
    "route": _route,
    "shortcut": _shortcut,
    "upsample": _upsample,
    "reorg": _reorg,
    "avgpool": lambda section, index: AvgPool(),
    "softmax": _softmax,
    "dropout": _dropout,
    "yolo": _yolo,
    "region": _region,
}
"""How each kind of section is read."""
