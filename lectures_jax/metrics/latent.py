"""How a VAE uses its latent space."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lectures_jax import ops
from lectures_jax.ops._precision import upcast
from lectures_jax.typing import Key, check_range, checked


class AggregateScores(NamedTuple):
    """The two parts of the mean divergence `E_x KL(q(z|x) ‖ p(z))`, in nats.

    Attributes:
        information: mutual information of image and code, at most the logarithm of the number of
            images.
        mismatch: `KL(q(z) ‖ p(z))`, divergence of the codes of all images from the prior.
    """

    information: Float[Array, ""]
    mismatch: Float[Array, ""]


@checked
def active_units(mean: Float[Array, "n d"], *, threshold: float = 0.01) -> Int[Array, ""]:
    """Returns the number of latent units whose posterior mean depends on the image.

    Args:
        mean: mean of each image's posterior.
        threshold: variance over the images above which a unit counts as active.

    Returns:
        A number from 0 to d.

    Raises:
        ValueError: if there is no image, or `threshold` is negative.

    Source:
        Burda et al. (2016), sec. 5.2.
    """
    _need_codes(mean)
    check_range(threshold=threshold, low=0)
    # From the first row on: the rounded mean of large equal numbers is not that number.
    variance = jnp.var(upcast(mean) - upcast(mean[:1]), axis=0)
    return jnp.sum(variance > threshold, dtype=jnp.int32)


@checked
def aggregate_posterior(
    key: Key, mean: Float[Array, "n d"], log_var: Float[Array, "n d"]
) -> AggregateScores:
    """Returns the information in the codes, and the divergence of all codes from the prior.

    The decoder is trained on the aggregate posterior `q(z) = 1/n Σ_n q(z|x_n)`; where it differs
    from N(0, I), samples from the prior are codes that the decoder was not trained on. Both parts
    are estimated with one code per image. With few images and many units, no two posteriors
    overlap: then the information is log n, and the mismatch the rest of the divergence.

    Args:
        key: for the codes.
        mean: mean of each image's posterior.
        log_var: log σ² of each image's posterior.

    Returns:
        The two parts, in nats; up to the error of the estimate at least 0.

    Raises:
        ValueError: if there is no image.

    Source:
        Hoffman & Johnson (2016), eq. 10.
    """
    _need_codes(mean)
    dtype = mean.dtype
    mean, log_var = upcast(mean), upcast(log_var)
    z = ops.reparameterize(key, mean, log_var)

    def aggregate(code: Float[Array, " d"]) -> Float[Array, ""]:
        codes = jnp.broadcast_to(code, mean.shape)
        return jax.nn.logsumexp(ops.gaussian_log_prob(codes, mean, log_var)) - jnp.log(len(mean))

    aggregate_log_prob = jax.lax.map(aggregate, z)
    own = ops.gaussian_log_prob(z, mean, log_var)
    prior = ops.standard_normal_log_prob(z)
    return AggregateScores(
        information=jnp.mean(own - aggregate_log_prob).astype(dtype),
        mismatch=jnp.mean(aggregate_log_prob - prior).astype(dtype),
    )


def _need_codes(mean: Array) -> None:
    if not mean.size:
        raise ValueError(f"mean must hold at least one code, got shape {mean.shape}.")
