"""Borders between objects, and objects from masks: by hand, by brute force, and of real nuclei."""

import numpy as np
import pytest

from lectures_jax import data, metrics
from lectures_jax.data.images import decode_mask

RNG = np.random.default_rng(0)
THREE = np.zeros((12, 14), np.int32)
THREE[2:6, 1:5], THREE[3:8, 5:9], THREE[9:11, 11:13] = 4, 9, 2


def test_weights_equal_the_formula_pixel_by_pixel():
    height, sigma = 10.0, 2.0
    expected = np.zeros(THREE.shape)
    share = (THREE > 0).mean()
    for y, x in np.ndindex(THREE.shape):
        if THREE[y, x]:
            expected[y, x] = 0.5 / share
            continue
        distances = sorted(
            np.linalg.norm(np.argwhere(i == THREE) - (y, x), axis=1).min() for i in (2, 4, 9)
        )
        between = height * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
        expected[y, x] = 0.5 / (1 - share) + between
    weights = data.border_weights(THREE, height=height, sigma=sigma)
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(data.border_weights(THREE, height=0.0).mean(), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "ids", [np.zeros((4, 5), int), np.ones((4, 5), int), np.where(THREE == 4, 4, 0)]
)
def test_without_a_second_object_there_is_no_border(ids):
    ids = ids.astype(np.int32)
    weights = data.border_weights(ids)
    np.testing.assert_allclose(weights, data.border_weights(ids, height=0.0))
    assert not data.touching(ids).any()


def test_borders_are_where_two_objects_meet():
    line = np.array([[1, 1, 1, 5, 5, 0, 0, 7, 0, 3]])
    assert data.touching(line)[0].tolist() == [0, 0, 1, 1, 0, 0, 0, 0, 1, 0]
    assert data.touching(line, width=2)[0].tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]


def test_objects_fall_apart_at_their_borders_and_grow_back():
    border = data.touching(THREE)
    ids = data.split_instances((THREE > 0) & ~border, border & (THREE > 0))
    assert sorted(np.unique(ids)) == [0, 1, 2, 3]
    np.testing.assert_array_equal(ids > 0, THREE > 0)
    counts = metrics.instance_counts(ids, THREE, thresholds=(0.7,))
    assert counts.matched.tolist() == [3]
    small = data.split_instances((THREE > 0) & ~border, border & (THREE > 0), min_area=5)
    np.testing.assert_array_equal(np.unique(small), [0, 1, 2])
    assert not small[THREE == 2].any()


def test_components_are_connected_at_corners():
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 1]], bool)
    np.testing.assert_array_equal(data.connected_components(mask), [[1, 0, 0, 2], [0, 1, 0, 2]])
    empty = np.zeros((2, 3), bool)
    assert not data.split_instances(empty, ~empty).any()


def test_what_is_out_of_range_is_refused():
    with pytest.raises(ValueError, match="sigma must be positive, got 0"):
        data.border_weights(THREE, sigma=0.0)
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        data.touching(THREE, width=0)
    with pytest.raises(ValueError, match="min_area must be at least 1, got 0"):
        data.split_instances(THREE > 0, THREE < 0, min_area=0)


def test_nuclei_survive_the_way_to_three_classes_and_back(shared_data):
    folder = shared_data / "nuclei"
    precision = []
    for name in (folder / "test.txt").read_text().split():
        true = decode_mask(folder / "labels" / f"{name}.png")
        border = data.touching(true) & (true > 0)
        ids = data.split_instances((true > 0) & ~border, border)
        precision.append(metrics.instance_precision(*metrics.instance_counts(ids, true)).mean())
    assert np.mean(precision) > 0.98
