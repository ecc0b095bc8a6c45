"""Laws of k-means on the sizes of boxes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops

SIZES = jnp.asarray(np.random.default_rng(0).uniform(5, 80, (40, 2)), jnp.float32)
COUNT = 9
starts = functools.partial(ops.kmeans_anchors, k=COUNT, iterations=0)


@functools.cache
def starts_one_by_one(seed):
    """k-means++ as one would write it on paper, each operation a program of its own."""
    first, *others = jax.random.split(jax.random.key(seed), COUNT)
    chosen, distance = [SIZES[jax.random.randint(first, (), 0, len(SIZES))]], np.float32(1)
    for step in others:
        distance = np.minimum(distance, 1 - ops.shape_iou(SIZES, chosen[-1][None])[:, 0])
        weight = np.maximum(distance, 0) ** 2 + np.finfo(np.float32).tiny
        chosen.append(SIZES[jax.random.categorical(step, jnp.log(weight))])
    return np.array(sorted(chosen, key=lambda size: float(size[0] * size[1])))


@pytest.mark.parametrize("run", [starts, jax.jit(starts)], ids=["by itself", "inside of a program"])
def test_the_program_starts_as_its_operations_one_by_one_do(run):
    for seed in range(50):
        expected = starts_one_by_one(seed)
        np.testing.assert_array_equal(run(jax.random.key(seed), SIZES), expected)
