"""`coco_map` against pycocotools, run here, and against cases worked by hand."""

import contextlib
import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pycocotools.coco import COCO

from lectures_jax import metrics
from lectures_jax.metrics import _coco_matching as matching
from lectures_jax.metrics import coco
from tests.metrics.coco_cases import NUM_CLASSES, pycocotools, run, scene, xywh

NAMES = ("boxes", "scores", "labels", "valid", "true_boxes", "true_labels", "true_valid")


def evaluate(case, **changes):
    case = {**case, **changes}
    positional = [case.pop(name) for name in NAMES]
    return metrics.coco_map(*positional, **{"num_classes": NUM_CLASSES, **case})


def assert_equal(result, expected):
    np.testing.assert_array_equal(result.precision, expected[0])
    np.testing.assert_array_equal(result.recall, expected[1])
    np.testing.assert_allclose(result.stats, expected[2], rtol=1e-13)


@pytest.mark.parametrize("seed", range(8))
def test_random_scenes_equal_pycocotools_bit_for_bit(seed):
    case = scene(seed)
    assert_equal(evaluate(case), pycocotools(case))


@pytest.mark.parametrize("seed", range(4))
def test_float64_boxes_keep_their_bits(seed):
    case = scene(seed, dtype=np.float64)
    assert_equal(evaluate(case), pycocotools(case))


@pytest.mark.parametrize("seed", range(2))
def test_only_the_best_hundred_detections_of_an_image_and_class_count(seed):
    case = scene(seed, images=3, detections=150)
    case["labels"] = np.zeros_like(case["labels"])
    assert_equal(evaluate(case), pycocotools(case))


@pytest.mark.parametrize("seed", range(2))
def test_an_object_has_the_area_of_its_box_by_default(seed):
    case = scene(seed)
    area = np.prod(xywh(case["true_boxes"])[..., 2:], axis=-1)
    assert_equal(evaluate(case, area=None), pycocotools({**case, "area": area}))


def test_other_limits_of_sizes_equal_pycocotools_too():
    case = scene(1)
    limits = (144.0, 24.5**2)  # the first is the area of some
    ranges = [[0, 1e10], [0, limits[0]], list(limits), [limits[1], 1e10]]
    assert_equal(evaluate(case, size_limits=limits), pycocotools(case, ranges))
    usual = evaluate(case)
    assert not np.array_equal(usual.recall, evaluate(case, size_limits=limits).recall)
    with pytest.raises(ValueError, match="size_limits must be in"):
        evaluate(case, size_limits=(10.0, 5.0))


def test_the_sample_of_the_coco_api_scores_as_published(shared_data):
    folder = shared_data / "golden_coco_eval"
    with contextlib.redirect_stdout(io.StringIO()):
        objects = COCO(folder / "instances_val2014_100.json")
        results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
        detections = objects.loadRes(results)
    true_boxes, true_labels, true_valid, true = _pad(objects, objects)
    boxes, labels, valid, detected = _pad(detections, objects)
    result = metrics.coco_map(
        *(boxes, detected("score"), labels, valid, true_boxes, true_labels, true_valid),
        num_classes=len(objects.getCatIds()),
        crowd=true("iscrowd") > 0,
        area=true("area"),
    )
    assert_equal(result, run(objects, detections))
    published = [0.505, 0.697, 0.573, 0.586, 0.519, 0.501, 0.387, 0.594, 0.595, 0.640, 0.566, 0.564]
    np.testing.assert_allclose(list(result.named().values()), published, atol=5e-4)


def _pad(coco, classes):
    """Boxes (float64), labels, valid, and a function for other numbers, padded per image."""
    rows = [coco.imgToAnns[i] for i in sorted(classes.getImgIds())]
    index = {c: i for i, c in enumerate(sorted(classes.getCatIds()))}
    shape = len(rows), max(map(len, rows))
    boxes, labels, valid = np.zeros((*shape, 4)), np.zeros(shape, np.int32), np.zeros(shape, bool)
    for i, row in enumerate(rows):
        valid[i, : len(row)] = True
        labels[i, : len(row)] = [index[x["category_id"]] for x in row]
        boxes[i, : len(row)] = np.reshape([x["bbox"] for x in row], (-1, 4))
    boxes[..., 2:] += boxes[..., :2]

    def field(name):
        values = np.zeros(shape)
        values[valid] = [x[name] for row in rows for x in row]
        return values

    return boxes, labels, valid, field


@pytest.mark.parametrize("nothing", ["valid", "true_valid"])
def test_no_detection_and_no_object_equal_pycocotools(nothing):
    case = scene(0)
    case[nothing] = np.zeros_like(case[nothing])
    result = evaluate(case)
    assert_equal(result, pycocotools(case))
    assert result.named()["AP"] == (0 if nothing == "valid" else -1)


def test_images_without_anything_equal_pycocotools():
    case = scene(1)
    case["valid"][:3] = False
    case["true_valid"][1:4] = False
    assert_equal(evaluate(case), pycocotools(case))


def test_a_class_without_objects_is_minus_one_and_not_in_the_mean():
    case = scene(2)
    case["true_labels"] = np.minimum(case["true_labels"], 1)
    result = evaluate(case)
    assert_equal(result, pycocotools(case))
    assert np.all(np.asarray(result.recall)[:, 2] == -1)
    assert result.named()["AR100"] == pytest.approx(np.asarray(result.recall)[:, :2, 0, 2].mean())


