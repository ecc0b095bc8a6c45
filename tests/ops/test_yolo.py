"""YOLO's decode and encode: worked cells, each other's inverse, and contested slots."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lectures_jax import ops
from tests.contract import Contract

STRIDES = (32, 16, 8)
ANCHORS = np.array(
    [[[96, 96], [64, 128]], [[48, 40], [32, 60]], [[10, 12], [20, 16]]], np.float32
)  # two per head
BOXES = np.array([[10, 20, 40, 64], [5, 5, 16, 18], [30, 2, 126, 90]], np.float32)
LABELS = np.array([1, 0, 2], np.int32)
VALID = np.array([True, True, True])
PADDED = np.array([True, False, True])
OPTIONS = {"image_size": (96, 128), "strides": STRIDES, "num_classes": 3}
encode = jax.jit(partial(ops.yolo_encode, **OPTIONS))
encode_several = jax.jit(partial(ops.yolo_encode, **OPTIONS, anchor_iou=0.3))

RAW = np.random.default_rng(0).normal(size=(5, 6, 21)).astype(np.float32)
SLOTS = RAW.reshape(5, 6, 3, 7)
HEAD = np.array([[10, 12], [20, 16], [30, 40]], np.float32)

CONTRACT = {
    "split_head": Contract([(RAW,)], op=partial(ops.split_head, num_anchors=3)),
    "yolo_boxes": Contract(
        [(SLOTS[..., :4], HEAD)],
        edges=[
            (np.zeros((2, 20, 20, len(HEAD), 4), np.float32), HEAD),
            (np.resize(np.array([90, -90, 1e4, -1e4, 1e30], np.float32), (5, 6, 3, 4)), HEAD),
        ],
        op=partial(ops.yolo_boxes, stride=8),
    ),
    "yolo_decode": Contract([(RAW, HEAD)], op=partial(ops.yolo_decode, stride=8)),
    "yolo_decode beyond the cell": Contract(
        [(RAW, HEAD)], op=partial(ops.yolo_decode, stride=8, scale_xy=1.1)
    ),
    "shape_iou": Contract([(HEAD, np.concatenate([HEAD, HEAD]) + 1.5)]),
    "yolo_encode": Contract(
        [(BOXES, LABELS, VALID, ANCHORS)],
        op=partial(ops.yolo_encode, **OPTIONS),
        differentiable=False,
        hide=lambda value, boxes, labels, valid, anchors: (
            np.where(PADDED[:, None], boxes, np.float32(value)),
            labels,
            PADDED,
            anchors,
        ),
    ),
    "yolo_encode to several anchors": Contract(
        [(BOXES, LABELS, VALID, ANCHORS)],
        op=partial(ops.yolo_encode, **OPTIONS, anchor_iou=0.3),
        differentiable=False,
    ),
}


@pytest.mark.parametrize("number", [11.0, 90.0, 1e30, np.inf])
def test_no_output_makes_a_box_without_end(number):
    raw = jnp.full((1, 1, 6), number).at[..., :2].set(0)
    box = ops.yolo_decode(raw, jnp.array([[10.0, 20.0]]), stride=8).boxes[0]
    half = np.array([5, 10]) * np.exp(10)
    np.testing.assert_allclose(box, np.concatenate([4 - half, 4 + half]), rtol=1e-6)
    np.testing.assert_allclose(ops.iou(box, box), 1)


def test_a_zero_head_puts_each_anchor_at_the_middle_of_its_cell():
    decoded = ops.yolo_decode(jnp.zeros((2, 3, 12)), jnp.array([[10.0, 20], [4, 8]]), stride=8)
    # Row 1, column 2: center (2.5, 1.5) cells = (20, 12) pixels.
    slot = (1 * 3 + 2) * 2
    np.testing.assert_allclose(decoded.boxes[slot], [15, 2, 25, 22], atol=1e-6)
    np.testing.assert_allclose(decoded.boxes[slot + 1], [18, 8, 22, 16], atol=1e-6)
    assert decoded.objectness.shape == (12,)
    assert decoded.classes.shape == (12, 1)


def test_the_head_is_read_as_x_y_width_height_objectness_classes():
    raw = jnp.zeros((1, 1, 7)).at[0, 0].set(jnp.array([np.log(3), 0, np.log(2), 0, 5, 6, 7]))
    decoded = ops.yolo_decode(raw, jnp.array([[10.0, 20]]), stride=8)
    # σ(log 3) = 3/4: center x = 6; width = 10 · 2.
    np.testing.assert_allclose(decoded.boxes[0], [-4, -6, 16, 14], atol=1e-5)
    np.testing.assert_allclose(decoded.objectness, [5])
    np.testing.assert_allclose(decoded.classes, [[6, 7]])


def test_a_scale_lets_a_center_leave_its_cell_and_keeps_the_middle():
    """σ(log 3) = 3/4: 1.2 · 3/4 − 0.1 = 0.8 of a cell of 8 pixels; σ(0) stays at 0.5."""
    raw = jnp.zeros((1, 1, 6)).at[0, 0, 0].set(np.log(3))
    anchors = jnp.array([[10.0, 20]])
    box = ops.yolo_decode(raw, anchors, stride=8, scale_xy=1.2).boxes[0]
    np.testing.assert_allclose(box, [6.4 - 5, 4 - 10, 6.4 + 5, 4 + 10], rtol=1e-6)
    far = ops.yolo_decode(raw.at[..., :2].set(50.0), anchors, stride=8, scale_xy=1.2).boxes[0]
    np.testing.assert_allclose((far[:2] + far[2:]) / 2, [8.8, 8.8], rtol=1e-6)
    with pytest.raises(ValueError, match=r"scale_xy must be at least 1, got 0\.5"):
        ops.yolo_decode(raw, anchors, stride=8, scale_xy=0.5)


def test_the_first_cell_coordinate_is_the_column():
    target = encode(BOXES[1:2], LABELS[1:2], VALID[1:2], ANCHORS)[2]
    # Center (10.5, 11.5): column 1, row 1 would hide a swap; move the box right by 40.
    shifted = encode(BOXES[1:2] + np.float32([40, 0, 40, 0]), LABELS[1:2], VALID[1:2], ANCHORS)[2]
    assert np.argwhere(target.responsible).tolist() == [[1, 1, 0]]
    assert np.argwhere(shifted.responsible).tolist() == [[1, 6, 0]]


def test_an_object_belongs_to_the_cell_of_its_center_and_the_best_anchor_of_all_heads():
    targets = encode(BOXES, LABELS, VALID, ANCHORS)
    # Sizes 30×44, 11×13, 96×88 and centers (25, 42), (10.5, 11.5), (78, 46).
    assert np.argwhere(targets[0].responsible).tolist() == [[1, 2, 0]]
    assert np.argwhere(targets[1].responsible).tolist() == [[2, 1, 1]]
    assert np.argwhere(targets[2].responsible).tolist() == [[1, 1, 0]]
    np.testing.assert_array_equal(targets[1].boxes[2, 1, 1], BOXES[0])
    np.testing.assert_array_equal(targets[1].classes[2, 1, 1], [0, 1, 0])
    assert all(target.collided == 0 for target in targets)


def test_a_shape_threshold_adds_anchors_and_keeps_the_best():
    single = encode(BOXES, LABELS, VALID, ANCHORS)
    several = encode_several(BOXES, LABELS, VALID, ANCHORS)
    sizes = jnp.asarray(BOXES[:, 2:] - BOXES[:, :2])
    overlap = np.asarray(ops.shape_iou(sizes, jnp.asarray(ANCHORS.reshape(-1, 2))))
    count = sum(int(target.responsible.sum()) for target in several)
    assert count == (overlap > 0.3).sum() > 3
    for one, many in zip(single, several, strict=True):
        assert np.all(many.responsible[one.responsible])
        np.testing.assert_array_equal(many.boxes[one.responsible], one.boxes[one.responsible])


def test_the_later_of_two_objects_in_one_slot_is_counted_as_collided():
    boxes = jnp.array([[10.0, 20, 40, 64], [11, 21, 41, 65], [70, 20, 100, 64]])
    targets = encode(boxes, jnp.arange(3), jnp.ones(3, bool), ANCHORS)
    assert [int(target.collided) for target in targets] == [0, 1, 0]
    np.testing.assert_array_equal(targets[1].boxes[2, 1, 1], boxes[0])


def test_a_best_anchor_goes_before_an_earlier_object_s_second_choice():
    first = jnp.array([10.0, 20, 52, 58])  # best: 48×40; 32×60 is good enough (IoU 0.49)
    second = jnp.array([14.0, 10, 47, 68])  # best: 32×60
    valid = jnp.ones(2, bool)
    targets = encode_several(jnp.stack([first, second]), jnp.arange(2), valid, ANCHORS)
    np.testing.assert_array_equal(targets[1].boxes[2, 1], jnp.stack([first, second]))
    assert targets[1].collided == 0


@pytest.mark.parametrize(
    "box",
    [[10, 10, 10, 20], [20, 10, 10, 20], [-30, 0, -10, 20], [120, 80, 160, 130], [np.nan, 0, 9, 9]],
    ids=["no area", "flipped", "center left of it", "center beyond it", "not a number"],
)
def test_a_box_that_fits_no_cell_is_left_out(box):
    targets = encode_several(jnp.array([box], jnp.float32), LABELS[:1], VALID[:1], ANCHORS)
    assert not any(target.responsible.any() or target.collided for target in targets)


def test_a_center_on_the_far_edge_belongs_to_the_last_cell():
    box = jnp.array([[123.0, 90, 133, 102]])
    target = encode(box, LABELS[:1], VALID[:1], ANCHORS)[2]
    assert np.argwhere(target.responsible).tolist() == [[11, 15, 0]]


def test_padding_and_no_boxes_at_all_assign_nothing():
    padded = encode(BOXES, LABELS, np.zeros(3, bool), ANCHORS)
    none = encode(BOXES[:0], LABELS[:0], VALID[:0], ANCHORS)
    assert not any(target.responsible.any() for target in (*padded, *none))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_decoding_the_encoded_targets_gives_the_boxes_back(seed):
    rng = np.random.default_rng(seed)
    center, size = rng.uniform(10, 90, (4, 2)), rng.uniform(4, 60, (4, 2))
    boxes = np.concatenate([center - size / 2, center + size / 2], 1).astype(np.float32)
    targets = encode(boxes, np.zeros(4, np.int32), np.ones(4, bool), ANCHORS)
    count = 0
    for target, anchors, stride in zip(targets, ANCHORS, STRIDES, strict=True):
        for row, column, slot in np.argwhere(target.responsible):
            x0, y0, x1, y1 = np.asarray(target.boxes[row, column, slot], np.float64)
            logit = lambda p: np.log(p / (1 - p))
            raw = np.zeros((96 // stride, 128 // stride, 2, 6), np.float32)
            raw[row, column, slot, :4] = [
                logit(((x0 + x1) / 2 / stride) % 1 + 1e-12),
                logit(((y0 + y1) / 2 / stride) % 1 + 1e-12),
                np.log((x1 - x0) / anchors[slot, 0]),
                np.log((y1 - y0) / anchors[slot, 1]),
            ]
            decoded = ops.yolo_decode(
                jnp.asarray(raw.reshape(*raw.shape[:2], 12)), jnp.asarray(anchors), stride=stride
            )
            index = (row * raw.shape[1] + column) * 2 + slot
            np.testing.assert_allclose(decoded.boxes[index], [x0, y0, x1, y1], atol=1e-2)
            count += 1
    assert count + sum(int(target.collided) for target in targets) == 4


def test_shapes_that_do_not_fit_are_refused():
    encode_with = lambda anchors, **options: ops.yolo_encode(
        jnp.asarray(BOXES), jnp.asarray(LABELS), jnp.asarray(VALID), anchors, **OPTIONS | options
    )
    with pytest.raises(ValueError, match="raw must have num_anchors"):
        ops.yolo_decode(jnp.zeros((2, 2, 13)), jnp.ones((2, 2)), stride=8)
    with pytest.raises(ValueError, match="multiple of every stride"):
        jax.eval_shape(partial(encode_with, image_size=(90, 128)), ANCHORS)
    with pytest.raises(ValueError, match="anchors must be"):
        jax.eval_shape(encode_with, ANCHORS[0])


def test_encoding_a_batch_is_encoding_each_image():
    batch = np.stack([BOXES, BOXES + 3]), np.stack([LABELS, LABELS]), np.stack([VALID, ~VALID])
    together = jax.vmap(encode, in_axes=(0, 0, 0, None))(*batch, ANCHORS)
    for i in range(2):
        alone = encode(batch[0][i], batch[1][i], batch[2][i], ANCHORS)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[i], b), together, alone)
