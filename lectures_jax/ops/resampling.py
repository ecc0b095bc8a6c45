"""Feature maps at a multiple of their size."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lectures_jax.ops._precision import in_float32
from lectures_jax.ops._window import Size, check_image, pair
from lectures_jax.typing import checked


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
