"""Confusion with the background, F1 by threshold and kinds of errors, against plain loops."""

from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lectures_jax import metrics
from tests.metrics.test_detection import NUM_CLASSES, arrays, iou, scene

SEEDS = st.integers(0, 2**32 - 1)
THRESHOLDS = np.array([0.05, 0.25, 0.3, 0.625, 0.9], np.float32)  # two of them are scores


def overlaps(case, image):
    """The IoU of each detection with each object of an image."""
    return np.array(
        [[iou(a, b) for b in case["true_boxes"][image]] for a in case["boxes"][image]], np.float32
    )


def confusion(case, least):
    """Pairs by falling IoU, as one would do it with a list."""
    counts = np.zeros((NUM_CLASSES + 1, NUM_CLASSES + 1), int)
    for i in range(len(case["boxes"])):
        u = overlaps(case, i)
        detections = set(np.flatnonzero(case["valid"][i] & (case["scores"][i] >= least)))
        objects = set(np.flatnonzero(case["true_valid"][i] & ~case["crowd"][i]))
        crowds = np.flatnonzero(case["true_valid"][i] & case["crowd"][i])
        pairs = [(-u[d, g], -case["scores"][i, d], d, g) for d in detections for g in objects]
        for negative, _, d, g in sorted(pairs):
            if -negative >= 0.5 and d in detections and g in objects:
                counts[case["true_labels"][i, g], case["labels"][i, d]] += 1
                detections.remove(d)
                objects.remove(g)
        for d in detections:
            counts[-1, case["labels"][i, d]] += not any(u[d, crowds] >= 0.5)
        for g in objects:
            counts[case["true_labels"][i, g], -1] += 1
    return counts


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, least=st.sampled_from([0.0, 0.25, 0.5]))
def test_confusion_equals_the_plain_loop(seed, least):
    case = scene(seed)
    options = {"num_classes": NUM_CLASSES, "crowd": case["crowd"]}
    got = metrics.detection_confusion(*arrays(case), score_threshold=least, **options)
    np.testing.assert_array_equal(got, confusion(case, least))


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_counts_by_threshold_are_those_of_the_detections_above_it(seed):
    case = scene(seed)
    options = {"num_classes": NUM_CLASSES, "crowd": case["crowd"]}
    counts = metrics.detection_counts(*arrays(case), THRESHOLDS, **options)
    objects = case["true_valid"] & ~case["crowd"]
    for t, threshold in enumerate(THRESHOLDS):
        above = case | {"valid": case["valid"] & (case["scores"] >= threshold)}
        matches = metrics.match_detections(*arrays(above), crowd=case["crowd"])
        for c in range(NUM_CLASSES):
            true, false = (
                np.sum(np.asarray(which) & (case["labels"] == c))
                for which in (matches.true_positive, matches.false_positive)
            )
            assert counts.true_positive[c, t] == true
            assert counts.false_positive[c, t] == false
            assert counts.objects[c] == np.sum(objects & (case["true_labels"] == c))


def kinds(case):
    """The kind of each wrong detection by the words of the definition, and the missed objects."""
    matches = metrics.match_detections(*arrays(case), crowd=case["crowd"])
    wrong, missed = np.asarray(matches.false_positive), np.array(matches.missed)
    result = {}
    for i, d in np.argwhere(wrong):
        u = overlaps(case, i)[d]
        objects = np.flatnonzero(case["true_valid"][i] & ~case["crowd"][i])
        same = case["true_labels"][i] == case["labels"][i, d]
        ranked = sorted((-u[g], not same[g], g) for g in objects)
        best = ranked[0][2] if ranked else None
        if best is None or u[best] < np.float32(0.1):
            result[i, d] = "background"
        elif u[best] < 0.5:
            result[i, d] = "location" if same[best] else "class and location"
        else:
            result[i, d] = "duplicate" if same[best] else "class"
        if result[i, d] in ("class", "location"):
            missed[i, best] = False
    return result, missed


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_kinds_of_errors_equal_the_definition(seed):
    case = scene(seed)
    errors = metrics.detection_errors(*arrays(case), crowd=case["crowd"])
    expected, missed = kinds(case)
    kind = np.asarray(errors.kind)
    got = {tuple(at): metrics.ERROR_KINDS[kind[tuple(at)]] for at in np.argwhere(kind >= 0)}
    assert got == expected
    np.testing.assert_array_equal(errors.missed, missed)


# Two objects, of classes 0 and 1, and a third one of class 0 far away.
OBJECTS = np.float32([[[0, 0, 10, 10], [40, 0, 50, 10], [80, 80, 90, 90]]])
TRUE = (OBJECTS, np.array([[0, 1, 0]]), np.ones((1, 3), bool))
DETECTIONS = [  # box, score, label, kind
    ([0, 0, 10, 10], 0.9, 0, None),
    ([0, 0, 10, 9], 0.8, 0, "duplicate"),
    ([40, 0, 50, 10], 0.7, 0, "class"),
    ([40, 0, 50, 3], 0.6, 1, "location"),  # IoU 0.3
    ([0, 0, 10, 3], 0.5, 1, "class and location"),
    ([20, 50, 30, 60], 0.4, 1, "background"),
]
BY_HAND = (
    np.float32([[box for box, *_ in DETECTIONS]]),
    np.float32([[score for _, score, *_ in DETECTIONS]]),
    np.array([[label for *_, label, _ in DETECTIONS]]),
    np.ones((1, len(DETECTIONS)), bool),
    *TRUE,
)


