"""Boxes: values by hand, inverse conversions, bounds and symmetries of the overlap measures."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lectures_jax import ops
from tests.contract import Contract

GOLDEN = np.load(Path(__file__).parent.parent / "golden" / "torchvision_ops.npz")
A = np.array([[0, 0, 4, 3], [2, 1, 9, 8], [5.5, 2, 7, 10]], np.float32)
B = np.array([[1, 1, 6, 4], [3, 2.5, 5, 6], [0, 0, 3, 4.5]], np.float32)
POINT = np.array([[2, 3, 2, 3], [0, 0, 0, 0], [1, 1, 1, 1]], np.float32)
LINE = np.array([[2, 3, 2, 8], [0, 0, 5, 0], [1, 1, 1, 2]], np.float32)
EDGES = [
    (A, A),  # identical
    (A, A + 100),  # disjoint
    (A, A + np.array([4, 0, 4, 0])),  # touching
    (A, POINT),
    (POINT, POINT),
    (POINT, LINE),
    (LINE, LINE),
    (A, A[:, [2, 3, 0, 1]]),  # corners swapped
]
EDGES = [tuple(np.float32(x) for x in pair) for pair in EDGES]
MEASURES = [ops.iou, ops.giou, ops.diou, ops.ciou]

CONTRACT = {
    "xyxy_to_cxcywh": Contract([(A,)], exact=True),
    "cxcywh_to_xyxy": Contract([(A,)]),
    "xyxy_to_xywh": Contract([(A,)], exact=True),
    "xywh_to_xyxy": Contract([(A,)], exact=True),
    "clip_boxes": Contract([(A,)], edges=[(POINT,)], op=partial(ops.clip_boxes, height=5, width=6)),
    "remove_small_boxes": Contract(
        [(A,)], differentiable=False, exact=True, op=partial(ops.remove_small_boxes, min_size=5)
    ),
    "masks_to_boxes": Contract([(GOLDEN["masks/masks"],)], differentiable=False, exact=True),
    "box_area": Contract([(A,)], edges=[(POINT,)]),
    "iou": Contract([(A, B)], edges=EDGES),
    "giou": Contract([(A, B), (A, A + 100)], edges=EDGES),
    "diou": Contract([(A, B), (A, A + 100)], edges=EDGES),
    "ciou": Contract([(A, B)], edges=EDGES),
    "pairwise_iou": Contract([(A, B[:2])], edges=EDGES[:1]),
}


def boxes_in(limit: float, count: int):
    """Valid boxes, the corners on a grid of quarters, so that float32 keeps them exactly."""
    corners = hnp.arrays(np.int32, (count, 4), elements=st.integers(0, int(4 * limit)))
    return corners.map(
        lambda c: (
            np.concatenate([np.minimum(c[:, :2], c[:, 2:]), np.maximum(c[:, :2], c[:, 2:])], 1)
            / np.float32(4)
        )
    ).map(np.float32)


def test_conversions_by_hand():
    box = jnp.array([[1.0, 2, 5, 10]])
    np.testing.assert_array_equal(ops.xyxy_to_cxcywh(box), [[3, 6, 4, 8]])
    np.testing.assert_array_equal(ops.xyxy_to_xywh(box), [[1, 2, 4, 8]])


@settings(max_examples=30, deadline=None)
@given(boxes_in(512, 5))
def test_conversions_there_and_back_change_nothing(boxes):
    boxes = jnp.asarray(boxes)
    np.testing.assert_array_equal(ops.cxcywh_to_xyxy(ops.xyxy_to_cxcywh(boxes)), boxes)
    np.testing.assert_array_equal(ops.xywh_to_xyxy(ops.xyxy_to_xywh(boxes)), boxes)


def test_clipping_moves_corners_to_the_border_of_the_image():
    boxes = jnp.array([[-3.0, -1, 5, 9], [2, 2, 3, 3], [20, 30, 40, 50]])
    expected = [[0, 0, 5, 6], [2, 2, 3, 3], [8, 6, 8, 6]]
    np.testing.assert_array_equal(ops.clip_boxes(boxes, height=6, width=8), expected)


def test_area_is_negative_where_one_pair_of_sides_is_swapped():
    boxes = jnp.array([[1.0, 1, 4, 3], [4, 1, 1, 3], [4, 3, 1, 1], [2, 2, 2, 9]])
    np.testing.assert_array_equal(ops.box_area(boxes), [6, -6, 6, 0])


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        # Intersection 1, union 7, hull 3×3 with diagonal² 18, distance² 2.
        (ops.iou, 1 / 7),
        (ops.giou, 1 / 7 - 2 / 9),
        (ops.diou, 1 / 7 - 2 / 18),
        (ops.ciou, 1 / 7 - 2 / 18),
    ],
)
def test_measures_of_two_shifted_squares_by_hand(measure, expected):
    value = measure(jnp.array([0.0, 0, 2, 2]), jnp.array([1.0, 1, 3, 3]))
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_aspect_term_by_hand():
    """A 4×4 and a 4×2 box with one center: IoU ½, v = 4/π² (atan 1 − atan 2)²."""
    v = 4 / np.pi**2 * (np.arctan(1) - np.arctan(2)) ** 2
    value = ops.ciou(jnp.array([0.0, 0, 4, 4]), jnp.array([0.0, 1, 4, 3]))
    np.testing.assert_allclose(value, 0.5 - v * v / (1 - 0.5 + v), rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(boxes_in(64, 4), boxes_in(64, 4))
def test_measures_are_symmetric_and_bounded(a, b):
    a, b = jnp.asarray(a), jnp.asarray(b)
    values = {f.__name__: np.asarray(f(a, b)) for f in MEASURES}
    for f in MEASURES:
        np.testing.assert_allclose(values[f.__name__], f(b, a), atol=1e-6)
    assert ((values["iou"] >= 0) & (values["iou"] <= 1)).all()
    for name in ("giou", "diou", "ciou"):
        assert (values[name] <= values["iou"] + 1e-6).all()
        assert (values[name] > -2).all()
    assert (values["giou"] > -1 - 1e-6).all()
    assert (values["diou"] > -1 - 1e-6).all()


@settings(max_examples=30, deadline=None)
@given(boxes_in(16, 3), boxes_in(16, 2))
def test_iou_equals_counting_the_quarter_pixels_that_both_cover(a, b):
    grid = (np.arange(64) + 0.5) / 4

    def cover(box):
        inside_x = (box[0] < grid) & (grid < box[2])
        inside_y = (box[1] < grid) & (grid < box[3])
        return inside_y[:, None] & inside_x[None, :]

    counted = [
        [(cover(p) & cover(q)).sum() / max((cover(p) | cover(q)).sum(), 1) for q in b] for p in a
    ]
    np.testing.assert_allclose(ops.pairwise_iou(jnp.asarray(a), jnp.asarray(b)), counted, atol=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_identical_boxes_measure_one_and_empty_ones_zero(measure):
    np.testing.assert_allclose(measure(jnp.asarray(A), jnp.asarray(A)), np.ones(3), rtol=1e-6)
    np.testing.assert_array_equal(measure(jnp.asarray(POINT), jnp.asarray(POINT)), np.zeros(3))


@pytest.mark.parametrize("measure", [ops.giou, ops.diou, ops.ciou])
def test_disjoint_boxes_are_drawn_together_where_iou_has_no_gradient(measure):
    a, b = jnp.array([0.0, 0, 2, 2]), jnp.array([5.0, 5, 7, 7])
    assert not jax.grad(ops.iou)(a, b).any()
    closer = a + 0.1 * jax.grad(measure)(a, b)
    assert measure(closer, b) > measure(a, b)


def test_float16_does_not_overflow_where_the_area_exceeds_65504():
    box = jnp.array([[0, 0, 1000, 1000]], jnp.float16)
    half = jnp.array([[0, 0, 1000, 500]], jnp.float16)
    np.testing.assert_array_equal(ops.iou(box, half), np.float16([0.5]))


def test_leading_axes_broadcast():
    values = ops.iou(jnp.asarray(A)[:, None], jnp.asarray(B)[None, :2])
    np.testing.assert_array_equal(values, ops.pairwise_iou(jnp.asarray(A), jnp.asarray(B[:2])))


def test_boxes_with_a_short_side_are_small():
    boxes = jnp.array([[1.0, 1, 4, 4], [0, 0, 9, 2.5], [4, 4, 1, 1], [0, 0, jnp.nan, 9]])
    keep = ops.remove_small_boxes(boxes, min_size=3)
    np.testing.assert_array_equal(keep, [True, False, False, False])


def test_small_boxes_and_the_boxes_of_masks_are_torchvision_s():
    keep = ops.remove_small_boxes(jnp.asarray(GOLDEN["small/boxes"]), min_size=12.5)
    np.testing.assert_array_equal(keep, GOLDEN["small/keep"])
    masks = jnp.asarray(GOLDEN["masks/masks"])
    for kind in (bool, jnp.int32):
        boxes = ops.masks_to_boxes(masks.astype(kind))
        np.testing.assert_array_equal(boxes, GOLDEN["masks/boxes"])


def test_the_boxes_of_masks_by_hand():
    masks = jnp.zeros((3, 4, 6), bool).at[0, 1:3, 2:5].set(True).at[1, 3, 0].set(True)
    expected = [[2, 1, 4, 2], [0, 3, 0, 3], [0, 0, 0, 0]]  # the last is empty
    np.testing.assert_array_equal(ops.masks_to_boxes(masks), expected)
