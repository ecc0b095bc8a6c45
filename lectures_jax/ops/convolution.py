"""Convolution and its relatives: transposed, separable, and written as a matrix.

Images are [..., h, w, c] and kernels [rows, columns, inputs per group, outputs]. As everywhere in
deep learning the kernel is not flipped: it is the cross-correlation of signal processing.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops import _fast_convolution as fast
from lectures_jax.ops._precision import in_float32
from lectures_jax.ops._window import (
    Padding,
    Size,
    check_image,
    explicit,
    pair,
    sliding_window,
)
from lectures_jax.typing import Length, checked


@checked
def conv2d(
    x: Float[Array, "*b h w c"],
    kernel: Float[Array, "kh kw i d"],
    bias: Float[Array, " d"] | None = None,
    *,
    stride: Size = 1,
    padding: Padding = "SAME",
    dilation: Size = 1,
    groups: int = 1,
) -> Float[Array, "*b h2 w2 d"]:
    """Returns the convolution of images with a kernel: the same weighted sum at every position.

    `y[p, q, d] = bias[d] + Σ_(i,j,c) x[s·p + a·i − top, s·q + a·j − left, c] · kernel[i, j, c, d]`
    with stride s and dilation a; cells outside of the image are 0.

    On other platforms than the CPU, this is XLA's convolution. On CPU it is computed so that
    gradients are fast also inside of `scan` and `while`; 3×3 kernels of stride 1 with many channels
    take Winograd's algorithm, and large kernels to few channels are computed by blocks of cells, as
    3×3 kernels to many. Forward-mode and higher derivatives exist too; inside of a loop on
    CPU they are as slow as those of XLA's convolution.

    Args:
        x: images or feature maps.
        kernel: weights [rows, columns, inputs, outputs]; `c / groups` inputs.
        bias: added to each output channel; None adds nothing.
        stride: cells from one position to the next, for rows and columns alike or as a pair.
        padding: zeros around the image. "VALID": none, output size `⌊(h − k) / s⌋ + 1`; "SAME": as
            many as make the output size `⌈h / s⌉`, an odd one at the bottom and right; an integer:
            so many on each side; or ((top, bottom), (left, right)).
        dilation: cells from one tap of the kernel to the next.
        groups: number of groups into which inputs and outputs are split; an output sees the inputs
            of its own group alone. One group per channel is the depth-wise convolution.

    Returns:
        One map per output channel, in the dtype of x.

    Raises:
        ValueError: if channels and kernel do not fit, the kernel is larger than the padded image,
            an even kernel is dilated under "SAME", or a number is out of range.

    Source:
        LeCun et al. (1998), sec. II; Dumoulin & Visin (2016), relationships 1 to 7 and 15;
        Lavin & Gray (2016), sec. 4.1.
    """
    check_image(x)
    _check_kernel("kernel", kernel, x.dtype)
    _check_groups(x, kernel, groups)
    window = sliding_window(
        x.shape, kernel.shape, stride=stride, padding=padding, dilation=dilation
    )
    images = x.reshape(-1, *x.shape[-3:])
    y = jax.lax.platform_dependent(
        images,
        kernel,
        cpu=partial(in_float32(fast.convolution), window=window, groups=groups),
        default=partial(fast.plain, window=window, groups=groups),
    )
    return _with_bias(y, bias).reshape(*x.shape[:-3], *y.shape[1:])


@checked
def conv_transpose2d(
    x: Float[Array, "*b h w c"],
    kernel: Float[Array, "kh kw d c"],
    bias: Float[Array, " d"] | None = None,
    *,
    stride: Size = 1,
    padding: Padding = "SAME",
    output_padding: int = 0,
) -> Float[Array, "*b h2 w2 d"]:
    """Returns the transposed convolution: the gradient of `conv2d` with respect to its images.

    Each cell of x adds the whole kernel, times its value, to the result; the kernels of neighbors
    lie `stride` cells apart.

    Args:
        x: images or feature maps, in the role of the gradient with respect to `conv2d`'s result.
        kernel: the weights with which `conv2d` maps d channels to c.
        bias: added to each output channel; None adds nothing.
        stride: stride s of that `conv2d`: the image grows by this factor.
        padding: padding of that `conv2d`, which is cut off here. "SAME": output size `s·h`;
            "VALID": `s·(h − 1) + k`; an integer p: `s·(h − 1) + k − 2p`, torch's convention.
        output_padding: additional rows and columns at the bottom and right, less than the stride:
            `conv2d` gives the same size for several image sizes, and this tells which one is
            wanted. 0 with "SAME".

    Returns:
        One map per output channel, in the dtype of x.

    Raises:
        ValueError: if the channels do not fit, nothing is left of the image, or a number is out of
            range.

    Source:
        Dumoulin & Visin (2016), sec. 4; Zeiler et al. (2010).
    """
    check_image(x)
    _check_kernel("kernel", kernel, x.dtype)
    stride = pair("stride", stride)
    size = _transposed_size(x.shape, kernel.shape, stride, padding, output_padding)
    window = sliding_window((*size, 1), kernel.shape, stride=stride, padding=padding, dilation=1)
    images = x.reshape(-1, *x.shape[-3:])
    y = jax.lax.platform_dependent(
        images,
        kernel,
        cpu=partial(in_float32(fast.transposed), window=window, size=size),
        default=partial(fast.plain_transposed, window=window, size=size),
    )
    return _with_bias(y, bias).reshape(*x.shape[:-3], *y.shape[1:])


@checked
def separable_conv2d(
    x: Float[Array, "*b h w c"],
    depthwise_kernel: Float[Array, "kh kw _ m"],
    pointwise_kernel: Float[Array, "_ _ _ d"],
    bias: Float[Array, " d"] | None = None,
    *,
    stride: Size = 1,
    padding: Padding = "SAME",
) -> Float[Array, "*b h2 w2 d"]:
    """Returns the depth-wise separable convolution: each channel by itself, then 1×1 across them.

    Args:
        x: images or feature maps.
        depthwise_kernel: one filter per channel, or several: m is a multiple of c.
        pointwise_kernel: 1×1 kernel that mixes the m filtered channels.
        bias: added to each output channel; None adds nothing.
        stride: cells from one position of the depth-wise kernel to the next.
        padding: zeros around the image, in the forms that `conv2d` takes.

    Returns:
        One map per output channel, in the dtype of x.

    Raises:
        ValueError: if channels and kernels do not fit, the kernel is larger than the padded image,
            or a number is out of range.

    Source:
        Chollet (2017), sec. 1.1; Sifre (2014), sec. 6.2.
    """
    check_image(x)
    _check_kernel("depthwise_kernel", depthwise_kernel, x.dtype)
    _check_kernel("pointwise_kernel", pointwise_kernel, x.dtype)
    channels, filtered = x.shape[-1], depthwise_kernel.shape[3]
    if depthwise_kernel.shape[2] != 1 or filtered % channels:
        raise ValueError(
            f"depthwise_kernel must be [rows, columns, 1, a multiple of {channels}] for {channels} "
            f"channels, got shape {depthwise_kernel.shape}."
        )
    if pointwise_kernel.shape[:3] != (1, 1, filtered):
        raise ValueError(
            f"pointwise_kernel must be [1, 1, {filtered}, outputs], got shape "
            f"{pointwise_kernel.shape}."
        )
    y = conv2d(x, depthwise_kernel, stride=stride, padding=padding, groups=channels)
    return conv2d(y, pointwise_kernel, bias)


@checked
def conv_matrix(
    kernel: Float[Array, "kh kw c d"],
    *,
    height: int,
    width: int,
    stride: Size = 1,
    padding: Padding = "VALID",
) -> Float[Array, "out in"]:
    """Returns the matrix C with `C @ image.ravel() == conv2d(image, kernel).ravel()`.

    Convolution is linear: column n is the convolution of the image that is 1 in cell n and 0
    elsewhere. Every row holds the same few weights, shifted, and zeros: a dense layer with shared
    weights. The transposed matrix is `conv_transpose2d`.

    Args:
        kernel: weights [rows, columns, inputs, outputs].
        height: rows of the image.
        width: columns of the image.
        stride: cells from one position of the kernel to the next.
        padding: zeros around the image, in the forms that `conv2d` takes.

    Returns:
        One row per cell and channel of the result, one column per cell and channel of the image.

    Raises:
        ValueError: if the kernel is larger than the padded image, or a number is out of range.

    Source:
        Dumoulin & Visin (2016), sec. 4.1.
    """
    _check_kernel("kernel", kernel, kernel.dtype)
    cells = pair("height and width", (height, width))
    basis = jnp.eye(cells[0] * cells[1] * kernel.shape[2], dtype=kernel.dtype)
    images = basis.reshape(-1, *cells, kernel.shape[2])
    return conv2d(images, kernel, stride=stride, padding=padding).reshape(len(basis), -1).T


def _check_kernel(name: str, kernel: Array, dtype: jnp.dtype) -> None:
    if not kernel.size:
        raise ValueError(f"{name} must hold at least one value, got shape {kernel.shape}.")
    if kernel.dtype != dtype:
        raise ValueError(f"{name} must have x's dtype {dtype}, got {kernel.dtype}.")


def _check_groups(x: Array, kernel: Array, groups: int) -> None:
    channels, (inputs, outputs) = x.shape[-1], kernel.shape[2:]
    if groups < 1 or channels % groups or outputs % groups:
        raise ValueError(
            f"groups must divide the {channels} channels of x and the {outputs} outputs of kernel, "
            f"got {groups}."
        )
    if inputs * groups != channels:
        raise ValueError(
            f"kernel must be [rows, columns, {channels // groups}, outputs] for {channels} "
            f"channels in {groups} group{'s' if groups > 1 else ''}, got shape {kernel.shape}."
        )


@in_float32
def _with_bias(y: Array, bias: Array | None) -> Array:
    return y if bias is None else y + bias.reshape(1, 1, 1, -1)


def _transposed_size(
    shape: tuple[Length, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: Padding,
    output_padding: int,
) -> tuple[Length, Length]:
    """Rows and columns of the images whose convolution has those of `shape`."""
    most = 1 if padding == "SAME" else min(stride)
    if not 0 <= output_padding < most:
        raise ValueError(
            f"output_padding must be 0 to {most - 1} with stride {stride} and padding {padding!r}, "
            f"got {output_padding}."
        )
    if padding == "SAME":
        return shape[-3] * stride[0], shape[-2] * stride[1]
    rows, columns = (
        (n - 1) * s + k - low - high + output_padding
        for n, s, k, (low, high) in zip(
            shape[-3:-1], stride, kernel, explicit(padding), strict=False
        )
    )
    if rows < 1 or columns < 1:
        raise ValueError(f"padding must leave something of the image, got {padding!r}.")
    return rows, columns
