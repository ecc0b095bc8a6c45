"""YOLO's two losses: by hand on one slot, against NumPy on a whole head, and their minima."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import losses, ops
from tests.contract import Contract

STRIDE = 8
ANCHORS = np.array([[10, 12], [20, 16], [30, 40]], np.float32)
BOXES = np.array([[3, 4, 14, 15], [9, 20, 27, 38], [22, 8, 46, 40]], np.float32)
LABELS = np.array([1, 0, 1], np.int32)


def target_of(boxes, labels, valid):
    """One head of 5×6 cells, three anchors, two classes."""
    return ops.yolo_encode(
        boxes,
        labels,
        valid,
        jnp.asarray(ANCHORS),
        image_size=(40, 48),
        strides=(STRIDE,),
        num_classes=2,
    )[0]


TARGET = jax.tree.map(np.asarray, jax.jit(target_of)(BOXES, LABELS, np.ones(3, bool)))
RAW = np.random.default_rng(0).normal(size=(5, 6, 21)).astype(np.float32)
FAR = np.where(RAW > 0, 20, -20).astype(np.float32)
PREDICTED = np.asarray(
    ops.yolo_boxes(jnp.asarray(RAW.reshape(5, 6, 3, 7)[..., :4]), jnp.asarray(ANCHORS), stride=8)
)
v1 = jax.jit(partial(losses.yolo_v1_style, stride=STRIDE))
v3 = jax.jit(partial(losses.yolo_v3, stride=STRIDE))


def hide(*channels):
    """Hides these numbers of the slots without object, and what the target has there."""

    def arguments(value, raw, target, anchors):
        empty = ~target.responsible[..., None]
        hidden = np.isin(np.arange(7), channels).reshape(1, 1, 1, 7)
        slots = jnp.where(empty & hidden, value, raw.reshape(5, 6, 3, 7))
        return slots.reshape(raw.shape), hide_target(value, target), anchors

    return arguments


def hide_target(value, target):
    empty = ~target.responsible[..., None]
    return target._replace(
        boxes=jnp.where(empty, value, target.boxes),
        classes=jnp.where(empty, value, target.classes),
        true_boxes=jnp.where(target.true_valid[:, None], target.true_boxes, value),
    )


CLASSES, SIZE = (5, 6), (0, 1, 2, 3)
HUGE = np.resize(np.array([90, -90, 1e4, -1e4, 30], np.float32), RAW.shape)
options = {"differentiable": (0,), "edges": [(FAR, TARGET, ANCHORS), (HUGE, TARGET, ANCHORS)]}
CONTRACT = {
    "yolo_v1_style": Contract(
        [(RAW, TARGET, ANCHORS)],
        op=partial(losses.yolo_v1_style, stride=STRIDE),
        hide=hide(*SIZE, *CLASSES),
        **options,
    ),
    "yolo_v3": Contract(
        [(RAW, TARGET, ANCHORS)],
        op=partial(losses.yolo_v3, stride=STRIDE),
        hide=hide(*CLASSES),
        **options,
    ),
    "yolo_v3_terms": Contract(
        [(RAW, TARGET, ANCHORS)],
        op=partial(losses.yolo_v3_terms, stride=STRIDE),
        hide=hide(*CLASSES),
        **options,
    ),
    "yolo_overlap": Contract(
        [(RAW, TARGET, ANCHORS)],
        op=partial(losses.yolo_overlap, stride=STRIDE),
        hide=hide(*SIZE, 4, *CLASSES),
        **options,
    ),
    "ignored_slots": Contract(
        [(PREDICTED, TARGET)],
        op=partial(losses.ignored_slots, ignore_threshold=0.5),
        differentiable=False,
    ),
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def bce(logit, y):
    return np.logaddexp(0, logit) - y * logit


def one_cell(box):
    """A head of a single cell with one anchor of 10×20 and one class; the image is 32×32."""
    return ops.yolo_encode(
        jnp.array([box], jnp.float32),
        jnp.array([0]),
        jnp.array([True]),
        jnp.array([[10.0, 20.0]]),
        image_size=(32, 32),
        strides=(32,),
        num_classes=1,
    )[0]


def test_version_3_on_one_slot_by_hand():
    target = one_cell([3, 8, 13, 28])  # center (8, 18) = (1/4, 9/16) cells, exactly the anchor
    raw = jnp.array([[[0.0, 0, 1, 2, 0, 0]]])
    # Weight 2 − 10·20 / 32²; x, y, objectness and class at logit 0 cost log 2 whatever the target.
    expected = (2 - 200 / 1024) * (2 * np.log(2) + 0.5 * (1 + 4)) + 2 * np.log(2)
    loss = losses.yolo_v3(raw, target, jnp.array([[10.0, 20]]), stride=32)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_the_printed_loss_on_one_slot_by_hand():
    target = one_cell([3, 8, 13, 28])
    raw = jnp.array([[[0.0, 0, 2 * np.log(2), 0, 0, 0]]])  # width four times, its root twice
    xy = (1 / 2 - 1 / 4) ** 2 + (1 / 2 - 9 / 16) ** 2
    wh = 10 / 32  # (2√w − √w)² = w
    expected = 5 * (xy + wh) + (1 / 2) ** 2 + (1 / 2) ** 2
    loss = losses.yolo_v1_style(raw, target, jnp.array([[10.0, 20]]), stride=32)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_an_empty_image_costs_objectness_only():
    target = jax.jit(target_of)(BOXES, LABELS, np.zeros(3, bool))
    objectness = RAW.reshape(5, 6, 3, 7)[..., 4]
    np.testing.assert_allclose(v3(RAW, target, ANCHORS), bce(objectness, 0).sum(), rtol=1e-5)
    expected = 0.5 * (sigmoid(objectness) ** 2).sum()
    np.testing.assert_allclose(v1(RAW, target, ANCHORS), expected, rtol=1e-5)


def numpy_loss(raw, *, version, ignore_threshold=0.7):
    """Slot by slot in float64, as one would write it on the board."""
    total = 0.0
    slots = raw.astype(np.float64).reshape(5, 6, 3, 7)
    for row, column, anchor in np.ndindex(5, 6, 3):
        x, y, w, h, objectness, *classes = slots[row, column, anchor]
        classes, (aw, ah) = np.array(classes), ANCHORS[anchor].astype(np.float64)
        if not TARGET.responsible[row, column, anchor]:
            center = np.array([sigmoid(x) + column, sigmoid(y) + row]) * STRIDE
            size = np.array([aw * np.exp(w), ah * np.exp(h)])
            low, high = center - size / 2, center + size / 2
            best = 0.0
            for box in BOXES.astype(np.float64):
                sides = np.minimum(high, box[2:]) - np.maximum(low, box[:2])
                inter = max(sides[0], 0) * max(sides[1], 0)
                best = max(best, inter / (size.prod() + (box[2:] - box[:2]).prod() - inter))
            if version == 1:
                total += 0.5 * sigmoid(objectness) ** 2
            elif best <= ignore_threshold:
                total += bce(objectness, 0)
            continue
        x0, y0, x1, y1 = TARGET.boxes[row, column, anchor].astype(np.float64)
        tx, ty = (x0 + x1) / 2 / STRIDE - column, (y0 + y1) / 2 / STRIDE - row
        one_hot = TARGET.classes[row, column, anchor]
        if version == 1:
            roots = np.sqrt([aw * np.exp(w) / 48, ah * np.exp(h) / 40])
            true = np.sqrt([(x1 - x0) / 48, (y1 - y0) / 40])
            coord = (sigmoid(x) - tx) ** 2 + (sigmoid(y) - ty) ** 2 + ((roots - true) ** 2).sum()
            total += 5 * coord + (sigmoid(objectness) - 1) ** 2
            total += ((sigmoid(classes) - one_hot) ** 2).sum()
        else:
            weight = 2 - (x1 - x0) * (y1 - y0) / (48 * 40)
            tw, th = np.log((x1 - x0) / aw), np.log((y1 - y0) / ah)
            coord = bce(x, tx) + bce(y, ty) + 0.5 * ((w - tw) ** 2 + (h - th) ** 2)
            total += weight * coord + bce(objectness, 1) + bce(classes, one_hot).sum()
    return total


def test_a_whole_head_equals_numpy():
    assert TARGET.responsible.sum() == 3
    np.testing.assert_allclose(v1(RAW, TARGET, ANCHORS), numpy_loss(RAW, version=1), rtol=1e-5)
    np.testing.assert_allclose(v3(RAW, TARGET, ANCHORS), numpy_loss(RAW, version=3), rtol=1e-5)
    loose = jax.jit(partial(losses.yolo_v3, stride=STRIDE, ignore_threshold=0.2))(
        RAW, TARGET, ANCHORS
    )
    expected = numpy_loss(RAW, version=3, ignore_threshold=0.2)
    assert expected < numpy_loss(RAW, version=3) - 0.1
    np.testing.assert_allclose(loose, expected, rtol=1e-5)


@pytest.mark.parametrize("loss", [v1, v3])
def test_the_truth_has_no_gradient_in_position_and_size(loss):
    raw = np.array(RAW.reshape(5, 6, 3, 7))
    for row, column, anchor in np.argwhere(TARGET.responsible):
        x0, y0, x1, y1 = TARGET.boxes[row, column, anchor]
        position = np.array([(x0 + x1) / 2 / STRIDE - column, (y0 + y1) / 2 / STRIDE - row])
        position = np.clip(position, 1e-6, 1 - 1e-6)
        size = np.array([x1 - x0, y1 - y0]) / ANCHORS[anchor]
        raw[row, column, anchor, :4] = [*np.log(position / (1 - position)), *np.log(size)]
    gradient = jax.grad(loss)(jnp.asarray(raw.reshape(5, 6, 21)), TARGET, ANCHORS)
    np.testing.assert_allclose(gradient.reshape(5, 6, 3, 7)[..., :4], 0, atol=1e-5)


def test_ignored_slots_do_not_lower_the_loss():
    """The threshold decides from the boxes, but no gradient reaches them through it."""
    target = jax.jit(target_of)(BOXES, LABELS, np.ones(3, bool))
    gradient = jax.grad(v3)(jnp.asarray(RAW), target, ANCHORS).reshape(5, 6, 3, 7)
    assert np.all(gradient[~TARGET.responsible][:, :4] == 0)
    assert np.any(gradient[TARGET.responsible][:, :4] != 0)


def test_overlap_is_one_minus_ciou_of_the_responsible_slots():
    responsible = TARGET.responsible
    ciou = ops.ciou(jnp.asarray(PREDICTED[responsible]), jnp.asarray(TARGET.boxes[responsible]))
    overlap = jax.jit(partial(losses.yolo_overlap, stride=STRIDE))
    np.testing.assert_allclose(overlap(RAW, TARGET, ANCHORS), np.sum(1 - ciou), rtol=1e-5)
    gradient = jax.grad(overlap)(jnp.asarray(RAW), TARGET, ANCHORS).reshape(5, 6, 3, 7)
    assert np.all(gradient[~responsible] == 0)
    assert np.all(gradient[..., 4:] == 0)


@pytest.mark.parametrize("loss", [losses.yolo_overlap, losses.yolo_v3, losses.yolo_v1_style])
@pytest.mark.parametrize("number", [90.0, 1e20])
def test_a_size_beyond_all_numbers_in_an_empty_slot_has_no_gradient(loss, number):
    empty = ~TARGET.responsible
    slots = RAW.reshape(5, 6, 3, 7).copy()
    slots[..., 2:4][empty] = number

    target = jax.tree.map(jnp.asarray, TARGET)

    def total(raw):
        return loss(raw, target, jnp.asarray(ANCHORS), stride=STRIDE)

    value, gradient = jax.value_and_grad(total)(jnp.asarray(slots.reshape(RAW.shape)))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient.reshape(slots.shape)[..., 2:4][empty], 0)


@pytest.mark.parametrize("number", [11.0, 90.0, 1e20, -90.0])
def test_the_overlap_of_a_size_beyond_all_numbers_is_none(number):
    slots = RAW.reshape(5, 6, 3, 7).copy()
    slots[..., 2:4][TARGET.responsible] = number
    overlap = jax.jit(jax.value_and_grad(partial(losses.yolo_overlap, stride=STRIDE)))
    value, gradient = overlap(slots.reshape(RAW.shape), TARGET, ANCHORS)
    count = np.sum(TARGET.responsible)
    assert count < float(value) < 2 * count  # no intersection, and centers apart
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "loss", [losses.yolo_v3, losses.yolo_v3_terms, losses.yolo_overlap, losses.yolo_v1_style]
)
def test_a_head_of_one_class_is_not_compared_with_a_target_of_two(loss):
    with pytest.raises(ValueError, match=r"target.classes must be floats of .*3, 1\), .*3, 2\)"):
        loss(jnp.zeros((5, 6, 18)), TARGET, jnp.asarray(ANCHORS), stride=STRIDE)
    with pytest.raises(ValueError, match=r"target.boxes must be floats of shape \(5, 5, 3, 4\)"):
        loss(jnp.zeros((5, 5, 21)), TARGET, jnp.asarray(ANCHORS), stride=STRIDE)


def test_what_a_target_has_in_empty_slots_and_padding_ignores_nothing():
    padded = jax.jit(target_of)(BOXES, LABELS, np.array([True, True, False]))
    ignored = partial(losses.ignored_slots, jnp.asarray(PREDICTED), ignore_threshold=0.5)
    for value in (1e30, np.nan):
        np.testing.assert_array_equal(ignored(hide_target(value, padded)), ignored(padded))


def test_boxes_of_another_head_are_not_compared_with_a_target():
    with pytest.raises(ValueError, match=r"target.boxes must be floats of shape \(5, 6, 1, 4\)"):
        losses.ignored_slots(jnp.asarray(PREDICTED[:, :, :1]), TARGET, ignore_threshold=0.5)
