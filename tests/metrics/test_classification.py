"""Accuracy, the confusion matrix and the area under the curve: by hand, and scikit-learn's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from lectures_jax import metrics

LOGITS = jnp.array([[2.0, 1, 0], [0, 1, 0], [5, 5, 1], [0, 0, 1]])
RNG = np.random.default_rng(0)
TRUE, PREDICTED = RNG.integers(0, 4, (2, 200)).astype(np.int32)


def test_accuracy_by_hand():
    # right, wrong, right (the first of equal scores), right; then only the first two count
    np.testing.assert_allclose(metrics.accuracy(LOGITS, jnp.array([0, 2, 0, 2])), 3 / 4)
    np.testing.assert_allclose(metrics.accuracy(LOGITS, jnp.array([0, 2, -1, 3])), 1 / 2)
    assert np.isnan(metrics.accuracy(LOGITS[:0], jnp.zeros(0, jnp.int32)))


def test_the_matrix_and_its_scores_equal_sklearn_s():
    confusion = jax.jit(metrics.confusion_matrix, static_argnames="num_classes")(
        jnp.asarray(PREDICTED), jnp.asarray(TRUE), num_classes=4
    )
    np.testing.assert_array_equal(confusion, sklearn.metrics.confusion_matrix(TRUE, PREDICTED))
    scores = sklearn.metrics.precision_recall_fscore_support(TRUE, PREDICTED)[:3]
    for ours, theirs in zip(metrics.class_scores(confusion), scores, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_batches_add_up_and_examples_out_of_range_do_not_count():
    true, predicted = jnp.asarray(TRUE), jnp.asarray(PREDICTED)
    whole = metrics.confusion_matrix(predicted, true, num_classes=4)
    parts = [
        metrics.confusion_matrix(predicted[s], true[s], num_classes=4)
        for s in (slice(0, 80), slice(80, 200))
    ]
    np.testing.assert_array_equal(parts[0] + parts[1], whole)
    outside = metrics.confusion_matrix(
        jnp.array([1, 1, 4, 0, 0]), jnp.array([-1, 4, 1, 0, 0]), num_classes=4
    )
    assert outside.sum() == outside[0, 0] == 2


def test_a_class_that_is_never_there_has_no_recall():
    scores = metrics.class_scores(jnp.array([[3, 1], [0, 0]]))
    np.testing.assert_allclose(scores.recall, [0.75, np.nan])
    np.testing.assert_allclose(scores.precision, [1, 0])


def test_no_class_is_refused():
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        metrics.confusion_matrix(jnp.array([0]), jnp.array([0]), num_classes=0)


def test_scores_that_are_not_numbers_are_wrong():
    logits = jnp.array([[jnp.nan, 0.0], [0, jnp.nan], [0, 1]])
    for labels in ([0, 0, 1], [1, 1, 1]):
        np.testing.assert_allclose(metrics.accuracy(logits, jnp.array(labels)), 1 / 3)


def test_the_area_by_hand():  # positives 3 and 1, negatives 2 and 1: wins 1, 1, 0 and a half
    positive = jnp.array([True, True, False, False])
    np.testing.assert_allclose(metrics.roc_auc(jnp.array([3.0, 1, 2, 1]), positive), 2.5 / 4)
    np.testing.assert_allclose(metrics.roc_auc(jnp.array([3.0, 3, 2, 1]), positive), 1)
    np.testing.assert_allclose(metrics.roc_auc(jnp.ones(4), positive), 1 / 2)


@pytest.mark.parametrize("count", [40, 100_000])
@pytest.mark.parametrize("decimals", [1, 8])  # with many equal scores, and with few
def test_the_area_equals_sklearn_s(count, decimals):
    rng = np.random.default_rng(0)
    positive = rng.random(count) < 0.2
    scores = np.round(rng.normal(size=count) + positive, decimals).astype(np.float32)
    expected = sklearn.metrics.roc_auc_score(positive, scores)
    got = jax.jit(metrics.roc_auc)(jnp.asarray(scores), jnp.asarray(positive))
    np.testing.assert_allclose(got, expected, rtol=1e-7)


def test_without_both_kinds_or_a_score_there_is_no_area():
    scores = jnp.array([0.0, 1, 2])
    for positive in (jnp.zeros(3, bool), jnp.ones(3, bool)):
        assert np.isnan(metrics.roc_auc(scores, positive))
    positive = jnp.array([True, False, False])
    assert np.isnan(metrics.roc_auc(scores.at[2].set(jnp.nan), positive))
    np.testing.assert_allclose(metrics.roc_auc(scores.at[0].set(jnp.inf), positive), 1)