def test_padding_and_unknown_labels_change_nothing():
    case = scene(3)
    case["valid"][:, :12] = False
    expected = evaluate(case)
    case["boxes"][:, :12], case["scores"][:, :12] = np.nan, 2
    jax.tree.map(np.testing.assert_array_equal, evaluate(case), expected)
    case["boxes"][:, :12], case["valid"][:, :12] = case["boxes"][:, 12:], True
    case["labels"][:, :12] = [NUM_CLASSES, -1] * 6
    jax.tree.map(np.testing.assert_array_equal, evaluate(case), expected)


def one_image(boxes, scores, true_boxes, crowd=None):
    """A case of one image and one class, padded to 4 detections and 2 objects."""

    def pad(rows, size):
        return np.pad(np.array(rows, np.float32), ((0, size - len(rows)), (0, 0)))[None]

    return metrics.coco_map(
        *(pad(boxes, 4), pad(np.array(scores)[:, None], 4)[..., 0]),
        *(np.zeros((1, 4), np.int32), np.arange(4)[None] < len(boxes)),
        pad(true_boxes, 2),
        *(np.zeros((1, 2), np.int32), np.arange(2)[None] < len(true_boxes)),
        num_classes=1,
        crowd=np.array([crowd or [False, False]]),
    )


@pytest.mark.parametrize(("width", "average"), [(100, 1.0), (92, 0.9), (62, 0.3), (49, 0.0)])
def test_a_single_box_passes_the_thresholds_below_its_iou(width, average):
    result = one_image([[0, 0, width, 100]], [0.5], [[0, 0, 100, 100]])
    assert result.named()["AP"] == pytest.approx(average)
    assert result.named()["AR1"] == pytest.approx(average)
    assert (result.named()["APl"], result.named()["APs"]) == (pytest.approx(average), -1)


def test_one_wrong_box_in_front_halves_the_precision():
    box = [0, 0, 50, 50]
    wrong_first = one_image([[60, 60, 90, 90], box], [0.9, 0.8], [box])
    wrong_last = one_image([[60, 60, 90, 90], box], [0.7, 0.8], [box])
    assert wrong_first.named()["AP"] == pytest.approx(0.5)
    assert wrong_last.named()["AP"] == pytest.approx(1.0)
    assert wrong_first.named()["AR1"] == 0
    assert wrong_first.named()["AR10"] == 1


def test_half_of_the_objects_detected_gives_half_of_the_recalls():
    result = one_image([[0, 0, 50, 50]], [0.9], [[0, 0, 50, 50], [60, 0, 90, 50]])
    # The recalls 0, 0.01, …, 0.5 of the 101 are reached.
    assert result.named()["AP"] == pytest.approx(51 / 101)
    assert result.named()["AR100"] == 0.5


def test_a_crowd_takes_any_number_of_detections_and_none_counts():
    box, crowd = [0, 0, 50, 50], [100, 0, 200, 100]
    inside = [[100 + 20 * i, 0, 120 + 20 * i, 20] for i in range(3)]
    result = one_image([*inside, box], [0.9, 0.8, 0.7, 0.6], [box, crowd], [False, True])
    assert result.named()["AP"] == pytest.approx(1)


def test_the_results_are_float64_though_x64_is_off_and_under_the_callers_jit():
    assert not jax.config.jax_enable_x64
    case = scene(0)
    outside, inside = evaluate(case), jax.jit(evaluate)(case)
    assert outside.precision.dtype == inside.precision.dtype == np.float64
    jax.tree.map(np.testing.assert_array_equal, inside, outside)


def test_overlaps_are_not_rounded_by_a_fused_multiply_and_add():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 50, (64, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 50, (64, 2))], axis=1)
    crowd = rng.random(64) < 0.2

    @jax.jit
    def overlap(boxes, labels, valid, crowd):
        x = matching.as_boxes(boxes, labels, valid)
        return matching._iou(x, x, crowd)

    with jax.enable_x64(True):
        result = np.asarray(overlap(boxes, np.zeros(64, np.int32), np.ones(64, bool), crowd))
    x, y, w, h = xywh(boxes).T
    sides = [
        np.minimum((p + s)[:, None], (p + s)[None]) - np.maximum(p[:, None], p[None])
        for p, s in ((x, w), (y, h))
    ]
    intersection = np.maximum(sides[0], 0) * np.maximum(sides[1], 0)
    union = np.where(crowd, (w * h)[:, None], (w * h)[:, None] + (w * h)[None] - intersection)
    np.testing.assert_array_equal(result, intersection / union)


def test_a_recall_is_reached_where_the_rounded_quotient_says_so():
    total = np.arange(1.0, 1001)
    with jax.enable_x64(True):
        count = np.asarray(jax.jit(coco._true_positives_at)(jnp.asarray(total)))
    for n, row in zip(total, count, strict=True):
        np.testing.assert_array_equal(row, np.searchsorted(np.arange(n + 1) / n, coco.RECALLS))


@pytest.mark.parametrize("name", ["boxes", "true_boxes"])
def test_no_slot_at_all_is_refused(name):
    case = scene(0)
    empty = NAMES[:4] if name == "boxes" else (*NAMES[4:], "crowd", "area")
    with pytest.raises(ValueError, match="at least one image and one slot"):
        evaluate(case, **{key: case[key][:, :0] for key in empty})


@pytest.mark.parametrize("seed", range(3))
def test_a_detection_whose_score_is_nan_is_left_out(seed):
    case = scene(seed)
    nan = np.random.default_rng(seed).random(case["scores"].shape) < 0.3
    result = evaluate(case, scores=np.where(nan, np.nan, case["scores"]).astype(np.float32))
    assert_equal(result, evaluate(case, valid=case["valid"] & ~nan))
