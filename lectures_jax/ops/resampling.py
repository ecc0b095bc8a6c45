"""Feature maps at a multiple of their size."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lectures_jax.ops._precision import in_float32, upcast
from lectures_jax.ops._window import Size, check_image, pair
from lectures_jax.ops.convolution import conv2d
from lectures_jax.ops.flow import depth_to_space
from lectures_jax.typing import checked

TAPS = np.array([[[1, 0, 0], [0, 1, 1], [0, 0, 0]], [[0, 0, 0], [1, 1, 0], [0, 0, 1]]], np.float32)
"""`TAPS[phase, i, t]`: whether tap t of three falls on the cell before, on or after the own one."""


@checked
@in_float32
def upsample_nearest(
    x: Float[Array, "*b h w c"], *, factor: Size = 2
) -> Float[Array, "*b h2 w2 c"]:
    """Returns the map enlarged by repeating every cell.

    Args:
        x: images or feature maps.
        factor: copies of each row and of each column, one number for both or a pair.

    Returns:
        Maps of `factor · h` rows and `factor · w` columns.

    Raises:
        ValueError: if the factor is not an integer of at least 1.

    Source:
        Odena et al. (2016), who prefer it, with a convolution, to a transposed convolution.
    """
    check_image(x)
    fh, fw = pair("factor", factor)
    *outer, h, w, c = x.shape
    # Broadcast and reshape: on CPU the gradient of `jnp.repeat` is far slower.
    cells = jnp.broadcast_to(x[..., :, None, :, None, :], (*outer, h, fh, w, fw, c))
    return cells.reshape(*outer, h * fh, w * fw, c)


@checked
def upsample_conv2d(
    x: Float[Array, "*b h w c"],
    kernel: Float[Array, "3 3 c d"],
    bias: Float[Array, " d"] | None = None,
    *,
    border: str = "zeros",
) -> Float[Array, "*b h2 w2 d"]:
    """Returns `conv2d(upsample_nearest(x), kernel, bias)`, computed on the small map.

    Of the three taps in a row two fall on the same cell of x. Each of the four cells that a cell of
    x becomes is thus a convolution of x with a kernel of its own, and all four are one convolution
    to four times the channels: on CPU twice as fast.

    Args:
        x: images or feature maps.
        kernel: weights [3, 3, inputs, outputs] of the convolution of the enlarged map.
        bias: added to each output channel; None adds nothing.
        border: what lies around the map: "zeros", or with "edge" its outer cells once more, which
            is also the reflection of the enlarged map.

    Returns:
        Maps of `2 h` rows and `2 w` columns. In half precision the sums of two weights are rounded
        once more than the weights are.

    Raises:
        ValueError: if the kernel does not fit, or `border` is unknown.

    Source:
        Odena et al. (2016), for a convolution of an enlarged map; Shi et al. (2016), sec. 3.2, for
        channels as cells.
    """
    check_image(x)
    if border not in ("zeros", "edge"):
        raise ValueError(f"border must be one of zeros, edge, got {border!r}.")
    weights = upcast(kernel)
    taps = TAPS.astype(weights.dtype)
    by_phase = jnp.einsum("ait,bju,tucd->ijcabd", taps, taps, weights, precision="highest")
    phases = by_phase.astype(kernel.dtype).reshape(3, 3, kernel.shape[2], -1)
    around = [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)]
    x = jnp.pad(x, around, mode="edge" if border == "edge" else "constant")
    repeated = None if bias is None else jnp.tile(bias, 4)
    return depth_to_space(conv2d(x, phases, repeated, padding="VALID"))


@checked
@in_float32
def upsample_bilinear(
    x: Float[Array, "*b h w c"], *, factor: Size = 2
) -> Float[Array, "*b h2 w2 c"]:
    """Returns the map enlarged by linear interpolation along rows and along columns.

    Cell centers are at half integers and the border is continued, as in torch's `interpolate` with
    `align_corners=False`.

    Args:
        x: images or feature maps.
        factor: by which rows and columns are enlarged, one number for both or a pair; 32 brings
            FCN's scores to the size of the image.

    Returns:
        Maps of `factor · h` rows and `factor · w` columns, with values between those of x.

    Raises:
        ValueError: if the factor is not an integer of at least 1.

    Source:
        Long et al. (2015), sec. 3.3.
    """
    check_image(x)
    fh, fw = pair("factor", factor)
    return _interpolate(_interpolate(x, fh, x.ndim - 3), fw, x.ndim - 2)


def bilinear_kernel(*, factor: int, channels: int) -> Float[Array, "k k c c"]:
    """Returns the kernel with which `conv_transpose2d` interpolates: a tent, channel by channel.

    With `stride=factor` and padding "SAME" the result equals `upsample_bilinear` but for the outer
    `factor / 2` rows and columns, where the transposed convolution fades towards 0.

    Args:
        factor: by which the map is enlarged; the kernel has `2 · factor − factor mod 2` taps.
        channels: channels of the map, each interpolated by itself.

    Returns:
        Weights in [0, 1], float32.

    Raises:
        ValueError: if a number is not an integer of at least 1.

    Source:
        Long et al. (2015), sec. 3.3, who initialize their trained upsampling with it.
    """
    pair("factor and channels", (factor, channels))
    taps = 2 * factor - factor % 2
    tent = 1 - np.abs(np.arange(taps) - (taps - 1) / 2) / factor
    kernel = np.outer(tent, tent)[..., None, None] * np.eye(channels)
    return jnp.asarray(kernel, jnp.float32)


def _interpolate(x: Array, factor: int, axis: int) -> Array:
    """Interpolates one axis: phase r lies `(r + ½) / factor − ½` cells after a cell's center."""
    length = x.shape[axis]
    before = jnp.concatenate([_part(x, axis, 0, 1), _part(x, axis, 0, length - 1)], axis)
    after = jnp.concatenate([_part(x, axis, 1, length), _part(x, axis, length - 1, length)], axis)
    shift = (np.arange(factor) + 0.5) / factor - 0.5
    weights = np.maximum(-shift, 0), 1 - np.abs(shift), np.maximum(shift, 0)
    along = [factor if n == axis + 1 else 1 for n in range(x.ndim + 1)]
    parts = [
        jnp.expand_dims(cells, axis + 1) * jnp.asarray(weight.reshape(along), x.dtype)
        for cells, weight in zip((before, x, after), weights, strict=True)
    ]
    y = parts[0] + parts[1] + parts[2]
    return y.reshape(*x.shape[:axis], length * factor, *x.shape[axis + 1 :])


def _part(x: Array, axis: int, start: int, stop: int) -> Array:
    return jax.lax.slice_in_dim(x, start, stop, axis=axis)
