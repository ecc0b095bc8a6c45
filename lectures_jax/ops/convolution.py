"""Convolution and its relatives: transposed, separable, and written as a matrix.

Images are [..., h, w, c] and kernels [rows, columns, inputs per group, outputs]. As everywhere in
deep learning the kernel is not flipped: it is the cross-correlation of signal processing.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops import _fast_convolution as fast
from lectures_jax.ops._window import Padding, Size, check_image, explicit, pair, place


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

    On CPU it is computed so that gradients are fast also inside of `scan` and `while`, and 3×3
    kernels of stride 1 with many channels by Winograd's algorithm, on other platforms by
    XLA's own. Derivatives of every order and direction exist; only the gradient is
    fast in a loop on CPU, `jvp` and the derivative of a gradient are there as slow as XLA's own.

    Args:
        x: images.
        kernel: its third axis has the channels of one group, `c / groups`.
        bias: added to each output channel.
        stride: cells from one position to the next; rows and columns may differ.
        padding: zeros around the image. "VALID": none, size `⌊(h − k) / s⌋ + 1`; "SAME": as many
            as make it `⌈h / s⌉`, an odd one at the bottom and right; an integer: on each side;
            or ((top, bottom), (left, right)).
        dilation: cells from one tap of the kernel to the next.
        groups: the channels fall into so many groups that do not see each other; as many as there
            are channels is the depth-wise convolution.

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
    window = place(x.shape, kernel.shape, stride=stride, padding=padding, dilation=dilation)
    images = x.reshape(-1, *x.shape[-3:])
    y = jax.lax.platform_dependent(
        images,
        kernel,
        cpu=partial(fast.convolution, window=window, groups=groups),
        default=partial(fast.plain, window=window, groups=groups),
    )
    return _with_bias(y, bias).reshape(*x.shape[:-3], *y.shape[1:])


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

    Each cell of x lays down the whole kernel, times its value, `stride` cells after that of its
    neighbor; where kernels overlap they add.

    Args:
        x: images, in the role of the gradient that reaches the output of `conv2d`.
        kernel: the same one that `conv2d` would take from d to c channels.
        bias: added to each output channel.
        stride: of `conv2d`: the image grows by this factor.
        padding: of `conv2d`, whose zeros are cut off here. "SAME": size `s·h`; "VALID": size
            `s·(h − 1) + k`; an integer p: `s·(h − 1) + k − 2p`, torch's convention.
        output_padding: rows and columns more at the bottom and right, less than the stride:
            `conv2d` takes several sizes to the same one, and this tells them apart. 0 with "SAME".

    Raises:
        ValueError: if the channels do not fit, nothing is left of the image, or a number is out of
            range.

    Source:
        Dumoulin & Visin (2016), sec. 4; Zeiler et al. (2010).
    """
    check_image(x)
    _check_kernel("kernel", kernel, x.dtype)
    if x.shape[-1] != kernel.shape[3]:
        raise ValueError(
            f"kernel must be [rows, columns, outputs, {x.shape[-1]}] for {x.shape[-1]} channels, "
            f"got shape {kernel.shape}."
        )
    stride = pair("stride", stride)
    size = _transposed_size(x.shape, kernel.shape, stride, padding, output_padding)
    window = place((*size, 1), kernel.shape, stride=stride, padding=padding, dilation=1)
    images = x.reshape(-1, *x.shape[-3:])
    y = jax.lax.platform_dependent(
        images,
        kernel,
        cpu=partial(fast.transposed, window=window, size=size),
        default=partial(fast.plain_transposed, window=window, size=size),
    )
    return _with_bias(y, bias).reshape(*x.shape[:-3], *y.shape[1:])


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
        x: images.
        depthwise_kernel: a filter for each channel, or several: m is a multiple of c.
        pointwise_kernel: mixes the m filtered channels.
        bias: added to each output channel.
        stride: of the depth-wise part, as of `conv2d`.
        padding: likewise.

    Raises:
        ValueError: as `conv2d`.

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


def conv_matrix(
    kernel: Float[Array, "kh kw c d"],
    *,
    height: int,
    width: int,
    stride: Size = 1,
    padding: Padding = "VALID",
) -> Float[Array, "out in"]:
    """Returns the matrix C with `C @ image.ravel() == conv2d(image, kernel).ravel()`.

    Convolution is linear: column n is what becomes of the image that is 1 in cell n and else 0.
    The same few weights stand in every row, shifted, and all else is 0: a dense layer with shared
    weights. Its transpose is `conv_transpose2d`.

    Args:
        kernel: of `conv2d`.
        height: of the image, in cells.
        width: likewise.
        stride: of `conv2d`.
        padding: of `conv2d`.

    Raises:
        ValueError: as `conv2d`.

    Source:
        Dumoulin & Visin (2016), sec. 4.1.
    """
    _check_kernel("kernel", kernel, kernel.dtype)
    cells = pair("height and width", (height, width))
    basis = jnp.eye(cells[0] * cells[1] * kernel.shape[2], dtype=kernel.dtype)
    images = basis.reshape(-1, *cells, kernel.shape[2])
    return conv2d(images, kernel, stride=stride, padding=padding).reshape(len(basis), -1).T


def _check_kernel(name: str, kernel: Array, dtype: jnp.dtype) -> None:
    if kernel.ndim != 4 or not all(kernel.shape):
        raise ValueError(
            f"{name} must be [rows, columns, inputs, outputs], at least 1 each, got shape "
            f"{kernel.shape}."
        )
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


def _with_bias(y: Array, bias: Array | None) -> Array:
    if bias is None:
        return y
    if bias.shape != y.shape[-1:]:
        raise ValueError(f"bias must have shape {y.shape[-1:]}, got {bias.shape}.")
    return y + bias.reshape(1, 1, 1, -1)


def _transposed_size(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    padding: Padding,
    output_padding: int,
) -> tuple[int, int]:
    """Rows and columns that `conv2d` turns into those of `shape`."""
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
