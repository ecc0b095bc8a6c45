"""Invertible maps with their log-determinants: couplings, mixing of channels, space to depth."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lectures_jax.ops._precision import upcast


class ActNormParams(NamedTuple):
    """Parameters of `actnorm`: what is added to each channel, and the logarithm of its factor."""

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
        shift: t, added to each entry; not used where `mask`.
        log_scale: s, logarithm of each entry's factor; not used where `mask`.
        mask: which entries are not changed, the paper's b.

    Returns:
        The new values, and `Σ log_scale` over the entries that are changed, one number per example.

    Raises:
        ValueError: if the last axes of `x` are not those of `mask`.

    Source:
        Dinh et al. (2017), eq. 6 and 9.
    """
    mask = _mask_of(mask, x)
    y = jnp.where(mask, x, x * jnp.exp(log_scale) + shift)
    return y, _sum_of_changed(log_scale, mask)


def affine_coupling_inverse(
    y: Float[Array, "*b"],
    shift: Float[Array, "*b"],
    log_scale: Float[Array, "*b"],
    mask: Bool[Array, "..."],
) -> tuple[Float[Array, "*b"], Float[Array, "..."]]:
    """Returns the `x` that `affine_coupling` maps to `y`, and the inverse's log-determinant.

    `x = (y − shift) · exp(−log_scale)` where not `mask`: as cheap as the coupling itself.

    Args:
        y: values; the last axes are those of `mask`, the axes before are a batch.
        shift: t, computed from the masked entries of `y`, which are those of `x`.
        log_scale: s, computed from the masked entries of `y`.
        mask: which entries are not changed.

    Returns:
        The values, and `−Σ log_scale` over the entries that are changed, one number per example.

    Raises:
        ValueError: if the last axes of `y` are not those of `mask`.

    Source:
        Dinh et al. (2017), eq. 8.
    """
    mask = _mask_of(mask, y)
    x = jnp.where(mask, y, (y - shift) * jnp.exp(-log_scale))
    return x, -_sum_of_changed(log_scale, mask)


def actnorm(
    x: Float[Array, "*b c"], shift: Float[Array, " c"], log_scale: Float[Array, " c"]
) -> tuple[Float[Array, "*b c"], Float[Array, "*b"]]:
    """Returns `x · exp(log_scale) + shift`, channel by channel, and the log-determinant.

    Args:
        x: vectors; in a map every cell is a vector of its own.
        shift: added to each channel.
        log_scale: logarithm of each channel's factor.

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
        y: vectors; in a map every cell is a vector of its own.
        shift: subtracted from each channel.
        log_scale: logarithm by which each channel is divided.

    Returns:
        The values, and `−Σ log_scale` for each vector.

    Source:
        Kingma & Dhariwal (2018), table 1.
    """
    x = (y - _last(shift, y)) * _last(jnp.exp(-log_scale), y)
    return x, jnp.broadcast_to(-jnp.sum(log_scale), y.shape[:-1])


def actnorm_statistics(x: Float[Array, "*b c"], *, epsilon: float = 1e-6) -> ActNormParams:
    """Returns the parameters with which `actnorm` gives each channel mean 0 and variance 1.

    Args:
        x: a batch, at least one value per channel.
        epsilon: a channel of smaller deviation, relative to 1 and its mean, is not scaled.

    Returns:
        Shift and log-scale of each channel.

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

    Returns:
        The values, and `−log |det W|` for each vector.

    Source:
        Kingma & Dhariwal (2018), table 1.
    """
    inverse = jnp.linalg.inv(upcast(kernel)).astype(kernel.dtype)
    return y @ inverse, jnp.broadcast_to(-_log_abs_det(kernel), y.shape[:-1])


def lu_kernel(
    lower: Float[Array, "c c"],
    upper: Float[Array, "c c"],
    log_diagonal: Float[Array, " c"],
    sign: Float[Array, " c"],
    permutation: Int[Array, " c"],
) -> Float[Array, "c c"]:
    """Returns `W = P L (U + diag(sign · exp(log_diagonal)))`, with `log |det W| = Σ log_diagonal`.

    W has full rank whatever the parameters, and its determinant costs a sum.

    Args:
        lower: L; only the entries below the diagonal are used, and the diagonal is 1.
        upper: U; only the entries above the diagonal are used.
        log_diagonal: logarithms of the absolute values of the pivots.
        sign: signs of the pivots, 1 or −1; not trained.
        permutation: P: row `i` of W is row `permutation[i]` of the product; not trained.

    Returns:
        W, a kernel for `invertible_linear`.

    Source:
        Kingma & Dhariwal (2018), eq. 10 and 11.
    """
    unit = jnp.tril(lower, -1) + jnp.eye(lower.shape[0], dtype=lower.dtype)
    triangular = jnp.triu(upper, 1) + jnp.diag(sign * jnp.exp(log_diagonal))
    return (unit @ triangular)[permutation]


def space_to_depth(x: Float[Array, "*b h w c"], *, factor: int = 2) -> Float[Array, "*b i j d"]:
    """Returns blocks of `factor × factor` cells as one cell: space becomes channels.

    Args:
        x: images or feature maps.
        factor: cells along a block's side.

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
    """Returns every cell as a block of `factor × factor` cells, the inverse of `space_to_depth`.

    Args:
        x: feature maps of `factor² d` channels.
        factor: cells along a block's side.

    Returns:
        Maps of `factor · h`, `factor · w` cells and d channels.

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
        height: rows of the mask.
        width: columns of the mask.
        channels: number of channels, which all have the same mask.

    Returns:
        True where row plus column is even.

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


def _sum_of_changed(log_scale: Array, mask: Array) -> Array:
    axes = tuple(range(log_scale.ndim - mask.ndim, log_scale.ndim))
    lead = (1,) * (log_scale.ndim - mask.ndim)
    return jnp.sum(jnp.where(mask.reshape(lead + mask.shape), 0, log_scale), axis=axes)


def _log_abs_det(kernel: Array) -> Array:
    return jnp.linalg.slogdet(upcast(kernel))[1].astype(kernel.dtype)


def _last(values: Array, x: Array) -> Array:
    """Shapes one value per channel so that it broadcasts against x."""
    return values.reshape((1,) * (x.ndim - 1) + (-1,))
