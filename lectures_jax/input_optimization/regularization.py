"""What an optimized image should not be: of strong colors, of large values, or restless."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax import losses
from lectures_jax.typing import checked


class Regularization(NamedTuple):
    """Weights of three penalties, each a mean over the pixels, so that they fit any size of image.

    Attributes:
        l2: of `4 (x − ½)²`, the distance from gray.
        alpha_norm: of `|2 x − 1|^α`, which leaves moderate values alone and bounds large ones.
        total_variation: of the squared differences between neighbors.
        alpha: exponent of the norm, above 1.
    """

    l2: float | Float[Array, ""] = 0.0
    alpha_norm: float | Float[Array, ""] = 0.0
    total_variation: float | Float[Array, ""] = 0.0
    alpha: float | Float[Array, ""] = 6.0


@checked
def penalty(images: Float[Array, "b h w c"], regularization: Regularization) -> Float[Array, " b"]:
    """Returns the weighted sum of the penalties of each image.

    Args:
        images: in [0, 1].
        regularization: the weights.

    Source:
        L2: Simonyan et al. (2014), eq. 1; the others: Mahendran & Vedaldi (2015), sec. 3.
    """
    size = images[0].size
    x = jnp.abs(2 * images - 1).reshape(len(images), -1)
    terms = (
        regularization.l2 * jnp.mean(x**2, axis=1),
        regularization.alpha_norm * jnp.mean(x**regularization.alpha, axis=1),
        regularization.total_variation * losses.total_variation(images) / size,
    )
    return terms[0] + terms[1] + terms[2]
