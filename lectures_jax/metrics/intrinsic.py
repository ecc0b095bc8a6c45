"""How many numbers say where a point of a set is."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from lectures_jax.metrics._float64 import in_float64
from lectures_jax.typing import checked


@checked
def intrinsic_dimension(points: Float[Array | np.ndarray, "n d"]) -> Float[Array, ""]:
    """Returns the dimension of the manifold on which the points lie, by their two neighbors.

    `(n − 1) / Σ_i log(r₂ / r₁)`, with the distances of each point to its nearest and to its second
    other point: on a manifold of dimension d, where the points are even over so short distances,
    the logarithm is exponentially distributed with rate d. The estimate of such points has no bias
    and a standard error of about `d / √n`; few points in many dimensions, where the edges are near
    everywhere, give too low a value.

    Args:
        points: a row each, flattened. One that equals another is left out as a center.

    Returns:
        A value of at least 0; infinite where the two neighbors of every point are equally far, as
        on a grid, and 0 where fewer than two points are left.

    Raises:
        ValueError: if there are fewer than three points, or they have no coordinates.

    Source:
        Facco et al. (2017), eq. 4; as maximum likelihood, and without bias: Levina & Bickel (2004),
        eq. 8, with two neighbors.
    """
    if len(points) < 3 or not points.shape[1]:
        raise ValueError(
            "points must hold at least three rows of at least one number, got shape "
            f"{tuple(points.shape)}."
        )
    return in_float64(_dimension, points)


@jax.jit
def _dimension(points: Array) -> Array:
    def log_ratio(i: Array) -> Array:
        squared = jnp.sum((points - points[i][None]) ** 2, axis=1)
        first, second = -lax.top_k(-squared.at[i].set(jnp.inf), 2)[0]
        # A point without a distance has no logarithm, and takes no part.
        apart = first > 0
        log = jnp.log(jnp.where(apart, second, 1)) - jnp.log(jnp.where(apart, first, 1))
        return jnp.stack([log / 2, apart])

    total, count = jnp.sum(lax.map(log_ratio, jnp.arange(len(points))), axis=0)
    enough = count > 1
    return jnp.where(enough, (count - 1) / jnp.where(enough, total, 1), 0)
