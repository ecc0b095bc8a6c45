"""Scores of masks: by hand, scikit-learn's, and brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from scipy import ndimage

from lectures_jax import metrics

RNG = np.random.default_rng(0)
SHAPE = (2, 12, 10)
TRUE, PREDICTED = (ndimage.zoom(RNG.integers(0, 3, (2, 4, 5)), (1, 3, 2), order=0) for _ in "ab")
TRUE, PREDICTED = TRUE.astype(np.int32), PREDICTED.astype(np.int32)
TRUE[0, 4:7, 2:5] = 255
COUNTED = TRUE != 255


def confusion(predicted, true, num_classes=3):
    return metrics.pixel_confusion(
        jnp.asarray(predicted), jnp.asarray(true), num_classes=num_classes
    )


def test_the_matrix_equals_sklearn_s_without_the_pixels_that_are_ignored():
    expected = sklearn.metrics.confusion_matrix(TRUE[COUNTED], PREDICTED[COUNTED])
    np.testing.assert_array_equal(confusion(PREDICTED, TRUE), expected)
    both = [confusion(p, t) for p, t in zip(PREDICTED, TRUE, strict=True)]
    np.testing.assert_array_equal(both[0] + both[1], expected)


def test_an_id_that_is_ignored_may_be_that_of_a_class():
    counts = metrics.pixel_confusion(
        jnp.asarray(PREDICTED), jnp.asarray(PREDICTED), num_classes=3, ignore=1
    )
    assert counts[1].tolist() == [0, 0, 0]
    assert counts.sum() == (PREDICTED != 1).sum()


def test_the_scores_equal_sklearn_s():
    counts, pair = confusion(PREDICTED, TRUE), (TRUE[COUNTED], PREDICTED[COUNTED])
    for ours, theirs in (
        (metrics.class_iou, sklearn.metrics.jaccard_score(*pair, average=None)),
        (metrics.mean_iou, sklearn.metrics.jaccard_score(*pair, average="macro")),
        (metrics.class_dice, sklearn.metrics.f1_score(*pair, average=None)),
        (metrics.mean_dice, sklearn.metrics.f1_score(*pair, average="macro")),
        (metrics.pixel_accuracy, sklearn.metrics.accuracy_score(*pair)),
        (metrics.mean_accuracy, sklearn.metrics.balanced_accuracy_score(*pair)),
    ):
        np.testing.assert_allclose(ours(counts), theirs, rtol=1e-6)


def test_an_absent_class_counts_neither_for_nor_against():
    counts = confusion(PREDICTED, TRUE, 5)
    assert metrics.class_iou(counts)[3:].tolist() == [-1, -1]
    assert metrics.class_dice(counts)[3:].tolist() == [-1, -1]
    for score in (metrics.mean_iou, metrics.mean_dice, metrics.mean_accuracy):
        assert score(counts) == score(counts[:3, :3])
    # one that is predicted but not there counts against the overlap, by hand: (2/3 + 0) / 2
    np.testing.assert_allclose(metrics.mean_iou(jnp.array([[2, 1], [0, 0]])), 1 / 3)
    np.testing.assert_allclose(metrics.mean_accuracy(jnp.array([[2, 1], [0, 0]])), 2 / 3)


@pytest.mark.parametrize("name", ["mean_iou", "mean_dice", "mean_accuracy", "pixel_accuracy"])
def test_without_a_pixel_the_score_is_0(name):
    assert getattr(metrics, name)(confusion(PREDICTED, 0 * TRUE + 255)) == 0


def boundary(classes):
    """The definition, pixel by pixel."""
    h, w = classes.shape
    line = np.zeros((3, h, w), bool)
    for y, x in np.argwhere(classes >= 0):
        for i, j in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= i < h and 0 <= j < w and classes[i, j] not in (-1, classes[y, x]):
                line[classes[y, x], y, x] = True
    return line


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 1.5, 3.0])
def test_boundary_f1_equals_brute_force(tolerance):
    total, count = np.zeros(3), np.zeros(3)
    for predicted, true in zip(PREDICTED, TRUE, strict=True):
        lines = [boundary(np.where(true == 255, -1, m)) for m in (predicted, true)]
        for c, (p, t) in enumerate(zip(*lines, strict=True)):
            points_p, points_t = np.argwhere(p), np.argwhere(t)
            if not len(points_p) + len(points_t):
                continue
            count[c] += 1
            if len(points_p) and len(points_t):
                distance = np.linalg.norm(points_p[:, None] - points_t[None], axis=-1)
                precision, recall = ((distance.min(axis=a) <= tolerance).mean() for a in (1, 0))
                total[c] += 2 * precision * recall / max(precision + recall, 1e-9)
    scores = jax.jit(metrics.boundary_f1, static_argnames=("num_classes", "tolerance"))(
        jnp.asarray(PREDICTED), jnp.asarray(TRUE), num_classes=3, tolerance=tolerance
    )
    np.testing.assert_array_equal(scores.denominator, count)
    np.testing.assert_allclose(scores.numerator, total, rtol=1e-5)


def test_a_boundary_that_is_shifted_within_the_tolerance_is_right():
    true = jnp.zeros((1, 8, 8), jnp.int32).at[:, :, 4:].set(1)
    shifted = jnp.zeros((1, 8, 8), jnp.int32).at[:, :, 6:].set(1)
    for tolerance, expected in ((2.0, 1.0), (1.9, 0.0)):
        scores = metrics.boundary_f1(shifted, true, num_classes=3, tolerance=tolerance)
        np.testing.assert_allclose(scores.numerator, [expected, expected, 0])
        np.testing.assert_array_equal(scores.denominator, [1, 1, 0])


def test_what_is_negative_is_refused():
    with pytest.raises(ValueError, match=r"tolerance must be at least 0, got -1"):
        metrics.boundary_f1(jnp.asarray(TRUE), jnp.asarray(TRUE), num_classes=3, tolerance=-1.0)
    with pytest.raises(ValueError, match=r"num_classes must be at least 1, got 0"):
        confusion(PREDICTED, TRUE, 0)
