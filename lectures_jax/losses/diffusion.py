"""Losses of denoising networks, which predict the noise, the image or a velocity."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import check_range, checked


class SnrWeights(NamedTuple):
    """Weights of the three losses at a level of noise, under which they are equal.

    Attributes:
        noise: weight of `noise_prediction`.
        x0: weight of `x0_prediction`.
        velocity: weight of `velocity_prediction`.
    """

    noise: Float[Array, "*b"]
    x0: Float[Array, "*b"]
    velocity: Float[Array, "*b"]


@checked
@in_float32
def noise_prediction(
    noise: Float[Array, "b *s"], predicted: Float[Array, "b *s"]
) -> Float[Array, " b"]:
    """Returns the squared error of the noise, `‖ε − ε̂‖²`.

    Args:
        noise: ε, the noise that was added.
        predicted: ε̂, the network's output.

    Returns:
        One value per image, the sum over its pixels.

    Source:
        Ho et al. (2020), eq. 14.
    """
    return _squared_distance(noise, predicted)


@checked
@in_float32
def x0_prediction(x0: Float[Array, "b *s"], predicted: Float[Array, "b *s"]) -> Float[Array, " b"]:
    """Returns the squared error of the image, `‖x0 − x̂0‖²`: `(1 − ᾱ)/ᾱ` times that of the noise.

    Args:
        x0: images without noise.
        predicted: x̂0, the network's output.

    Returns:
        One value per image, the sum over its pixels.

    Source:
        Salimans & Ho (2022), eq. 9, without its weight.
    """
    return _squared_distance(x0, predicted)


@checked
@in_float32
def velocity_prediction(
    velocity: Float[Array, "b *s"], predicted: Float[Array, "b *s"]
) -> Float[Array, " b"]:
    """Returns the squared error of the velocity, `‖v − v̂‖²`: 1/ᾱ times that of the noise.

    Args:
        velocity: `v = √ᾱ ε − √(1 − ᾱ) x0`.
        predicted: v̂, the network's output.

    Returns:
        One value per image, the sum over its pixels.

    Source:
        Salimans & Ho (2022), sec. 4 ("SNR + 1 weighting").
    """
    return _squared_distance(velocity, predicted)


@checked
@in_float32
def flow_matching(
    x0: Float[Array, "b *s"], noise: Float[Array, "b *s"], predicted: Float[Array, "b *s"]
) -> Float[Array, " b"]:
    """Returns the squared error of the velocity of a straight line, `‖(x0 − ε) − v̂‖²`.

    Args:
        x0: images, the end of the line.
        noise: ε, its start.
        predicted: v̂, the network's output.

    Returns:
        One value per image, the sum over its pixels.

    Source:
        Liu et al. (2023), eq. 1.
    """
    return _squared_distance(x0 - noise, predicted)


@checked
@in_float32
def min_snr_weights(alpha_bar: Float[Array, "*b"], *, gamma: float = 5.0) -> SnrWeights:
    """Returns `min(SNR, γ)` as the weight of `‖x0 − x̂0‖²`, and its equal for the other losses.

    The bound γ keeps levels of little noise, where the SNR is large, from outweighing the rest.

    Args:
        alpha_bar: ᾱ, signal ratio, in [0, 1]; SNR is `ᾱ / (1 − ᾱ)`.
        gamma: γ, largest weight.

    Returns:
        `min(SNR, γ)` over SNR for the noise, over 1 for x0, over SNR + 1 for the velocity.

    Raises:
        ValueError: if `gamma` is negative.

    Source:
        Hang et al. (2023), sec. 3.4.
    """
    check_range(gamma=gamma, low=0)
    # With ᾱ and 1 − ᾱ in place of the ratio, both ends are finite.
    rest = 1 - alpha_bar
    capped = jnp.minimum(alpha_bar, gamma * rest)
    signal, spread = jnp.where(alpha_bar > 0, alpha_bar, 1), jnp.where(rest > 0, rest, 1)
    return SnrWeights(
        noise=jnp.where(alpha_bar > 0, capped / signal, 1),
        x0=jnp.where(rest > 0, capped / spread, gamma),
        velocity=capped,
    )


def _squared_distance(a: Array, b: Array) -> Array:
    return jnp.sum((a - b) ** 2, axis=tuple(range(1, a.ndim)))
