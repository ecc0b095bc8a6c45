"""VOC's average precision and the list of errors against the devkit's rule, written as loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lectures_jax import metrics

NUM_CLASSES = 2


def scene(seed, *, images=5, detections=9, objects=4):
    """Detections near objects on a coarse grid: ties, duplicates and confused classes."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 8, (images, objects, 2))
    true_boxes = np.concatenate([low, low + rng.integers(1, 8, low.shape)], -1)
    source = rng.integers(0, objects, (images, detections))
    boxes = np.take_along_axis(true_boxes, source[..., None], 1)
    boxes = boxes + rng.integers(-1, 2, boxes.shape)
    return {
        "boxes": boxes.astype(np.float32),
        "scores": (rng.integers(0, 8, source.shape) / 8).astype(np.float32),
        "labels": rng.integers(0, NUM_CLASSES, source.shape).astype(np.int32),
        "valid": rng.random(source.shape) < 0.8,
        "true_boxes": true_boxes.astype(np.float32),
        "true_labels": rng.integers(0, NUM_CLASSES, (images, objects)).astype(np.int32),
        "true_valid": rng.random((images, objects)) < 0.8,
        "crowd": rng.random((images, objects)) < 0.2,
    }


def iou(a, b):
    w, h = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if w <= 0 or h <= 0:
        return 0
    intersection = w * h
    area = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return np.float32(intersection) / np.float32(sum(area) - intersection)


def devkit(case, label, threshold):
    """Recall and precision after each detection, and what became of it, as in VOCevaldet.m."""
    detected, true, false, ignored = set(), [], [], []
    of_class = case["valid"] & (case["labels"] == label)
    queue = sorted(map(tuple, np.argwhere(of_class)), key=lambda x: -case["scores"][x])
    for i, d in queue:
        overlaps = [
            iou(case["boxes"][i, d], box) if known and own == label else -1
            for box, own, known in zip(
                case["true_boxes"][i], case["true_labels"][i], case["true_valid"][i], strict=True
            )
        ]
        best = int(np.argmax(overlaps))
        if overlaps[best] < threshold:
            false.append((i, d))
        elif case["crowd"][i, best]:
            ignored.append((i, d))
        elif (i, best) in detected:
            false.append((i, d))
        else:
            detected.add((i, best))
            true.append((i, d))
    objects = case["true_valid"] & (case["true_labels"] == label) & ~case["crowd"]
    right = np.cumsum([x in true for x in queue])
    wrong = np.cumsum([x in false for x in queue])
    return right, wrong, int(objects.sum()), set(true), set(false), detected


def devkit_ap(right, wrong, num_objects, *, eleven_point):
    if num_objects == 0:
        return -1
    precision = right / np.maximum(right + wrong, 1)
    if eleven_point:
        best = [max(precision[10 * right >= k * num_objects], default=0) for k in range(11)]
        return np.mean(best)
    recall = np.concatenate([[0], right / num_objects, [1]])
    envelope = np.concatenate([[0], precision, [0]])
    envelope = np.maximum.accumulate(envelope[::-1])[::-1]
    return np.sum(np.diff(recall) * envelope[1:])


def arrays(case):
    return [x for name, x in case.items() if name != "crowd"]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.sampled_from([0.3, 0.5, 0.75]))
def test_every_detection_is_judged_as_by_the_devkit(seed, threshold):
    case = scene(seed)
    matches = metrics.match_detections(*arrays(case), iou_threshold=threshold, crowd=case["crowd"])
    matches = metrics.Matches(*map(np.asarray, matches))
    for label in range(NUM_CLASSES):
        *_, true, false, detected = devkit(case, label, threshold)
        of_class = case["labels"] == label
        assert set(map(tuple, np.argwhere(of_class & matches.true_positive))) == true
        assert set(map(tuple, np.argwhere(of_class & matches.false_positive))) == false
        counted = case["true_valid"] & ~case["crowd"] & (case["true_labels"] == label)
        missed = set(map(tuple, np.argwhere(counted))) - detected
        own = case["true_labels"] == label
        assert set(map(tuple, np.argwhere(own & matches.missed))) == missed


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), eleven_point=st.booleans())
def test_average_precision_and_curves_are_those_of_the_devkit(seed, eleven_point):
    case = scene(seed)
    average = metrics.voc_ap(
        *arrays(case), num_classes=NUM_CLASSES, eleven_point=eleven_point, crowd=case["crowd"]
    )
    curves = metrics.precision_recall(*arrays(case), num_classes=NUM_CLASSES, crowd=case["crowd"])
    for label in range(NUM_CLASSES):
        right, wrong, num_objects, *_ = devkit(case, label, 0.5)
        expected = devkit_ap(right, wrong, num_objects, eleven_point=eleven_point)
        np.testing.assert_allclose(average[label], expected, rtol=1e-5)
        precision, recall = np.asarray(curves.precision[label]), np.asarray(curves.recall[label])
        if len(right) and num_objects:
            assert recall[-1] == np.float32(right[-1]) / np.float32(num_objects)
            np.testing.assert_allclose(precision[-1], right[-1] / max(right[-1] + wrong[-1], 1))


