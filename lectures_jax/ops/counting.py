"""Cost and receptive field of layers, from their sizes alone."""

from collections.abc import Sequence
from operator import index
from typing import Any, Literal, NamedTuple, SupportsIndex

from lectures_jax.typing import check_count

AxisPadding = int | tuple[int, int] | Literal["SAME", "VALID"]
"""Zeros along one axis: a number for each side, a pair (before, after), or a rule."""


class Count(NamedTuple):
    """What a layer costs.

    Attributes:
        parameters: trained numbers.
        flops: additions and multiplications for one example, a multiply-add counting as two.
    """

    parameters: int
    flops: int


class Window(NamedTuple):
    """A convolution or pooling along one axis.

    Attributes:
        kernel: cells of the kernel.
        stride: input cells from one output to the next.
        padding: zeros before the first input.
        dilation: input cells from one kernel cell to the next.
    """

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1


class ReceptiveField(NamedTuple):
    """Output `i` depends on the `size` inputs from `offset + i · stride` on.

    Attributes:
        size: inputs of the field.
        stride: inputs from the field of one output to that of the next.
        offset: first input on which output 0 depends; negative in the padding.
    """

    size: int
    stride: int
    offset: int


def conv_output_size(
    size: SupportsIndex,
    *,
    kernel: int,
    stride: int = 1,
    padding: AxisPadding = 0,
    dilation: int = 1,
) -> int:
    """Returns `⌊(size + padding − dilation (kernel − 1) − 1) / stride⌋ + 1`, the length of an axis.

    `padding` is that of both sides together: the course's 2p. The course's formula lacks the floor.

    Args:
        size: cells of the input.
        kernel: cells of the kernel.
        stride: input cells from one output to the next.
        padding: zeros on each side, a pair (before, after), VALID for none, or SAME for as many as
            give `⌈size / stride⌉`.
        dilation: input cells from one kernel cell to the next.

    Returns:
        Cells of the output, at least 1.

    Raises:
        ValueError: if a size is no positive integer, a padding is negative, or the kernel does not
            fit in.

    Source:
        Dumoulin & Visin (2016), relationships 6 and 15.
    """
    size, kernel, stride, dilation = _integers(
        1, size=size, kernel=kernel, stride=stride, dilation=dilation
    )
    if padding == "SAME":
        return -(-size // stride)
    if isinstance(padding, str) and padding != "VALID":
        raise ValueError(f"padding must be a number, a pair, SAME or VALID, got {padding!r}.")
    sides = (0, 0) if padding == "VALID" else padding
    before, after = _both_axes(0, padding=sides)
    room = size + before + after - dilation * (kernel - 1) - 1
    if room < 0:
        raise ValueError(
            f"kernel must fit into the padded input of {size + before + after}, got "
            f"{dilation * (kernel - 1) + 1} cells."
        )
    return room // stride + 1


def count_linear(inputs: SupportsIndex, outputs: SupportsIndex, *, bias: bool = True) -> Count:
    """Counts a dense layer: `n m` weights, `2 n m` operations; the bias adds `m` to each.

    Args:
        inputs: n, numbers that enter the layer.
        outputs: m, numbers that leave it.
        bias: whether the layer has a bias.

    Returns:
        The two numbers, for one example.

    Raises:
        ValueError: if a size is no positive integer.

    Source:
        Goodfellow, Bengio & Courville (2016), sec. 9.2.
    """
    n, m = _integers(1, inputs=inputs, outputs=outputs)
    return Count(n * m + bias * m, 2 * n * m + bias * m)


def count_conv(
    inputs: SupportsIndex,
    outputs: SupportsIndex,
    *,
    kernel: int | tuple[int, int],
    size: int | tuple[int, int],
    stride: int = 1,
    padding: AxisPadding = "SAME",
    dilation: int = 1,
    groups: int = 1,
    bias: bool = True,
) -> Count:
    """Counts a convolution: `k² c d / g` weights, and `2 k² c d / g` operations per output pixel.

    XLA's `cost_analysis` does not count products with the zeros of the padding: equal for VALID,
    less for SAME.

    Args:
        inputs: channels c.
        outputs: channels d.
        kernel: k, or height and width.
        size: pixels of the image's side, or height and width.
        stride: input pixels from one output pixel to the next.
        padding: zeros along each axis: a number for each side, a pair (before, after), SAME or
            VALID.
        dilation: input pixels from one kernel cell to the next.
        groups: g, into which the channels are split; g = c is the depth-wise convolution.
        bias: whether there is a bias: `d` weights, and one operation per output.

    Returns:
        The two numbers, for one image.

    Raises:
        ValueError: if a size is no positive integer, the kernel does not fit in, or `groups` does
            not divide both channels.

    Source:
        Goodfellow, Bengio & Courville (2016), sec. 9.2 and 9.5.
    """
    c, d, groups = _integers(1, inputs=inputs, outputs=outputs, groups=groups)
    if c % groups or d % groups:
        raise ValueError(f"groups must divide inputs and outputs, got {groups}, {c} and {d}.")
    (kh, kw), (h, w) = _both_axes(1, kernel=kernel), _both_axes(1, size=size)
    pixels = 1
    for n, k in ((h, kh), (w, kw)):
        pixels *= conv_output_size(n, kernel=k, stride=stride, padding=padding, dilation=dilation)
    weights = kh * kw * c * d // groups
    return Count(weights + bias * d, (2 * weights + bias * d) * pixels)


def count_separable(
    inputs: SupportsIndex,
    outputs: SupportsIndex,
    *,
    kernel: int | tuple[int, int],
    size: int | tuple[int, int],
    stride: int = 1,
    padding: AxisPadding = "SAME",
    bias: bool = True,
) -> Count:
    """Counts a depth-wise separable convolution: `k² c + c d` weights instead of `k² c d`.

    It is a depth-wise convolution without bias, then a 1×1 convolution, whose bias the course
    leaves out.

    Args:
        inputs: channels c.
        outputs: channels d.
        kernel: k of the depth-wise part, or height and width.
        size: pixels of the image's side, or height and width.
        stride: input pixels from one output pixel of the depth-wise part to the next.
        padding: zeros along each axis: a number for each side, a pair (before, after), SAME or
            VALID.
        bias: whether the 1×1 part has a bias.

    Returns:
        The two numbers, for one image.

    Raises:
        ValueError: if a size is no positive integer or the kernel does not fit in.

    Source:
        Chollet (2017), sec. 1; Howard et al. (2017), eq. 2 to 5.
    """
    options = {"kernel": kernel, "size": size, "stride": stride, "padding": padding}
    (c,) = _integers(1, inputs=inputs)
    depthwise = count_conv(c, c, groups=c, bias=False, **options)
    pixels = depthwise.flops // (2 * depthwise.parameters)
    pointwise = count_linear(c, outputs, bias=bias)
    return Count(
        depthwise.parameters + pointwise.parameters, depthwise.flops + pixels * pointwise.flops
    )


def receptive_field(layers: Sequence[Window | Sequence[int]]) -> ReceptiveField:
    """Returns the inputs on which one output of a chain of convolutions and poolings depends.

    `size = 1 + Σ d_l (k_l − 1) Π_{i<l} s_i`, `stride = Π s_l`, `offset = −Σ p_l Π_{i<l} s_i`.

    Args:
        layers: `Window(kernel, stride, padding, dilation)` or such tuples, the first layer first.

    Returns:
        Size, stride and offset of the field along one axis, in inputs of the first layer.

    Raises:
        ValueError: if a kernel, stride or dilation is no positive integer, or a padding negative.

    Source:
        Araujo, Norris & Sim (2019), eq. 2 to 5.
    """
    size, stride, offset = 1, 1, 0
    for layer in layers:
        window = Window(*layer)
        _integers(1, kernel=window.kernel, stride=window.stride, dilation=window.dilation)
        _integers(0, padding=window.padding)
        size += window.dilation * (window.kernel - 1) * stride
        offset -= window.padding * stride
        stride *= window.stride
    return ReceptiveField(size, stride, offset)


def _both_axes(least: int, **value: Any) -> tuple[int, int]:
    """Returns the two integers of a value, or a single one twice."""
    ((name, both),) = value.items()
    if not (isinstance(both, tuple | list) and len(both) == 2):
        both = both, both
    first, second = (_integers(least, **{name: one})[0] for one in both)
    return first, second


def _integers(least: int, **values: Any) -> list[int]:
    """Returns the values as integers, or raises a ValueError that names the first wrong one."""
    check_count(low=least, **values)
    return [index(value) for value in values.values()]
