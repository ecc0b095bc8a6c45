"""The sampler of flow matching: an ordinary differential equation from noise to images."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, UInt

from lectures_jax.ops._precision import upcast
from lectures_jax.ops.guidance import as_partial
from lectures_jax.ops.samplers import per_sample_normal
from lectures_jax.typing import Key, check_count, checked


@checked
def sample_flow_matching(
    key: Key,
    velocity: Callable[[Array, Array], Array],
    shape: tuple[int, ...],
    *,
    steps: int,
    first: int | Int[Array, ""] | UInt[Array, ""] = 0,
) -> Float[Array, "*_"]:
    """Returns samples of a model that was trained by flow matching, by Euler's method.

    `x ← x + v(x, t) / steps`, from standard normal noise at t = 0 to images at t = 1. Where the
    paths are straight one step is exact.

    Args:
        key: for the noise; sample i is the same whatever the batch.
        velocity: `(x_t, t) -> v`, with one t for all images.
        shape: shape of the result, samples along the first axis.
        steps: number of steps, each with one call of the network.
        first: number of the first sample, for a batch that continues another.

    Returns:
        Images of the given shape, float32 (float64 where it is enabled).

    Raises:
        ValueError: if there is no step.

    Source:
        Liu et al. (2023), sec. 2.1; Lipman et al. (2023), sec. 2.
    """
    check_count(steps=steps)
    return _sample(key, as_partial(velocity), first, shape=tuple(shape), steps=steps)


@partial(jax.jit, static_argnames=("shape", "steps"))
def _sample(
    key: Key, velocity: Partial, first: Any, *, shape: tuple[int, ...], steps: int
) -> Array:
    def step(x: Array, t: Array) -> tuple[Array, None]:
        return x + upcast(velocity(x, t)).astype(x.dtype) / steps, None

    noise = per_sample_normal(key, shape, first=first)
    return jax.lax.scan(step, noise, jnp.arange(steps, dtype=noise.dtype) / steps)[0]
