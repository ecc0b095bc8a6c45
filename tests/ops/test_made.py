"""Autoregressive masks: by hand, and which outputs depend on which inputs."""

import numpy as np
import pytest

from lectures_jax import ops

CONTRACT = {"autoregressive_masks": "it takes sizes, not arrays: by hand and by its law below"}


def test_masks_by_hand():
    first, last = ops.autoregressive_masks(features=3, hidden=(2,), parameters=1)
    np.testing.assert_array_equal(first, [[1, 1], [0, 1], [0, 0]])  # degrees 1 and 2
    np.testing.assert_array_equal(last, [[0, 1, 1], [0, 0, 1]])


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("order", [None, (2, 0, 3, 1)])
def test_an_output_sees_all_the_features_before_it_and_no_other(order, conditional):
    masks = ops.autoregressive_masks(
        features=4, hidden=(9, 8), parameters=2, order=order, conditional=conditional
    )
    paths = np.linalg.multi_dot([np.asarray(mask, int) for mask in masks])
    place = np.arange(4) if order is None else np.array(order)
    expected = place[:, None] < np.repeat(place, 2)[None]
    np.testing.assert_array_equal(paths > 0, expected)


def test_units_for_a_condition_see_no_feature():
    first, *_ = ops.autoregressive_masks(features=3, hidden=(6,), conditional=True)
    np.testing.assert_array_equal(np.asarray(first).sum(axis=0), [0, 1, 2, 0, 1, 2])


def test_sizes_and_orders_that_make_no_network_are_refused():
    with pytest.raises(ValueError, match="each of hidden must be positive, got 3, 1 and"):
        ops.autoregressive_masks(features=3, hidden=())
    with pytest.raises(ValueError, match="order must be a permutation of 0 to 2"):
        ops.autoregressive_masks(features=3, hidden=(4,), order=(0, 1, 1))
