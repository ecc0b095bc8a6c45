"""What a VAE does with its latent space."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lectures_jax import ops
from lectures_jax.typing import Key


class AggregateScores(NamedTuple):
    """The two parts of the mean divergence `E_x KL(q(z|x) ‖ p(z))`, in nats.

    Attributes:
        information: about the image in its code, at most the logarithm of the images' number.
        mismatch: `KL(q(z) ‖ p(z))`, of the codes of all images from the prior.
    """

    information: Float[Array, ""]
    mismatch: Float[Array, ""]


def active_units(mean: Float[Array, "n d"], *, threshold: float = 0.01) -> Int[Array, ""]:
    """Returns the number of latent units whose posterior mean depends on the image.

    Args:
        mean: of the posterior of each image.
        threshold: variance over the images from which a unit counts as active.

    Raises:
        ValueError: if there is no image.

    Source:
        Burda et al. (2016), sec. 5.2.
    """
    _need_codes(mean)
    return jnp.sum(jnp.var(mean, axis=0) > threshold, dtype=jnp.int32)


def aggregate_posterior(
    key: Key, mean: Float[Array, "n d"], log_var: Float[Array, "n d"]
) -> AggregateScores:
    """Returns how much the codes say, and how far all of them together are from the prior.

    The aggregate posterior `q(z) = 1/n Σ_n q(z|x_n)` is where the decoder was trained; where it
    differs from N(0, I), samples from the prior meet codes that the decoder never saw. Estimated
    with one code per image. With few images and many units each image has its code for
    itself: then the information is log n, and the mismatch the rest of the divergence.

    Args:
        key: of the codes.
        mean: of the posterior of each image.
        log_var: log σ² likewise.

    Raises:
        ValueError: if there is no image.

    Source:
        Hoffman & Johnson (2016), eq. 10.
    """
    _need_codes(mean)
    z = ops.reparameterize(key, mean, log_var)

    def aggregate(code: Float[Array, " d"]) -> Float[Array, ""]:
        codes = jnp.broadcast_to(code, mean.shape)
        return jax.nn.logsumexp(ops.gaussian_log_prob(codes, mean, log_var)) - jnp.log(len(mean))

    together = jax.lax.map(aggregate, z)
    prior = ops.gaussian_log_prob(z, jnp.zeros_like(z), jnp.zeros_like(z))
    return AggregateScores(
        information=jnp.mean(ops.gaussian_log_prob(z, mean, log_var) - together),
        mismatch=jnp.mean(together - prior),
    )


def _need_codes(mean: Array) -> None:
    if not mean.size:
        raise ValueError(f"mean must hold at least one code, got shape {mean.shape}.")
