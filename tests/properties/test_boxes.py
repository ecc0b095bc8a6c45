"""Laws of boxes and of their overlaps."""

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from lectures_jax import losses, ops
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, close, equal, gradient, law

A, B = strategies.boxes(6), strategies.boxes(6)
REAL = strategies.boxes(6, kinds=("plain", "copy", "touching", "huge"))
MASKS = strategies.masks((3, 7, 9))
ANGLES = strategies.reals((6, 1), low=-180, high=180)
NESTED = strategies.boxes(6, kinds=("plain",))


def self_iou(boxes):
    return ops.iou(boxes, boxes)


class OverlapTest(LawTest):
    @law(a=A, b=B)
    def test_iou_is_in_0_1_and_symmetric(self, a, b):
        overlap = self.apply(ops.pairwise_iou, a, b)
        between(overlap, 0, 1)
        equal(overlap, self.apply(ops.pairwise_iou, b, a).T)

    @law(a=REAL)
    def test_iou_of_a_box_with_itself_is_1(self, a):
        equal(self.apply(self_iou, a), jnp.ones(6))

    @law(a=A, b=B, shift=strategies.labels(2, classes=100), power=st.integers(-3, 3))
    def test_iou_ignores_where_the_origin_is_and_how_long_a_pixel(self, a, b, shift, power):
        moved_origin = jnp.tile(shift.astype(jnp.float32), 2)[None]
        expected = self.apply(ops.iou, a, b)
        equal(self.apply(ops.iou, a + moved_origin, b + moved_origin), expected)
        equal(self.apply(ops.iou, a * 2.0**power, b * 2.0**power), expected)

    @law(a=A, b=B)
    def test_iou_is_the_shared_area_over_the_whole(self, a, b):
        corners = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
        low = np.maximum(corners[0][..., :2], corners[1][..., :2])
        high = np.minimum(corners[0][..., 2:], corners[1][..., 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=-1)
        areas = [np.prod(c[..., 2:] - c[..., :2], axis=-1) for c in corners]
        whole = areas[0] + areas[1] - shared
        expected = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
        close(self.apply(ops.pairwise_iou, a, b), expected.astype(np.float32))

    @law(a=A, b=B)
    def test_giou_is_at_most_iou_and_at_least_minus_1(self, a, b):
        overlap = self.apply(ops.giou, a, b)
        between(overlap, -1, self.apply(ops.iou, a, b))
        equal(overlap, self.apply(ops.giou, b, a))

    @law(a=A, b=B)
    def test_diou_is_at_most_iou_and_at_least_minus_1(self, a, b):
        overlap = self.apply(ops.diou, a, b)
        between(overlap, -1, self.apply(ops.iou, a, b))
        equal(overlap, self.apply(ops.diou, b, a))

    @law(a=A, b=B)
    def test_ciou_is_at_most_diou_and_symmetric(self, a, b):
        overlap = self.apply(ops.ciou, a, b)
        between(overlap, -2, self.apply(ops.diou, a, b))
        close(overlap, self.apply(ops.ciou, b, a))

    @law(a=REAL)
    def test_giou_diou_and_ciou_of_a_box_with_itself_are_1(self, a):
        for measure in (ops.giou, ops.diou, ops.ciou):
            close(self.apply(measure, a, a), jnp.ones(6))

    @law(a=NESTED, b=NESTED)
    def test_giou_of_boxes_that_share_nothing_is_negative(self, a, b):
        beyond = jnp.array([[65.0, 0, 65, 0]])
        equal(self.apply(ops.iou, a, b + beyond), jnp.zeros(6))
        assert jnp.all(self.apply(ops.giou, a, b + beyond) < 0)

    @law(a=A, b=B)
    def test_gradients_of_overlaps_are_finite(self, a, b):
        for measure in (ops.iou, ops.giou, ops.diou, ops.ciou):
            between(self.apply(gradient(measure), a, b), -1e6, 1e6)

    @law(a=A, b=B)
    def test_losses_of_boxes_are_bounded_symmetric_and_have_finite_gradients(self, a, b):
        for loss, most in ((losses.giou_loss, 2), (losses.diou_loss, 2), (losses.ciou_loss, 3)):
            value = self.apply(loss, a, b)
            between(value, 0, most)
            close(self.apply(loss, b, a), value)
            between(self.apply(gradient(loss), a, b), -1e6, 1e6)


class FormsTest(LawTest):
    @law(a=A)
    def test_center_and_size_give_the_corners_back(self, a):
        form = self.apply(ops.xyxy_to_cxcywh, a)
        equal(self.apply(ops.cxcywh_to_xyxy, form), a)
        equal(form[:, 2] * form[:, 3], self.apply(ops.box_area, a))

    @law(a=A)
    def test_corner_and_size_give_the_corners_back(self, a):
        form = self.apply(ops.xyxy_to_xywh, a)
        equal(self.apply(ops.xywh_to_xyxy, form), a)
        equal(form[:, :2], a[:, :2])

    @law(a=NESTED, angle=ANGLES)
    def test_the_corners_of_a_rotated_box_give_it_back(self, a, angle):
        form = jnp.concatenate([a, angle], axis=1)
        there = self.apply(ops.box_convert, form, source="cxcywhr", target="xyxyxyxy")
        back = self.apply(ops.box_convert, there, source="xyxyxyxy", target="cxcywhr")
        close(back[:, :4], form[:, :4], atol=1e-3)
        turn = jnp.deg2rad(back[:, 4:] - angle)  # -180 and 180 are one turn
        between(jnp.cos(turn), 1 - 1e-4, 1)

    @law(a=NESTED)
    def test_a_rotated_box_that_is_not_turned_is_the_upright_one(self, a):
        form = jnp.concatenate([a, jnp.zeros((6, 1))], axis=1)
        corners = self.apply(ops.box_convert, form, source="xywhr", target="xyxyxyxy")
        upright = self.apply(ops.box_convert, a, source="xywh", target="xyxy")
        equal(corners[:, jnp.array([0, 1, 4, 5])], upright)

    @law(masks=MASKS)
    def test_the_box_of_a_mask_is_the_smallest_around_its_pixels(self, masks):
        boxes = self.apply(ops.masks_to_boxes, masks)
        for mask, box in zip(np.asarray(masks), np.asarray(boxes), strict=True):
            rows, columns = np.nonzero(mask)
            if rows.size:
                equal(box, np.float32([columns.min(), rows.min(), columns.max(), rows.max()]))
            else:
                equal(box, np.zeros(4, np.float32))

    @law(a=A)
    def test_what_is_not_small_has_at_least_the_area_of_the_least_square(self, a):
        keep = self.apply(ops.remove_small_boxes, a, min_size=4)
        area = self.apply(ops.box_area, a)
        assert bool(jnp.all(jnp.where(keep, area >= 16, True)))

    @law(a=A)
    def test_clipping_twice_is_clipping_once_and_stays_in_the_image(self, a):
        inside = self.apply(ops.clip_boxes, a - 10, height=30, width=40)
        equal(inside, np.clip(np.asarray(a) - 10, 0, np.array([40, 30, 40, 30], np.float32)))
        equal(self.apply(ops.clip_boxes, inside, height=30, width=40), inside)

    @law(a=strategies.boxes(6, size=32))
    def test_clipping_takes_area_away_only_where_a_box_leaves_the_image(self, a):
        area = self.apply(ops.box_area, a)
        clipped = self.apply(ops.box_area, self.apply(ops.clip_boxes, a, height=30, width=40))
        between(clipped, 0, np.asarray(area), atol=0)
        within = jnp.all((a >= 0) & (a <= jnp.array([[40, 30, 40, 30]])), axis=1)
        equal(jnp.where(within, clipped, 0), jnp.where(within, area, 0))
