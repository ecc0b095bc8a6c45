"""The dimension of a set of points, of known sets."""

import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import metrics

RNG = np.random.default_rng(0)


def test_three_points_on_a_line_by_hand():  # neighbors at 1 and 3, 1 and 2, 2 and 3
    points = jnp.array([[0.0], [1.0], [3.0]])
    expected = 2 / np.log(3 / 1 * 2 / 1 * 3 / 2)
    np.testing.assert_allclose(metrics.intrinsic_dimension(points), expected, rtol=1e-6)


@pytest.mark.parametrize("dimension", [1, 2, 3, 5])
def test_a_torus_has_its_dimension(dimension):  # a cube without edges, which bias the estimate
    angles = RNG.uniform(0, 2 * np.pi, (1500, dimension))
    points = (
        np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
        @ np.linalg.qr(RNG.normal(size=(2 * dimension, 2 * dimension)))[0]
    )
    measured = metrics.intrinsic_dimension(points.astype(np.float32))
    np.testing.assert_allclose(measured, dimension, atol=4 * dimension / 1500**0.5)


def test_a_cube_in_more_dimensions_has_its_own():
    points = RNG.uniform(size=(1500, 2)) @ RNG.normal(size=(2, 20))
    measured = metrics.intrinsic_dimension(points.astype(np.float32))
    np.testing.assert_allclose(measured, 2, atol=0.2)


def test_copies_are_no_centers_and_a_grid_has_no_end():
    points = RNG.normal(size=(50, 2)).astype(np.float32)
    both = jnp.concatenate([points[:1], jnp.asarray(points)])
    assert 1 < metrics.intrinsic_dimension(both) < 3
    assert metrics.intrinsic_dimension(jnp.ones((5, 2))) == 0
    ring = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert metrics.intrinsic_dimension(ring) == jnp.inf


def test_fewer_than_three_points_are_refused():
    with pytest.raises(ValueError, match="at least three rows of at least one number"):
        metrics.intrinsic_dimension(jnp.zeros((2, 2)))
