"""The layers that a Darknet configuration names."""

from dataclasses import dataclass
from typing import Literal

Activation = Literal[
    "linear",
    "logistic",
    "relu",
    "relu6",
    "leaky",
    "elu",
    "selu",
    "gelu",
    "tanh",
    "swish",
    "mish",
    "hard_mish",
]
"""Darknet's name of an activation; the functions are in `models.darknet_network`."""


@dataclass(frozen=True)
class Convolutional:
    """A convolution, maybe with batch normalization, and an activation.

    Attributes:
        filters: output channels.
        size: rows and columns of the kernel.
        stride_y: cells from one row of results to the next.
        stride_x: cells from one column of results to the next.
        padding: zeros on every side of the map, times the dilation.
        dilation: cells between two taps.
        groups: of channels that do not see each other.
        batch_normalize: whether it is normalized; otherwise it has a bias.
        activation: what is applied last.
    """

    filters: int = 1
    size: int = 1
    stride_y: int = 1
    stride_x: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    batch_normalize: bool = False
    activation: Activation = "logistic"


@dataclass(frozen=True)
class MaxPool:
    """The largest value of each window.

    Attributes:
        size: cells of a window.
        stride: cells from one window to the next.
        padding: rows and columns in all, of which `padding // 2` are before the first.
    """

    size: int = 1
    stride: int = 1
    padding: int = 0


@dataclass(frozen=True)
class Route:
    """Earlier maps side by side, or one of `groups` parts of each.

    Attributes:
        layers: their numbers, from 0.
        groups: equal parts that the channels of each are split into.
        group_id: the part that is taken, from 0.
    """

    layers: tuple[int, ...]
    groups: int = 1
    group_id: int = 0


@dataclass(frozen=True)
class Shortcut:
    """The last map, to whose first channels those of earlier ones are added.

    Attributes:
        layers: numbers of the earlier ones, from 0.
        activation: of the sum.
    """

    layers: tuple[int, ...]
    activation: Activation = "linear"


@dataclass(frozen=True)
class Upsample:
    """Each cell repeated.

    Attributes:
        stride: rows and columns that a cell becomes.
        scale: factor of the values.
    """

    stride: int = 2
    scale: float = 1.0


@dataclass(frozen=True)
class Reorg:
    """Blocks of cells that become channels, in the order that Darknet's arithmetic gives them.

    It takes the map, channels first, for one of `stride²` times fewer channels and as many more
    cells, and moves the blocks of that one into channels.

    Attributes:
        stride: rows and columns of a block.
    """

    stride: int = 1


@dataclass(frozen=True)
class AvgPool:
    """The mean of all cells, channel by channel."""


@dataclass(frozen=True)
class Softmax:
    """Softmax over all values of a map, or within each of `groups` parts of its channels.

    Attributes:
        groups: equal parts of the channels.
        temperature: what the values are divided by.
    """

    groups: int = 1
    temperature: float = 1.0


@dataclass(frozen=True)
class Dropout:
    """Values set to 0 at random in training, the others enlarged.

    Attributes:
        probability: of a value to be set to 0.
    """

    probability: float = 0.5


@dataclass(frozen=True)
class Head:
    """Where a detector's numbers are read: Darknet's `yolo` or `region`.

    Attributes:
        anchors: width and height of each, in pixels of the network's input.
        classes: number of classes.
        scale_x_y: factor of a center's range of one cell.
        softmax: whether a box has one class, by softmax, as in YOLOv2.
        distance_power: exponent by which the distance of centers counts in Darknet's suppression;
            None: not at all.
        new_coords: whether all numbers come from a sigmoid already, and a size is `(2 t)²` times
            the anchor's, as in Scaled-YOLOv4.
    """

    anchors: tuple[tuple[float, float], ...]
    classes: int = 20
    scale_x_y: float = 1.0
    softmax: bool = False
    distance_power: float | None = None
    new_coords: bool = False


Layer = (
    Convolutional
    | MaxPool
    | Route
    | Shortcut
    | Upsample
    | Reorg
    | AvgPool
    | Softmax
    | Dropout
    | Head
)