@pytest.mark.parametrize(("eleven_point", "published"), [(True, 0.2684), (False, 0.2457)])
def test_the_worked_example_scores_as_published(shared_data, eleven_point, published):
    boxes, scores, valid = _read(shared_data / "golden_voc_ap" / "detections")
    true_boxes, _, true_valid = _read(shared_data / "golden_voc_ap" / "groundtruths")
    average = metrics.voc_ap(
        *(boxes, scores, np.zeros(valid.shape, np.int32), valid),
        *(true_boxes, np.zeros(true_valid.shape, np.int32), true_valid),
        num_classes=1,
        iou_threshold=0.3,
        eleven_point=eleven_point,
    )
    np.testing.assert_allclose(average, [published], atol=5e-5)


def _read(folder):
    """Rows `class [score] x y w h`, where a box includes its last pixel."""
    rows = [
        [line.split() for line in path.read_text().splitlines() if line.strip()]
        for path in sorted(folder.glob("*.txt"))
    ]
    shape = len(rows), max(map(len, rows))
    boxes, scores = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.float32)
    valid = np.zeros(shape, bool)
    for i, row in enumerate(rows):
        for j, words in enumerate(row):
            x, y, w, h = map(float, words[-4:])
            boxes[i, j], valid[i, j] = (x, y, x + w + 1, y + h + 1), True
            scores[i, j] = float(words[1]) if len(words) == 6 else 0
    return boxes, scores, valid


def one_image(boxes, scores, true_boxes):
    return (
        *(np.array([boxes], np.float32), np.array([scores], np.float32)),
        *(np.zeros((1, len(boxes)), np.int32), np.ones((1, len(boxes)), bool)),
        np.array([true_boxes], np.float32),
        *(np.zeros((1, len(true_boxes)), np.int32), np.ones((1, len(true_boxes)), bool)),
    )


def test_a_duplicate_is_wrong_though_another_object_overlaps_enough():
    # Both detections point at the first object; COCO would give the second one the other object.
    objects = [[0, 0, 10, 10], [0, 4, 10, 14]]
    image = one_image([[0, 0, 10, 10], [0, 1, 10, 10]], [0.9, 0.8], objects)
    matches = metrics.match_detections(*image, iou_threshold=0.4)
    np.testing.assert_array_equal(matches.object, [[0, 0]])
    np.testing.assert_array_equal(matches.true_positive, [[True, False]])
    np.testing.assert_array_equal(matches.false_positive, [[False, True]])
    np.testing.assert_array_equal(matches.missed, [[False, True]])


def test_one_of_two_objects_detected_at_full_precision():
    image = one_image(
        [[0, 0, 5, 5], [50, 50, 60, 60]], [0.9, 0.1], [[0, 0, 5, 5], [20, 20, 30, 30]]
    )
    curves = metrics.precision_recall(*image, num_classes=1)
    np.testing.assert_allclose(curves.scores, [0.9, 0.1])
    np.testing.assert_allclose(curves.precision, [[1, 0.5]])
    np.testing.assert_allclose(curves.recall, [[0.5, 0.5]])
    np.testing.assert_allclose(metrics.voc_ap(*image, num_classes=1), [0.5])
    # The recalls 0, 0.1, …, 0.5 of the eleven are reached.
    np.testing.assert_allclose(metrics.voc_ap(*image, num_classes=1, eleven_point=True), [6 / 11])


def test_a_class_without_objects_is_minus_one():
    image = one_image([[0, 0, 5, 5]], [0.9], [[0, 0, 5, 5]])
    for eleven_point in (True, False):
        average = metrics.voc_ap(*image, num_classes=2, eleven_point=eleven_point)
        np.testing.assert_array_equal(average, [1, -1])


def test_no_slot_at_all_is_refused():
    image = one_image(np.zeros((0, 4)), [], [[0, 0, 5, 5]])
    with pytest.raises(ValueError, match="at least one image and one slot"):
        metrics.match_detections(*image)


@pytest.mark.parametrize("metric", ["voc_ap", "precision_recall", "match_detections"])
@pytest.mark.parametrize("seed", range(3))
def test_a_detection_whose_score_is_nan_is_left_out(metric, seed):
    case = scene(seed)
    options = {} if metric == "match_detections" else {"num_classes": NUM_CLASSES}
    nan = np.random.default_rng(seed).random(case["scores"].shape) < 0.3
    evaluate = lambda **changes: getattr(metrics, metric)(**case | changes, **options)
    result = evaluate(scores=np.where(nan, np.nan, case["scores"]))
    expected = evaluate(valid=case["valid"] & ~nan)
    for got, want in zip(result, expected, strict=True):
        got = np.where(np.isnan(got), want, got)  # the threshold of a point that is repeated
        np.testing.assert_array_equal(got, want)


def test_one_object_and_a_nan_score_by_hand():
    box, label, valid = np.float32([[[0, 0, 9, 9]]]), np.array([[0]]), np.array([[True]])
    detections = (np.tile(box, (1, 2, 1)), np.float32([[np.nan, 0.5]]), np.tile(label, 2))
    average = metrics.voc_ap(*detections, np.tile(valid, 2), box, label, valid, num_classes=1)
    assert average == 1


@pytest.mark.parametrize("metric", ["voc_ap", "precision_recall", "coco_map"])
def test_no_class_is_refused(metric):
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        getattr(metrics, metric)(**scene(0), num_classes=0)


@pytest.mark.parametrize("iou_threshold", [-0.1, 1.5, np.nan])
def test_a_threshold_that_no_overlap_can_have_is_refused(iou_threshold):
    with pytest.raises(ValueError, match="iou_threshold must be in"):
        metrics.voc_ap(**scene(0), num_classes=NUM_CLASSES, iou_threshold=iou_threshold)
