"""Small sets of points, and one batch repeated."""

from collections.abc import Iterator
from itertools import repeat as _repeat

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax.typing import Batch, Key


def xor() -> Batch:
    """Returns the four points of exclusive or: `x` [4, 2] and `y` [4], 1 where one input is 1."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    return {"x": x, "y": np.array([0, 1, 1, 0], np.float32)}


def repeat(batch: Batch, steps: int) -> Iterator[Batch]:
    """Returns the same batch `steps` times: training on the whole set at each step.

    Args:
        batch: the whole set.
        steps: number of repetitions.
    """
    return _repeat(batch, steps)


def two_moons(key: Key, *, count: int, noise: float = 0.1) -> Batch:
    """Returns points on two interleaved half circles: `x` [n, 2], `labels` [n].

    The upper moon (label 0) is half of the unit circle about the origin; the lower one (label 1)
    half of that about (1, ½). With noise of 0.1 their entropy is 1.0076 nats.

    Args:
        key: for the random points.
        count: number of points; each belongs to either moon with probability ½.
        noise: standard deviation of the normal noise of each coordinate.

    Source:
        scikit-learn's `make_moons`.
    """
    key_label, key_angle, key_noise = jax.random.split(key, 3)
    lower = jax.random.bernoulli(key_label, 0.5, (count,))
    angle = jax.random.uniform(key_angle, (count,), maxval=np.pi)
    points = _moon(angle, lower) + noise * jax.random.normal(key_noise, (count, 2))
    return {"x": points, "labels": lower.astype(jnp.int32)}


def two_moons_log_prob(x: jax.Array, *, noise: float = 0.1) -> jax.Array:
    """Returns the log-density of `two_moons` at points [n, 2], in nats.

    The integral over the angle is a sum over 512 arcs, exact to rounding for noise of 0.03 or more.

    Args:
        x: the points.
        noise: standard deviation of the normal noise.

    Source:
        Bishop (2006), eq. 12.33: a density of low-dimensional points with noise.
    """
    angle = (jnp.arange(512, dtype=x.dtype) + 0.5) * (np.pi / 512)

    def one(point: jax.Array) -> jax.Array:
        arcs = jnp.concatenate([_moon(angle, jnp.full(512, moon)) for moon in (False, True)])
        distance = jnp.sum((point[None] - arcs) ** 2, axis=-1)
        mean = jax.nn.logsumexp(-distance / (2 * noise**2)) - np.log(1024)
        return mean - np.log(2 * np.pi * noise**2)

    return jax.lax.map(one, x, batch_size=256)


def checkerboard(key: Key, *, count: int) -> Batch:
    """Returns points spread evenly over the eight dark squares of a 4×4 board: `x` [n, 2].

    The board is [−2, 2]²; the entropy is log 8 nats.

    Args:
        key: for the random points.
        count: number of points.
    """
    key_row, key_column, key_place = jax.random.split(key, 3)
    row = jax.random.randint(key_row, (count,), 0, 4)
    column = 2 * jax.random.randint(key_column, (count,), 0, 2) + row % 2
    corner = jnp.stack([column, row], axis=-1).astype(jnp.float32)
    return {"x": corner + jax.random.uniform(key_place, (count, 2)) - 2}


def gaussian_grid(key: Key, *, count: int, side: int = 5, deviation: float = 0.05) -> Batch:
    """Returns points of a mixture of `side²` narrow Gaussians: `x` [n, 2], `labels` [n].

    Args:
        key: for the random points.
        count: number of points; each belongs to any Gaussian with the same probability.
        side: Gaussians in a row; see `grid_modes` for their centers.
        deviation: standard deviation of each coordinate about the center.

    Source:
        Srivastava et al. (2017), sec. 4.1.
    """
    key_mode, key_noise = jax.random.split(key)
    labels = jax.random.randint(key_mode, (count,), 0, side**2)
    noise = deviation * jax.random.normal(key_noise, (count, 2))
    return {"x": grid_modes(side=side)[labels] + noise, "labels": labels}


def grid_modes(*, side: int = 5) -> jax.Array:
    """Returns the centers of `gaussian_grid`, row by row: [side², 2], two apart, about the origin.

    Args:
        side: Gaussians in a row.

    Source:
        Srivastava et al. (2017), sec. 4.1.
    """
    places = 2.0 * jnp.arange(side) - (side - 1)
    return jnp.stack(jnp.meshgrid(places, places), axis=-1).reshape(-1, 2)


def _moon(angle: jax.Array, lower: jax.Array) -> jax.Array:
    """Points of the half circles without noise."""
    x, y = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.where(lower, 1 - x, x), jnp.where(lower, 0.5 - y, y)], axis=-1)