def test_each_kind_by_hand():
    errors = metrics.detection_errors(*BY_HAND)
    names = [None if k < 0 else metrics.ERROR_KINDS[k] for k in np.asarray(errors.kind[0])]
    assert names == [kind for *_, kind in DETECTIONS]
    np.testing.assert_array_equal(errors.object, [[-1, 0, 1, 1, 0, -1]])
    # The second object is explained by a wrong class, the third by nothing.
    np.testing.assert_array_equal(errors.missed, [[False, False, True]])
    few = metrics.detection_errors(*BY_HAND, score_threshold=0.85)
    np.testing.assert_array_equal(few.kind, -1)
    np.testing.assert_array_equal(few.missed, [[False, True, True]])


def test_confusion_by_hand():
    counts = metrics.detection_confusion(*BY_HAND, num_classes=2)
    # The first object is detected as 0, the second as 0, the third is missed; the duplicate and
    # the three that overlap nothing enough are of the background.
    np.testing.assert_array_equal(counts, [[1, 0, 1], [1, 0, 0], [1, 3, 0]])
    counts = metrics.detection_confusion(*BY_HAND, num_classes=2, score_threshold=0.85)
    np.testing.assert_array_equal(counts, [[1, 0, 1], [0, 0, 1], [0, 0, 0]])


def test_f1_by_hand():
    """Class 0: one of two objects, two errors. Class 1: nothing right. Class 2 has no object."""
    thresholds = np.float32([0.4, 0.75, 0.85, 0.95])
    counts = metrics.detection_counts(*BY_HAND, thresholds, num_classes=3)
    np.testing.assert_array_equal(counts.objects, [2, 1, 0])
    np.testing.assert_array_equal(counts.true_positive[0], [1, 1, 1, 0])
    np.testing.assert_array_equal(counts.false_positive[:2], [[2, 1, 0, 0], [3, 0, 0, 0]])
    curve = metrics.f1_curve(*counts)
    np.testing.assert_allclose(curve.precision[0], [1 / 3, 1 / 2, 1, 1])
    np.testing.assert_allclose(curve.recall[0], [1 / 2, 1 / 2, 1 / 2, 0])
    np.testing.assert_allclose(curve.f1[0], [2 / 5, 1 / 2, 2 / 3, 0])
    assert np.isnan(curve.f1[2]).all()
    np.testing.assert_allclose(curve.mean_f1, [1 / 5, 1 / 4, 1 / 3, 0])
    assert curve.best == 2


@pytest.mark.parametrize("metric", ["detection_confusion", "detection_counts", "detection_errors"])
def test_a_set_is_the_sum_of_its_batches_and_nan_and_unknown_classes_do_not_count(metric):
    case = scene(3, images=6)
    options = {} if metric == "detection_errors" else {"num_classes": NUM_CLASSES}
    extra = (THRESHOLDS,) if metric == "detection_counts" else ()
    evaluate = partial(getattr(metrics, metric), **options)
    whole = evaluate(*arrays(case), *extra)
    parts = [
        evaluate(*(x[part] for x in arrays(case)), *extra) for part in (slice(2), slice(2, None))
    ]
    if metric != "detection_errors":  # which has a row for each image
        total = jax.tree.map(lambda *x: sum(map(np.asarray, x)), *parts)
        jax.tree.map(np.testing.assert_array_equal, whole, total)
    left_out = case["valid"] & (case["labels"] == 1)
    nan = case | {"scores": np.where(left_out, np.nan, case["scores"])}
    padding = case | {"valid": case["valid"] & ~left_out}
    got, expected = (evaluate(*arrays(x), *extra) for x in (nan, padding))
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_thresholds_out_of_order_are_refused():
    for thresholds in ([0.9, 0.1], [0.1, 0.1], [0.1, np.nan]):
        with pytest.raises(ValueError, match="thresholds must rise, got"):
            metrics.detection_counts(*BY_HAND, np.float32(thresholds), num_classes=2)


def test_what_is_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"background_iou must be in \[0, 0\.5\], got 0\.6"):
        metrics.detection_errors(*BY_HAND, background_iou=0.6)
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        metrics.detection_confusion(*BY_HAND, num_classes=0)
    empty = (BY_HAND[0][:, :0], *(x[:, :0] for x in BY_HAND[1:4]), *TRUE)
    with pytest.raises(ValueError, match="at least one image and one slot"):
        metrics.detection_errors(*empty)
