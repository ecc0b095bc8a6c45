"""Losses of normalizing flows: the negative log-likelihood, in nats and in bits."""

import math

from jaxtyping import Array, Float

from lectures_jax.ops._precision import in_float32
from lectures_jax.ops.gaussian import standard_normal_log_prob
from lectures_jax.typing import check_count, checked


@checked
@in_float32
def flow_nll(z: Float[Array, "*b d"], log_det: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Returns `−log N(z; 0, I) − log |det ∂z/∂x|`, which is `−log p(x)`, in nats.

    Args:
        z: latents of the examples.
        log_det: log-determinant of the flow's Jacobian at each example.

    Returns:
        One value per example; negative where the density exceeds 1.

    Source:
        Rezende & Mohamed (2015), eq. 5; Dinh et al. (2017), eq. 2 and 3.
    """
    return -standard_normal_log_prob(z) - log_det


@checked
@in_float32
def bits_per_dim(nll: Float[Array, "*b"], *, dims: int, levels: int) -> Float[Array, "*b"]:
    """Returns the bits that a flow spends on one pixel: `nll / (dims · log 2) + log₂ levels`.

    Args:
        nll: −log of the density over `ops.dequantize`'s values in [0, 1), in nats per example.
        dims: pixels of an example, times channels.
        levels: number of values that a pixel can take.

    Returns:
        Bits per pixel and channel; the uniform density gives exactly log₂ levels.

    Raises:
        ValueError: if `dims` is not positive, or there are fewer than two levels.

    Source:
        Theis et al. (2016), sec. 3.1; Papamakarios et al. (2017), appendix E.2.
    """
    check_count(dims=dims)
    check_count(levels=levels, low=2)
    return nll / (dims * math.log(2)) + math.log2(levels)
