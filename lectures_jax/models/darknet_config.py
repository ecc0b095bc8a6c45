"""A network as a Darknet configuration describes it, and the shapes of its maps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lectures_jax.models.darknet_layers import (
    AvgPool,
    Convolutional,
    Head,
    Layer,
    MaxPool,
    Reorg,
    Route,
    Shortcut,
    Softmax,
    Upsample,
)

Shape = tuple[int, int, int]
"""Height, width and channels of a map."""

MAX_CELLS = 2**28  # numbers in one map of one image: a gibibyte of floats


class LayerError(ValueError):
    """A layer whose inputs do not fit.

    Attributes:
        index: of the layer, from 0.
        expected: what it expects.
        got: what comes.
    """

    def __init__(self, index: int, expected: str, got: object):
        super().__init__(f"layer {index} must have {expected}, got {got}.")
        self.index = index
        self.expected = expected
        self.got = str(got)


@dataclass(frozen=True)
class DarknetConfig:
    """A network as a Darknet configuration describes it.

    Attributes:
        height: of the images that it is made for, in pixels.
        width: of the images.
        channels: of the images.
        layers: in the order in which they run.
        letterbox: whether images keep their aspect, with gray beside them, or are stretched.
    """

    height: int
    width: int
    channels: int
    layers: tuple[Layer, ...]
    letterbox: bool = False

    @property
    def heads(self) -> dict[int, Head]:
        """Returns the heads by their numbers among the layers."""
        return {i: layer for i, layer in enumerate(self.layers) if isinstance(layer, Head)}

    @property
    def convolutions(self) -> dict[int, Convolutional]:
        """Returns the layers with parameters by their numbers among the layers."""
        return {i: layer for i, layer in enumerate(self.layers) if isinstance(layer, Convolutional)}

    def shapes(self) -> list[Shape]:
        """Returns the shape of each layer's map.

        Raises:
            LayerError: for the first layer whose inputs do not fit.
        """
        shapes: list[Shape] = []
        for index, layer in enumerate(self.layers):
            inputs = []
            for source in reads(layer, index):
                if not -1 <= source < index:
                    raise LayerError(index, f"layers before this one, the {index}th", source)
                if source >= 0 and isinstance(self.layers[source], Head):
                    raise LayerError(index, "layers that make maps", f"the head {source}")
                image = (self.height, self.width, self.channels)
                inputs.append(image if source == -1 else shapes[source])
            if (
                isinstance(layer, Head)
                and layer.new_coords
                and not _is_logistic(self.layers, index)
            ):
                raise LayerError(index, "a convolution of activation logistic before it", "another")
            shape = _shape(index, layer, inputs)
            if math.prod(shape) > MAX_CELLS:
                raise LayerError(index, f"a map of at most {MAX_CELLS:,} numbers", _shown([shape]))
            shapes.append(shape)
        return shapes

    def strides(self) -> tuple[int, ...]:
        """Returns the pixels per cell of each head.

        Raises:
            LayerError: if they are not whole, or not the same in both directions.
        """
        shapes, strides = self.shapes(), []
        for index in self.heads:
            rows, columns, _ = shapes[index]
            stride = self.height // rows
            if (rows * stride, columns * stride) != (self.height, self.width):
                got = f"{rows}×{columns} for {self.height}×{self.width} pixels"
                raise LayerError(index, "a grid that divides the image", got)
            strides.append(stride)
        return tuple(strides)

    def kernels(self) -> dict[int, tuple[int, int, int, int]]:
        """Returns rows, columns, inputs per group and outputs of each convolution's kernel.

        Raises:
            LayerError: for the first layer whose inputs do not fit.
        """
        inputs = [self.channels, *(channels for _, _, channels in self.shapes())]
        return {
            index: (layer.size, layer.size, inputs[index] // layer.groups, layer.filters)
            for index, layer in self.convolutions.items()
        }


def _is_logistic(layers: Sequence[Layer], index: int) -> bool:
    """Whether the layer before is a convolution that ends in a sigmoid."""
    before = layers[index - 1] if index else None
    return isinstance(before, Convolutional) and before.activation == "logistic"


def reads(layer: Layer, index: int) -> tuple[int, ...]:
    """Returns the numbers of the maps that a layer reads; -1 is the image.

    Args:
        layer: of a network.
        index: its number, from 0.
    """
    match layer:
        case Route(layers):
            return layers
        case Shortcut(layers):
            return index - 1, *layers
    return (index - 1,)


def _shape(index: int, layer: Layer, inputs: Sequence[Shape]) -> Shape:
    """The shape of what a layer makes of maps of these shapes."""
    height, width, channels = inputs[0]
    match layer:
        case Convolutional(filters, size, stride_y, stride_x, padding, _, groups):
            if channels % groups or filters % groups:
                expected = f"groups that divide {channels} channels and {filters} filters"
                raise LayerError(index, expected, groups)
            return *_slide(index, inputs[0], size, (stride_y, stride_x), 2 * padding), filters
        case MaxPool(size, stride, padding):
            return *_slide(index, inputs[0], size, (stride, stride), padding), channels
        case Route(_, groups):
            if len({shape[:2] for shape in inputs}) > 1:
                raise LayerError(index, "maps of one height and width", _shown(inputs))
            if any(shape[2] % groups for shape in inputs):
                raise LayerError(index, f"channels in multiples of {groups}", _shown(inputs))
            return height, width, sum(shape[2] // groups for shape in inputs)
        case Shortcut():
            if len({shape[:2] for shape in inputs}) > 1:
                raise LayerError(index, "maps of one height and width", _shown(inputs))
        case Upsample(stride):
            return height * stride, width * stride, channels
        case Reorg(stride):
            if height % stride or width % stride or channels % stride**2:
                expected = f"rows and columns in multiples of {stride}, channels of {stride**2}"
                raise LayerError(index, expected, _shown(inputs))
            return height // stride, width // stride, channels * stride**2
        case AvgPool():
            return 1, 1, channels
        case Softmax(groups):
            if (height, width) != (1, 1) or channels % groups:
                raise LayerError(index, f"one cell of {groups} equal groups", _shown(inputs))
        case Head(anchors, classes):
            if channels != (expected := len(anchors) * (5 + classes)):
                count = f"{len(anchors)} anchors times 5 + {classes} classes"
                raise LayerError(index, f"{expected} channels before it, {count}", channels)
    return inputs[0]


def _slide(
    index: int, shape: Shape, size: int, stride: tuple[int, int], padding: int
) -> tuple[int, int]:
    """`⌊(n + padding − size) / stride⌋ + 1` rows and columns."""
    if size > (most := min(shape[:2]) + padding):
        raise LayerError(index, f"a window of at most {most} cells", size)
    rows, columns = (
        (n + padding - size) // step + 1 for n, step in zip(shape, stride, strict=False)
    )
    return rows, columns


def _shown(shapes: Sequence[Shape]) -> str:
    return " and ".join("×".join(map(str, shape)) for shape in shapes)
