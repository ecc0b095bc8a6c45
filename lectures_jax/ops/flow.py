"""Invertible maps with their log-determinants: couplings, mixing of channels, space to depth."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lectures_jax.ops._exponential import bounded_exp
from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import checked


@checked
@in_float32
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
    hidden = _mask_of(mask, x)
    # Before they are used: an infinity that the outer `where` drops would still reach the gradient.
    shift, log_scale = jnp.where(hidden, 0, shift), jnp.where(hidden, 0, log_scale)
    y = jnp.where(hidden, x, x * bounded_exp(log_scale) + shift)
    return y, _sum_of_last(log_scale, mask.ndim)


@checked
@in_float32
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
    hidden = _mask_of(mask, y)
    shift, log_scale = jnp.where(hidden, 0, shift), jnp.where(hidden, 0, log_scale)
    x = jnp.where(hidden, y, (y - shift) * bounded_exp(-log_scale))
    return x, -_sum_of_last(log_scale, mask.ndim)


@checked
@in_float32
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


@checked
@in_float32
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
    return y @ jnp.linalg.inv(kernel), jnp.broadcast_to(-_log_abs_det(kernel), y.shape[:-1])


@checked
@in_float32
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
    triangular = jnp.triu(upper, 1) + jnp.diag(sign * bounded_exp(log_diagonal))
    return (unit @ triangular)[permutation]


@checked
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


@checked
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
    return mask.reshape((1,) * (x.ndim - mask.ndim) + mask.shape)


def _sum_of_last(values: Array, axes: int) -> Array:
    return jnp.sum(values, axis=tuple(range(values.ndim - axes, values.ndim)))


def _log_abs_det(kernel: Array) -> Array:
    return jnp.linalg.slogdet(kernel)[1]
