"""Normalization of activations: over the batch, a layer, an instance, a group of channels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import check_count, checked


class SpectralNormResult(NamedTuple):
    """The largest singular value of a kernel.

    Attributes:
        norm: the singular value.
        direction: the singular vector of outputs that belongs to it, of length 1.
    """

    norm: Float[Array, ""]
    direction: Float[Array, " d"]


class Moments(NamedTuple):
    """Mean and (biased) variance of each channel.

    Attributes:
        mean: of the channel's values.
        var: mean of the squared deviations, at least 0.
    """

    mean: Float[Array, " c"]
    var: Float[Array, " c"]


@checked
@in_float32
def batch_moments(x: Float[Array, "*b c"]) -> Moments:
    """Returns the mean and variance of each channel over all other axes.

    The variance is `E[(x − c)²] − (E[x] − c)²` with the mean for the constant c, which is exact
    where the mean is many times the deviation; with c = 0 nothing but rounding would be left there.

    Args:
        x: activations, at least one value per channel.

    Returns:
        Mean and biased variance of each channel.

    Raises:
        ValueError: if there is no value to average.

    Source:
        Ioffe & Szegedy (2015), algorithm 1.
    """
    if not x.size:
        raise ValueError(f"x must hold at least one value per channel, got shape {x.shape}.")
    axes = tuple(range(x.ndim - 1))
    mean = _mean(x, axes).reshape(-1)
    # As a constant, so that the gradient needs no further sum.
    center = jax.lax.stop_gradient(mean)
    var = jnp.mean((x - _last(center, x)) ** 2, axis=axes) - (mean - center) ** 2
    return Moments(mean, var)


@checked
@in_float32
def batch_norm(
    x: Float[Array, "*b c"],
    mean: Float[Array, " c"],
    var: Float[Array, " c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    *,
    epsilon: float = 1e-5,
) -> Float[Array, "*b c"]:
    """Returns `(x − mean) / √(var + ε) · scale + bias`, channel by channel.

    Computed as `(x − c) · a + (bias − (mean − c) · a)` with `a = scale / √(var + ε)` and the mean
    for the constant c: exact where the mean is many times the deviation, and with fewer sums in the
    gradient, which takes about a quarter off the training step of a small convolutional network on
    CPU.

    Args:
        x: activations.
        mean: mean of each channel: the batch's in training, the moving average in evaluation.
        var: variance of each channel: the batch's in training, the moving average in evaluation.
        scale: γ, factor of each channel.
        bias: β, added to each channel.
        epsilon: ε, added to the variance.

    Returns:
        Activations of the shape of x.

    Source:
        Ioffe & Szegedy (2015), algorithms 1 and 2.
    """
    gain = scale * jax.lax.rsqrt(var + epsilon)
    center = jax.lax.stop_gradient(mean)
    return (x - _last(center, x)) * _last(gain, x) + _last(bias - (mean - center) * gain, x)


@checked
@in_float32
def layer_norm(
    x: Float[Array, "*b c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    *,
    epsilon: float = 1e-5,
) -> Float[Array, "*b c"]:
    """Returns each vector with mean 0 and variance 1 over its own channels, times scale, plus bias.

    Nothing depends on the rest of the batch, nor on whether the network is trained or evaluated.

    Args:
        x: activations; in a map every cell is a vector of its own.
        scale: γ, factor of each channel.
        bias: β, added to each channel.
        epsilon: ε, added to the variance.

    Returns:
        Activations of the shape of x.

    Source:
        Ba et al. (2016), eq. 4.
    """
    return _standardize(x, (x.ndim - 1,), epsilon) * _last(scale, x) + _last(bias, x)


@checked
@in_float32
def instance_norm(
    x: Float[Array, "*b h w c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    *,
    epsilon: float = 1e-5,
) -> Float[Array, "*b h w c"]:
    """Returns each channel of each image with mean 0 and variance 1 over its own cells.

    It removes the contrast of the image, which is why style transfer uses it.

    Args:
        x: feature maps.
        scale: γ, factor of each channel.
        bias: β, added to each channel.
        epsilon: ε, added to the variance.

    Returns:
        Maps of the shape of x.

    Raises:
        ValueError: if there is no cell to average.

    Source:
        Ulyanov et al. (2016), eq. 2.
    """
    if not x.size:
        raise ValueError(f"x must hold at least one cell, got shape {x.shape}.")
    y = _standardize(x, (x.ndim - 3, x.ndim - 2), epsilon)
    return y * _last(scale, x) + _last(bias, x)


@checked
@in_float32
def group_norm(
    x: Float[Array, "*b h w c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    *,
    groups: int,
    epsilon: float = 1e-5,
) -> Float[Array, "*b h w c"]:
    """Returns each group of channels of each image with mean 0 and variance 1 over its own cells.

    It lies between layer normalization of whole maps (one group) and instance normalization (as
    many groups as channels); unlike batch normalization it works with one image.

    Args:
        x: feature maps.
        scale: γ, factor of each channel.
        bias: β, added to each channel.
        groups: number of groups, of neighboring channels, into which the channels are split.
        epsilon: ε, added to the variance.

    Returns:
        Maps of the shape of x.

    Raises:
        ValueError: if the groups do not divide the channels, or there is no cell to average.

    Source:
        Wu & He (2018), eq. 7.
    """
    if not x.size:
        raise ValueError(f"x must hold at least one cell, got shape {x.shape}.")
    if groups < 1 or x.shape[-1] % groups:
        raise ValueError(f"groups must divide the {x.shape[-1]} channels of x, got {groups}.")

    # One value of each group, so that equal values have the deviation 0, as in _mean.
    first = jax.lax.stop_gradient(x[..., :1, :1, :: x.shape[-1] // groups])
    x = x - jnp.repeat(first, x.shape[-1] // groups, axis=-1)

    def mean(values: Array) -> Array:
        # First over the cells, then over channels: five times as fast on CPU as both at once.
        channels = jnp.mean(values, axis=(-3, -2), keepdims=True)
        parts = channels.reshape(*channels.shape[:-1], groups, -1)
        return jnp.broadcast_to(jnp.mean(parts, -1, keepdims=True), parts.shape).reshape(
            channels.shape
        )

    centered = x - mean(x)
    gain = jax.lax.rsqrt(mean(centered**2) + epsilon) * _last(scale, x)
    return centered * gain + _last(bias, x)


@checked
@in_float32
def spectral_norm(
    kernel: Float[Array, "*i d"], direction: Float[Array, " d"], *, iterations: int = 1
) -> SpectralNormResult:
    """Returns the largest singular value of a kernel as a matrix from inputs to outputs.

    It is computed by power iteration from the direction of the previous call; for a kernel that
    changes slowly one iteration suffices. The two singular vectors are taken for constants, and
    their product is the norm's gradient.

    Args:
        kernel: weights; all axes but the last together are the matrix's rows.
        direction: vector of outputs, not 0: random at first, then that of the previous result.
        iterations: steps of power iteration, at least one.

    Returns:
        The norm, from below, and the new direction of length 1; both finite for a kernel of zeros.

    Raises:
        ValueError: if there is no value, or no iteration.

    Source:
        Miyato et al. (2018), eq. 10 to 12 and algorithm 1.
    """
    check_count(iterations=iterations)
    if not kernel.size:
        raise ValueError(f"kernel must hold at least one value, got shape {kernel.shape}.")
    matrix = kernel.reshape(-1, kernel.shape[-1])
    fixed, u, v = jax.lax.stop_gradient(matrix), jax.lax.stop_gradient(direction), matrix[:, 0]
    for _ in range(iterations):
        v = _unit(fixed @ u)
        u = _unit(v @ fixed)
    return SpectralNormResult(v @ matrix @ u, u)


def _unit(x: Array) -> Array:
    # The largest entry first: the squares of a small kernel would vanish.
    x = x / jnp.maximum(jnp.max(jnp.abs(x)), jnp.finfo(x.dtype).tiny)
    return x / jnp.maximum(jnp.sqrt(jnp.sum(x * x)), jnp.finfo(x.dtype).tiny)


def _standardize(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    centered = x - _mean(x, axes)
    return centered * jax.lax.rsqrt(jnp.mean(centered**2, axis=axes, keepdims=True) + epsilon)


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    """Returns the mean over axes that stay with length 1: of equal values, exactly that value.

    A sum of equal values is rounded, and their deviations from its mean would be taken for a signal
    and brought to variance 1. The first value is a constant that costs the gradient nothing.
    """
    first = jax.lax.stop_gradient(x[tuple(slice(1 if i in axes else None) for i in range(x.ndim))])
    return first + jnp.mean(x - first, axis=axes, keepdims=True)


def _last(values: Array, x: Array) -> Array:
    """Shapes one value per channel so that it broadcasts against x."""
    return values.reshape((1,) * (x.ndim - 1) + (-1,))
