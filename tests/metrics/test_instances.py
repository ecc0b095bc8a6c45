"""Objects with masks: by hand, against loops, and thresholds that are not passed by equality."""

import numpy as np
import pytest

from lectures_jax import metrics
from lectures_jax.metrics.instances import THRESHOLDS

RNG = np.random.default_rng(0)


def drawn():
    """Two id maps of overlapping squares, and ids with gaps."""
    maps = np.zeros((2, 30, 30), np.int32)
    for i, (y, x) in enumerate(RNG.integers(0, 24, (12, 2))):
        for ids in maps:
            dy, dx = RNG.integers(0, 3, 2)
            ids[y + dy : y + dy + 6, x + dx : x + dx + 6] = 3 * i + 2
    return maps


def test_counts_equal_a_loop_over_all_pairs():
    predicted, true = drawn()
    counts = metrics.instance_counts(predicted, true)
    for k, threshold in enumerate(THRESHOLDS):
        matched = 0
        for a in set(true[true > 0].tolist()):
            for b in set(predicted[predicted > 0].tolist()):
                both, either = (true == a) & (predicted == b), (true == a) | (predicted == b)
                matched += both.sum() / either.sum() > threshold
        assert counts.matched[k] == matched
        assert counts.unmatched[k] == len(np.unique(predicted)) - 1 - matched
        assert counts.missed[k] == len(np.unique(true)) - 1 - matched


def test_precision_by_hand():
    true = np.array([[1, 1, 1, 0, 2, 2, 0, 0]])
    predicted = np.array([[7, 7, 0, 0, 0, 5, 5, 9]])  # 2/3, 1/3, and one of nothing
    counts = metrics.instance_counts(predicted, true, thresholds=(0.5, 0.65, 0.7))
    np.testing.assert_array_equal(counts.matched, [1, 1, 0])
    np.testing.assert_allclose(metrics.instance_precision(*counts), [1 / 4, 1 / 4, 0])


def test_an_overlap_that_equals_the_threshold_is_no_match():
    true = np.array([[1, 1]])
    counts = metrics.instance_counts(np.array([[1, 2]]), true, thresholds=(0.5,))
    assert counts.matched.tolist() == [0]


def test_the_same_objects_of_other_numbers_are_all_matched():
    _, true = drawn()
    counts = metrics.instance_counts(np.where(true > 0, 1000 - true, 0), true)
    np.testing.assert_array_equal(metrics.instance_precision(*counts), 1)


def test_nothing_where_nothing_is_is_right():
    empty = np.zeros((3, 4), np.int32)
    np.testing.assert_array_equal(
        metrics.instance_precision(*metrics.instance_counts(empty, empty)), 1
    )
    one = np.ones((3, 4), np.int32)
    for pair in ((empty, one), (one, empty)):
        np.testing.assert_array_equal(
            metrics.instance_precision(*metrics.instance_counts(*pair)), 0
        )


def test_thresholds_below_one_half_are_refused():
    with pytest.raises(ValueError, match=r"threshold must be in \[0.5, 1\], got 0.4"):
        metrics.instance_counts(np.ones((2, 2), int), np.ones((2, 2), int), thresholds=(0.4,))
