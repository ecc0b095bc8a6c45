"""Laws of anchors, and of YOLO's way from boxes to targets and back."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from lectures_jax import losses, ops
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, close, equal, law

SIZES = strategies.sizes(20)
ANCHORS = jnp.array([[[6.0, 9], [14, 12]], [[24, 40], [60, 44]]])
STRIDES, SIDE, OBJECTS, CLASSES = (8, 16), 64, 4, 3
BOXES = strategies.boxes(OBJECTS, size=SIDE, kinds=("plain", "plain", "copy", "nested"))
LABELS = strategies.labels(OBJECTS, classes=CLASSES)
VALID = strategies.masks(OBJECTS)
RAW = strategies.reals((4, 4, 2 * (5 + CLASSES)), low=-6, high=6)


def offsets_of(target, anchors, stride):
    """The raw numbers of a head whose boxes are those of a target."""
    form = ops.xyxy_to_cxcywh(target.boxes)
    height, width = target.boxes.shape[:2]
    column, row = jnp.meshgrid(jnp.arange(width), jnp.arange(height))
    share = form[..., :2] / stride - jnp.stack([column, row], -1)[:, :, None]
    share = jnp.clip(share, 1e-6, 1 - 1e-6)
    size = jnp.where(target.responsible[..., None], form[..., 2:], 1)
    ratio = size / anchors.reshape(1, 1, *anchors.shape)
    return jnp.concatenate([jnp.log(share) - jnp.log1p(-share), jnp.log(ratio)], -1)


def anchors_with_few_steps(seed, sizes):
    return ops.kmeans_anchors(jax.random.key(seed), sizes, k=3, iterations=20)


def equal_with_and_without_jit(seed, sizes):
    return ops.kmeans_anchors(jax.random.key(seed), sizes, k=5, iterations=0)


class AnchorsTest(LawTest):
    @law(sizes=SIZES, anchors=strategies.sizes(3))
    def test_the_best_anchor_s_iou_is_in_0_1_and_1_for_an_anchor(self, sizes, anchors):
        between(self.apply(ops.best_anchor_iou, sizes, anchors), 0, 1)
        close(self.apply(ops.best_anchor_iou, anchors, anchors), jnp.ones(3))

    @law(sizes=SIZES, anchors=strategies.sizes(3))
    def test_iou_of_shapes_is_symmetric_and_free_of_units(self, sizes, anchors):
        overlap = self.apply(ops.shape_iou, sizes, anchors)
        equal(overlap, self.apply(ops.shape_iou, anchors, sizes).T)
        equal(overlap, self.apply(ops.shape_iou, 4 * sizes, 4 * anchors))
        equal(overlap, self.apply(ops.shape_iou, sizes[:, ::-1], anchors[:, ::-1]))

    @law(eager=False, sizes=SIZES, seed=st.integers(0, 2**31 - 1))
    def test_anchors_come_by_rising_area_and_within_the_sizes(self, sizes, seed):
        anchors = self.apply(anchors_with_few_steps, jnp.uint32(seed), sizes)
        area = anchors[:, 0] * anchors[:, 1]
        assert jnp.all(area[:-1] <= area[1:])
        close(jnp.clip(anchors, sizes.min(axis=0)[None], sizes.max(axis=0)[None]), anchors)

    @law(eager=False, share=0.2, sizes=SIZES, seed=st.integers(0, 2**31 - 1))
    def test_anchors_are_the_same_with_and_without_jit(self, sizes, seed):
        anchors = self.apply(equal_with_and_without_jit, jnp.uint32(seed), sizes)
        with jax.disable_jit():
            expected = equal_with_and_without_jit(jnp.uint32(seed), sizes)
        close(anchors, expected)


class TargetsTest(LawTest):
    def encode(self, *arrays, anchor_iou=None):
        return self.apply(
            ops.yolo_encode,
            *(*arrays, ANCHORS),
            image_size=(SIDE, SIDE),
            strides=STRIDES,
            num_classes=CLASSES,
            anchor_iou=anchor_iou,
        )

    @law(boxes=BOXES, labels=LABELS, valid=VALID)
    def test_decoding_what_was_encoded_gives_the_boxes(self, boxes, labels, valid):
        for target, anchors, stride in zip(
            self.encode(boxes, labels, valid), ANCHORS, STRIDES, strict=True
        ):
            offsets = offsets_of(target, anchors, stride)
            decoded = self.apply(ops.yolo_boxes, offsets, anchors, stride=stride)
            mask = target.responsible[..., None]
            close(jnp.where(mask, decoded, 0), jnp.where(mask, target.boxes, 0), atol=2e-3)

    @law(boxes=BOXES, labels=LABELS, valid=VALID)
    def test_each_object_has_a_slot_or_has_collided(self, boxes, labels, valid):
        targets = self.encode(boxes, labels, valid)
        assigned = sum(jnp.sum(t.responsible) + jnp.sum(t.collided) for t in targets)
        assert assigned == jnp.sum(valid)

    @law(boxes=BOXES, labels=LABELS, valid=VALID)
    def test_a_slot_s_cell_holds_the_center_of_its_box(self, boxes, labels, valid):
        for target, stride in zip(self.encode(boxes, labels, valid), STRIDES, strict=True):
            for row, column, anchor in np.argwhere(np.asarray(target.responsible)):
                box = np.asarray(target.boxes)[row, column, anchor]
                center = (box[:2] + box[2:]) / (2 * stride)
                corner = np.array([column, row])
                between(center, corner, corner + 1, atol=0)

    @law(boxes=BOXES, labels=LABELS, valid=VALID)
    def test_each_responsible_slot_has_one_class_and_the_others_none(self, boxes, labels, valid):
        for target in self.encode(boxes, labels, valid, anchor_iou=0.3):
            equal(jnp.sum(target.classes, axis=-1), target.responsible.astype(jnp.float32))

    @law(boxes=BOXES, labels=LABELS, valid=VALID)
    def test_more_anchors_only_add_slots(self, boxes, labels, valid):
        best, good = (
            self.encode(boxes, labels, valid),
            self.encode(boxes, labels, valid, anchor_iou=0.3),
        )
        for few, many in zip(best, good, strict=True):
            assert jnp.all(few.responsible <= many.responsible)

    @law(raw=RAW)
    def test_decoded_boxes_have_their_center_in_their_cell(self, raw):
        boxes = self.apply(ops.yolo_decode, raw, ANCHORS[1], stride=16).boxes.reshape(4, 4, 2, 4)
        center = (boxes[..., :2] + boxes[..., 2:]) / 32
        corner = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1)[:, :, None]
        between(center, corner, corner + 1, atol=1e-3)
        assert jnp.all(boxes[..., 2:] > boxes[..., :2])


class LossTest(LawTest):
    def targets(self, boxes, labels, valid):
        options = {"image_size": (64, 64), "strides": (16,), "num_classes": CLASSES}
        return ops.yolo_encode(boxes, labels, valid, ANCHORS[1], **options)[0]

    @law(eager=False, raw=RAW, boxes=BOXES, labels=LABELS, valid=VALID)
    def test_the_terms_of_yolo_v3_are_not_negative_and_add_up(self, raw, boxes, labels, valid):
        target = self.targets(boxes, labels, valid)
        terms = self.apply(losses.yolo_v3_terms, raw, target, ANCHORS[1], stride=16)
        between(tuple(terms), 0, 1e6)
        total = self.apply(losses.yolo_v3, raw, target, ANCHORS[1], stride=16)
        close(total, terms.box + terms.objectness + terms.classes)
        if not jnp.any(valid):
            equal(terms.box + terms.classes, jnp.zeros(()))

    @law(eager=False, raw=RAW, boxes=BOXES, labels=LABELS, valid=VALID)
    def test_yolo_v1_is_not_negative_and_linear_in_its_weights(self, raw, boxes, labels, valid):
        target = self.targets(boxes, labels, valid)
        loss = [
            self.apply(losses.yolo_v1_style, raw, target, ANCHORS[1], stride=16, coord=coord)
            for coord in (0.0, 1.0, 2.0)
        ]
        between(loss[0], 0, 1e6)
        between(loss[1], loss[0], 1e6)
        close(loss[2] - loss[1], loss[1] - loss[0], rtol=1e-3, atol=1e-3)

    @law(eager=False, raw=RAW, boxes=BOXES, labels=LABELS, valid=VALID)
    def test_the_overlap_loss_is_between_0_and_2_per_object(self, raw, boxes, labels, valid):
        target = self.targets(boxes, labels, valid)
        loss = self.apply(losses.yolo_overlap, raw, target, ANCHORS[1], stride=16)
        between(loss, 0, 3 * jnp.sum(target.responsible))

    @law(eager=False, raw=RAW, boxes=BOXES, labels=LABELS, valid=VALID)
    def test_no_responsible_slot_is_ignored_and_a_lower_threshold_ignores_more(
        self, raw, boxes, labels, valid
    ):
        target = self.targets(boxes, labels, valid)
        predicted = ops.yolo_boxes(raw.reshape(4, 4, 2, -1)[..., :4], ANCHORS[1], stride=16)
        few, many, most = (
            self.apply(losses.ignored_slots, predicted, target, ignore_threshold=limit)
            for limit in (0.5, 0.1, 0.0)
        )
        assert jnp.all(few <= many)
        assert jnp.all(many <= most)
        assert not jnp.any(most & target.responsible)
