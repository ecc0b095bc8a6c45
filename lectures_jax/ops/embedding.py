"""Sinusoidal embeddings: numbers as vectors of sines and cosines."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._precision import in_float32
from lectures_jax.ops.diffusion import log_snr
from lectures_jax.typing import checked


@checked
@in_float32
def sinusoidal_embedding(
    t: Float[Array, "*b"], *, dim: int, max_period: float = 1e4
) -> Float[Array, "*b {dim}"]:
    """Returns a time as sines and cosines of `dim / 2` geometric frequencies.

    Args:
        t: time, in diffusion steps.
        dim: size of the embedding, even.
        max_period: longest wavelength over 2π, in diffusion steps.

    Returns:
        Values in [-1, 1], the sines first, in the dtype of `t`.

    Raises:
        ValueError: if `dim` is odd or not positive.

    Source:
        Vaswani et al. (2017), sec. 3.5.
    """
    if dim % 2 or dim < 2:
        raise ValueError(f"dim must be even and positive, got {dim}.")
    frequency = max_period ** -jnp.linspace(0, 1, dim // 2, endpoint=False, dtype=t.dtype)
    angle = t[..., None] * frequency.reshape((1,) * t.ndim + (-1,))
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


@checked
@in_float32
def signal_embedding(
    alpha_bar: Float[Array, "*b"], *, dim: int, limit: float = 12.0
) -> Float[Array, "*b {dim}"]:
    """Returns a signal ratio as sines and cosines of its log-SNR.

    Unlike the time it means the same under every schedule and number of steps, so a network that
    was trained on one schedule can be used with another. The wavelengths reach from a fraction of a
    nat to twice the range.

    Args:
        alpha_bar: ᾱ, signal ratio, in [0, 1].
        dim: size of the embedding, even.
        limit: largest absolute log-SNR, in nats, at which it is clipped.

    Returns:
        Values in [-1, 1], the sines first, in the dtype of `alpha_bar`.

    Raises:
        ValueError: if `dim` is odd or not positive.

    Source:
        Kingma et al. (2021), sec. 3.1 and appendix C, whose network has the log-SNR as an input.
    """
    level = jnp.clip(log_snr(alpha_bar), -limit, limit)
    # From 4 radians per nat, which tells apart steps of a tenth, to half a turn over the range.
    return sinusoidal_embedding(4 * level, dim=dim, max_period=8 * limit / jnp.pi)
