"""k-means with 1 − IoU: planted clusters, every box its own anchor, and degenerate sets."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from lectures_jax.testing import count_traces
from tests.contract import Contract

SIZES = np.array([[10, 12], [11, 12], [30, 60], [33, 58], [80, 40], [78, 44]], np.float32)
CONTRACT = {
    "best_anchor_iou": Contract([(SIZES[:5], SIZES[:3] + 0.7)]),
    "kmeans_anchors": Contract(
        [(jax.random.key(0), SIZES)], op=partial(ops.kmeans_anchors, k=3), differentiable=False
    ),
}


def test_best_overlap_by_hand():
    overlap = ops.best_anchor_iou(jnp.array([[10.0, 10], [20, 5]]), jnp.array([[10.0, 5], [1, 1]]))
    np.testing.assert_allclose(overlap, [0.5, 0.5])


@pytest.mark.parametrize("seed", range(3))
def test_planted_clusters_are_recovered_and_sorted_by_area(seed):
    rng = np.random.default_rng(seed)
    planted = np.array([[10, 14], [30, 30], [90, 40]])
    sizes = (planted[rng.integers(3, size=60)] * rng.uniform(0.95, 1.05, (60, 2))).astype(
        np.float32
    )
    anchors = ops.kmeans_anchors(jax.random.key(seed), jnp.asarray(sizes), k=3)
    np.testing.assert_allclose(anchors, planted, rtol=0.03)


def test_more_iterations_never_fit_much_worse():
    sizes = jnp.asarray(np.random.default_rng(0).uniform(5, 80, (60, 2)), jnp.float32)
    fit = lambda n: float(
        ops.best_anchor_iou(
            sizes, ops.kmeans_anchors(jax.random.key(1), sizes, k=3, iterations=n)
        ).mean()
    )
    assert fit(50) > fit(0)


def test_fewer_sizes_than_anchors_repeat_them():
    sizes = jnp.array([[10.0, 20], [10, 20], [30, 40]])
    anchors = np.asarray(ops.kmeans_anchors(jax.random.key(0), sizes, k=3))
    assert {tuple(a) for a in anchors} == {(10, 20), (30, 40)}


def test_an_empty_cluster_restarts_at_the_box_of_least_overlap():
    """Two anchors start on the same size; without re-seeding one of them would stay empty."""
    from lectures_jax.ops.anchors import _update

    sizes = jnp.array([[10.0, 10], [11, 11], [100, 10]])
    shifted = _update(sizes, jnp.array([[10.0, 10], [10, 10]]))
    np.testing.assert_allclose(shifted[1], [100, 10])


def test_no_sizes_and_no_anchors_are_refused():
    with pytest.raises(ValueError, match="sizes must hold at least one box"):
        ops.kmeans_anchors(jax.random.key(0), jnp.zeros((0, 2)), k=2)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        ops.kmeans_anchors(jax.random.key(0), jnp.ones((3, 2)), k=0)
    with pytest.raises(ValueError, match="anchors must hold"):
        ops.best_anchor_iou(jnp.ones((3, 2)), jnp.zeros((0, 2)))


def test_another_number_of_iterations_is_not_compiled_anew():
    fit = lambda n: ops.kmeans_anchors(jax.random.key(0), jnp.asarray(SIZES), k=3, iterations=n)
    fit(2)
    with count_traces() as traces:
        fit(5)
    assert not traces
    with pytest.raises(ValueError, match="iterations must be at least 0, got -1"):
        fit(-1)
