"""Invertible maps with their log-determinants: couplings, mixing of channels, squeezing."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class ActNormParams(NamedTuple):
    """What data-dependent initialization gives `actnorm`."""

    shift: Float[Array, " c"]
    log_scale: Float[Array, " c"]


def affine_coupling(
    x: Float[Array, "*b"],
    shift: Float[Array, "*b"],
    log_scale: Float[Array, "*b"],
    mask: Bool[Array, "..."],
) -> tuple[Float[Array, "*b"], Float[Array, "..."]]:
    """Returns `x` where `mask`, `x · exp(log_scale) + shift` elsewhere, and the log-determinant.

    The map is invertible, and its Jacobian triangular, if `shift` and `log_scale` depend on the
    masked entries of `x` alone.

    Args:
        x: values; the last axes are those of `mask`, the axes before are a batch.
        shift: t, of each entry; not used where `mask`.
        log_scale: s, of each entry; not used where `mask`.
        mask: which entries stay as they are, the b of the paper.

    Returns:
        The new values, and `Σ log_scale` over the entries that moved, one number per example.

    Raises:
        ValueError: if the last axes of `x` are not those of `mask`.

    Source:
        Dinh et al. (2017), eq. 6 and 9.
    """
    mask = _mask_of(mask, x)
    y = jnp.where(mask, x, x * jnp.exp(log_scale) + shift)
    return y, _sum_moved(log_scale, mask)


def affine_coupling_inverse(
    y: Float[Array, "*b"],
    shift: Float[Array, "*b"],
    log_scale: Float[Array, "*b"],
    mask: Bool[Array, "..."],
) -> tuple[Float[Array, "*b"], Float[Array, "..."]]:
    """Returns the `x` that `affine_coupling` maps to `y`, and the inverse's log-determinant.

    `x = (y − shift) · exp(−log_scale)` where not `mask`: as cheap as the way there.

    Args:
        y: values; the last axes are those of `mask`, the axes before are a batch.
        shift: t, computed from the masked entries of `y`, which are those of `x`.
        log_scale: s, likewise.
        mask: which entries stay as they are.

    Returns:
        The values, and `−Σ log_scale` over the entries that moved.

    Raises:
        ValueError: if the last axes of `y` are not those of `mask`.

    Source:
        Dinh et al. (2017), eq. 8.
    """
    mask = _mask_of(mask, y)
    x = jnp.where(mask, y, (y - shift) * jnp.exp(-log_scale))
    return x, -_sum_moved(log_scale, mask)


def actnorm(
    x: Float[Array, "*b c"], shift: Float[Array, " c"], log_scale: Float[Array, " c"]
) -> tuple[Float[Array, "*b c"], Float[Array, "*b"]]:
    """Returns `x · exp(log_scale) + shift`, channel by channel, and the log-determinant.

    Args:
        x: vectors; in a map every cell is a vector of its own.
        shift: of each channel.
        log_scale: of each channel.

    Returns:
        The new values, and `Σ log_scale` for each vector; a map's is the sum over its cells.

    Source:
        Kingma & Dhariwal (2018), sec. 3.1.
    """
    y = x * _last(jnp.exp(log_scale), x) + _last(shift, x)
    return y, jnp.broadcast_to(jnp.sum(log_scale), x.shape[:-1])


def actnorm_inverse(
    y: Float[Array, "*b c"], shift: Float[Array, " c"], log_scale: Float[Array, " c"]
) -> tuple[Float[Array, "*b c"], Float[Array, "*b"]]:
    """Returns the `x` that `actnorm` maps to `y`, and the inverse's log-determinant.

    Args:
        y: vectors.
        shift: of each channel.
        log_scale: of each channel.

    Source:
        Kingma & Dhariwal (2018), table 1.
    """
    x = (y - _last(shift, y)) * _last(jnp.exp(-log_scale), y)
    return x, jnp.broadcast_to(-jnp.sum(log_scale), y.shape[:-1])


def actnorm_statistics(x: Float[Array, "*b c"], *, epsilon: float = 1e-6) -> ActNormParams:
    """Returns the parameters with which `actnorm` gives each channel mean 0 and variance 1.

    Args:
        x: a batch, at least one value per channel.
        epsilon: a channel whose deviation is smaller, against 1 and its mean, is only shifted.

    Raises:
        ValueError: if there is no value to average.

    Source:
        Kingma & Dhariwal (2018), sec. 3.1 ("data dependent initialization").
    """
    if not x.size:
        raise ValueError(f"x must hold at least one value per channel, got shape {x.shape}.")
    axes = tuple(range(x.ndim - 1))
    mean = jnp.mean(x, axis=axes)
    # The variance of centered values: exact where the mean is many times the deviation.
    var = jnp.mean((x - _last(mean, x)) ** 2, axis=axes)
    # Of a constant channel nothing is left but rounding, which must not be blown up to 1.
    moves = var > epsilon**2 * (1 + mean**2)
    deviation = jnp.where(moves, jnp.sqrt(jnp.where(moves, var, 1)), 1)
    return ActNormParams(-mean / deviation, -jnp.log(deviation))


def invertible_linear(
    x: Float[Array, "*b c"], kernel: Float[Array, "c c"]
) -> tuple[Float[Array, "*b c"], Float[Array, "*b"]]:
    """Returns `x W` and `log |det W|`: on maps, an invertible 1×1 convolution.

    Args:
        x: vectors; in a map every cell is a vector of its own.
        kernel: W, of full rank; a singular one has the log-determinant −∞.

    Returns:
        The new values, and the log-determinant for each vector; a map's is the sum over its cells.

    Source:
        Kingma & Dhariwal (2018), eq. 9.
    """
    return x @ kernel, jnp.broadcast_to(_log_abs_det(kernel), x.shape[:-1])


def invertible_linear_inverse(
    y: Float[Array, "*b c"], kernel: Float[Array, "c c"]
) -> tuple[Float[Array, "*b c"], Float[Array, "*b"]]:
    """Returns the `x` with `x W = y`, and the inverse's log-determinant.

    Args:
        y: vectors.
        kernel: W, of full rank.

    Source:
        Kingma & Dhariwal (2018), table 1.
    """
    inverse = _wide(jnp.linalg.inv)(kernel)
    return y @ inverse, jnp.broadcast_to(-_log_abs_det(kernel), y.shape[:-1])


def lu_kernel(
    lower: Float[Array, "c c"],
    upper: Float[Array, "c c"],
    log_diagonal: Float[Array, " c"],
    sign: Float[Array, " c"],
    permutation: Int[Array, " c"],
) -> Float[Array, "c c"]:
    """Returns `W = P L (U + diag(sign · exp(log_diagonal)))`, with `log |det W| = Σ log_diagonal`.

    However the parameters move, W keeps its rank, and the determinant costs a sum.

    Args:
        lower: its entries below the diagonal are used; the diagonal of L is 1.
        upper: its entries above the diagonal are used.
        log_diagonal: logarithms of the pivots' sizes.
        sign: of the pivots, 1 or −1; kept as they began.
        permutation: row `i` of W is row `permutation[i]` of the product; kept as it began.

    Source:
        Kingma & Dhariwal (2018), eq. 10 and 11.
    """
    unit = jnp.tril(lower, -1) + jnp.eye(lower.shape[0], dtype=lower.dtype)
    triangular = jnp.triu(upper, 1) + jnp.diag(sign * jnp.exp(log_diagonal))
    return (unit @ triangular)[permutation]


def space_to_depth(x: Float[Array, "*b h w c"], *, factor: int = 2) -> Float[Array, "*b i j d"]:
    """Returns blocks of `factor × factor` cells as one cell: space becomes channels.

    Args:
        x: maps.
        factor: cells of a block's side.

    Returns:
        Maps of `h / factor`, `w / factor` cells and `factor² c` channels: by row of the block, then
        by column, then by channel.

    Raises:
        ValueError: if `factor` does not divide height and width.

    Source:
        Dinh et al. (2017), sec. 3.6.
    """
    *batch, h, w, c = x.shape
    if factor < 1 or h % factor or w % factor:
        raise ValueError(f"factor must divide the {h}×{w} cells of x, got {factor}.")
    x = x.reshape(*batch, h // factor, factor, w // factor, factor, c)
    return jnp.moveaxis(x, -3, -4).reshape(*batch, h // factor, w // factor, factor**2 * c)


def depth_to_space(x: Float[Array, "*b h w c"], *, factor: int = 2) -> Float[Array, "*b i j d"]:
    """Returns what `space_to_depth` was given: channels become space again.

    Args:
        x: maps of `factor² d` channels.
        factor: cells of a block's side.

    Raises:
        ValueError: if `factor²` does not divide the channels.

    Source:
        Dinh et al. (2017), sec. 3.6.
    """
    *batch, h, w, c = x.shape
    if factor < 1 or c % factor**2:
        raise ValueError(f"factor² must divide the {c} channels of x, got factor={factor}.")
    x = x.reshape(*batch, h, w, factor, factor, c // factor**2)
    return jnp.moveaxis(x, -3, -4).reshape(*batch, h * factor, w * factor, c // factor**2)


def checkerboard_mask(*, height: int, width: int, channels: int = 1) -> Bool[Array, "h w c"]:
    """Returns the mask that is true on the cells of one color, that of the first cell.

    Args:
        height: cells.
        width: cells.
        channels: all alike.

    Source:
        Dinh et al. (2017), fig. 3.
    """
    row, column = jnp.indices((height, width))
    return jnp.broadcast_to(((row + column) % 2 == 0)[..., None], (height, width, channels))


def _mask_of(mask: Array, x: Array) -> Array:
    """Gives the mask as many axes as x has."""
    if mask.ndim > x.ndim or x.shape[x.ndim - mask.ndim :] != mask.shape:
        raise ValueError(f"mask must have the last axes of x, {x.shape}, got {mask.shape}.")
    return mask.astype(bool)


def _sum_moved(log_scale: Array, mask: Array) -> Array:
    axes = tuple(range(log_scale.ndim - mask.ndim, log_scale.ndim))
    lead = (1,) * (log_scale.ndim - mask.ndim)
    return jnp.sum(jnp.where(mask.reshape(lead + mask.shape), 0, log_scale), axis=axes)


def _wide(function):
    """LAPACK has no 16-bit floats: computes in float32 there."""

    def call(x: Array) -> Array:
        small = x.dtype in (jnp.float16, jnp.bfloat16)
        return function(x.astype(jnp.float32) if small else x).astype(x.dtype)

    return call


def _log_abs_det(kernel: Array) -> Array:
    return _wide(lambda k: jnp.linalg.slogdet(k)[1])(kernel)


def _last(values: Array, x: Array) -> Array:
    """Shapes one value per channel so that it broadcasts against x."""
    return values.reshape((1,) * (x.ndim - 1) + (-1,))
