"""From raw heads to objects: heads of any number and scale, and the three kinds of suppression."""

import inspect
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from lectures_jax.nn.detection import detect, suppress
from lectures_jax.testing import count_traces

# Two objects side by side that overlap by 1/3 with centers 5 apart, and a duplicate of the first.
BOXES = jnp.array([[[0.0, 0, 10, 10], [5, 0, 15, 10], [0, 0, 10, 9]]])
SCORES = jnp.array([[[0.9, 0.1], [0.8, 0.05], [0.7, 0.6]]])
OPTIONS = {"max_outputs": 6, "score_threshold": 0.2, "iou_threshold": 0.3}


def rows(detections):
    """The detections of the first image as (first corner, label, score)."""
    valid = np.asarray(detections.valid[0])
    arrays = (detections.boxes[0, :, 0], detections.labels[0], detections.scores[0])
    return [*zip(*(np.asarray(x)[valid].tolist() for x in arrays), strict=True)]


def close(got, expected):
    assert [row[:2] for row in got] == [row[:2] for row in expected]
    np.testing.assert_allclose([row[2] for row in got], [row[2] for row in expected], rtol=1e-6)


def test_hard_suppression_keeps_one_box_of_each_class():
    close(rows(suppress(BOXES, SCORES, **OPTIONS)), [(0, 0, 0.9), (0, 1, 0.6)])


def test_distance_suppression_keeps_the_neighbor_and_drops_the_duplicate():
    got = suppress(BOXES, SCORES, suppression="diou", **OPTIONS)
    close(rows(got), [(0, 0, 0.9), (5, 0, 0.8), (0, 1, 0.6)])


def test_soft_suppression_lowers_scores_within_a_class():
    got = suppress(BOXES, SCORES, suppression="soft", sigma=0.5, **OPTIONS)
    neighbor, other = 0.8 * np.exp(-2 / 9), 40 / 145  # IoU of the neighbor with the duplicate
    duplicate = 0.7 * np.exp(-2 * 0.9**2) * np.exp(-2 * other**2)
    assert duplicate < 0.2
    close(rows(got), [(0, 0, 0.9), (5, 0, neighbor), (0, 1, 0.6)])


@pytest.mark.parametrize(("suppression", "kept"), [("hard", 1), ("diou", 2), ("soft", 2)])
def test_without_classes_a_box_carries_its_best_one(suppression, kept):
    got = suppress(BOXES, SCORES, suppression=suppression, class_agnostic=True, **OPTIONS)
    assert [row[:2] for row in rows(got)] == [(0, 0), (5, 0)][:kept]


def test_a_sweep_of_thresholds_compiles_once():
    run = partial(suppress, BOXES, SCORES, max_outputs=6)
    run(score_threshold=0.1, iou_threshold=0.3)
    with count_traces() as traces:
        run(score_threshold=0.2, iou_threshold=0.6)
    assert not traces


def test_heads_may_differ_in_number_anchors_stride_and_scale():
    rng = np.random.default_rng(0)
    shapes = [((8, 9), (20, 10)), ((5, 4),)]
    heads = [
        jnp.asarray(rng.normal(size=(2, 2, 3, 2 * 7)), jnp.float32),
        jnp.asarray(rng.normal(size=(2, 4, 6, 7)), jnp.float32),
    ]
    got = detect(heads, shapes, (16, 8), image_size=(32, 48), scale_xy=(1.0, 1.2), max_outputs=9)
    decoded = [
        ops.yolo_decode(raw, jnp.asarray(anchors, jnp.float32), stride=stride, scale_xy=scale)
        for raw, anchors, stride, scale in zip(heads, shapes, (16, 8), (1.0, 1.2), strict=True)
    ]
    boxes = jnp.concatenate([head.boxes for head in decoded], axis=1)
    odds = [
        (np.exp(-np.asarray(head.objectness))[..., None], np.exp(-np.asarray(head.classes)))
        for head in decoded
    ]
    scores = [1 / ((1 + objectness) * (1 + classes)) for objectness, classes in odds]
    clipped = jnp.asarray(np.clip(boxes, 0, [48, 32, 48, 32]), jnp.float32)
    expected = suppress(clipped, jnp.asarray(np.concatenate(scores, axis=1)), max_outputs=9)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert got.valid.all()


def test_what_does_not_fit_is_refused():
    raw = jnp.zeros((1, 2, 2, 7))
    run = partial(detect, [raw], [((8, 9),)], image_size=(32, 32))
    with pytest.raises(ValueError, match="strides must have an entry per head, got 2 for 1"):
        run((16, 8))
    with pytest.raises(ValueError, match="sigma must be positive, got 0"):
        run((16,), suppression="soft", sigma=0)
    unchecked = inspect.unwrap(suppress)  # the suite checks annotations, which users' calls skip
    with pytest.raises(ValueError, match="suppression must be one of hard, soft, diou, got 'none'"):
        unchecked(BOXES, SCORES, suppression="none")
    with pytest.raises(ValueError, match="max_outputs must be at least 1, got 0"):
        suppress(BOXES, SCORES, max_outputs=0)


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_an_image_without_boxes_has_no_objects(class_agnostic):
    nothing = jnp.zeros((2, 0, 4)), jnp.zeros((2, 0, 3))
    got = suppress(*nothing, max_outputs=5, class_agnostic=class_agnostic)
    assert [x.shape for x in got] == [(2, 5, 4), (2, 5), (2, 5), (2, 5)]
    assert not got.valid.any()
    assert (got.labels == -1).all()
