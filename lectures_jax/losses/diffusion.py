"""What a denoising network is told: how far its noise, image or velocity is off."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class SnrWeights(NamedTuple):
    """The factor of each loss at a level of noise, so that all three weigh it alike."""

    noise: Float[Array, "*b"]
    x0: Float[Array, "*b"]
    velocity: Float[Array, "*b"]


def noise_prediction(
    noise: Float[Array, "b *s"], predicted: Float[Array, "b *s"]
) -> Float[Array, " b"]:
    """Returns `‖ε − ε̂‖²`.

    Args:
        noise: ε, as it was added.
        predicted: ε̂.

    Source:
        Ho et al. (2020), eq. 14.
    """
    return _squared_distance(noise, predicted)


def x0_prediction(x0: Float[Array, "b *s"], predicted: Float[Array, "b *s"]) -> Float[Array, " b"]:
    """Returns `‖x0 − x̂0‖²`, which is `(1 − ᾱ)/ᾱ` times the error of the noise.

    Args:
        x0: images without noise.
        predicted: x̂0.

    Source:
        Salimans & Ho (2022), eq. 9, without its weight.
    """
    return _squared_distance(x0, predicted)


def velocity_prediction(
    velocity: Float[Array, "b *s"], predicted: Float[Array, "b *s"]
) -> Float[Array, " b"]:
    """Returns `‖v − v̂‖²`, which is 1/ᾱ times the error of the noise.

    Args:
        velocity: `v = √ᾱ ε − √(1 − ᾱ) x0`.
        predicted: v̂.

    Source:
        Salimans & Ho (2022), sec. 4 ("SNR + 1 weighting").
    """
    return _squared_distance(velocity, predicted)


def min_snr_weights(alpha_bar: Float[Array, "*b"], *, gamma: float = 5.0) -> SnrWeights:
    """Returns `min(SNR, γ)` as the weight of `‖x0 − x̂0‖²`, and what it is for the other losses.

    Levels of little noise, whose noise is easy to see in the image and hard to foretell, no
    longer outweigh the rest.

    Args:
        alpha_bar: signal ratio, in [0, 1]; SNR is `ᾱ / (1 − ᾱ)`.
        gamma: largest weight.

    Returns:
        `min(SNR, γ)` over SNR for the noise, over 1 for x0, over SNR + 1 for the velocity.

    Source:
        Hang et al. (2023), sec. 3.4.
    """
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
