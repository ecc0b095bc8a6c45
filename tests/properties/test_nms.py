"""Laws of suppression."""

import jax.numpy as jnp
import numpy as np

from lectures_jax import ops
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, equal, law

COUNT, THRESHOLD = 12, 0.4
BOXES, SCORES = strategies.boxes(COUNT, size=16), strategies.scores(COUNT)
DISTINCT, LABELS = strategies.distinct_scores(COUNT), strategies.labels(COUNT, classes=3)


def iou(a, b):
    """Of two boxes, in float32 as the search computes it."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), np.float32(0))
    shared = sides[0] * sides[1]
    whole = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
    return shared / whole if whole > 0 else np.float32(0)


def greedy(boxes, scores, labels, threshold=THRESHOLD):
    """The definition of suppression: the best box that is left, again and again."""
    boxes, labels = np.asarray(boxes), np.asarray(labels)
    kept: list[int] = []
    for row in np.argsort(-np.asarray(scores), kind="stable"):
        rivals = [other for other in kept if labels[other] == labels[row]]
        if all(iou(boxes[row], boxes[other]) <= threshold for other in rivals):
            kept.append(int(row))
    return kept


class SuppressionTest(LawTest):
    def keep(self, *arrays, **options):
        options = {"max_outputs": COUNT, "iou_threshold": THRESHOLD} | options
        return self.apply(ops.nms, *arrays, **options)

    def rows(self, *arrays, **options):
        selection = self.keep(*arrays, **options)
        return np.asarray(selection.indices)[np.asarray(selection.valid)].tolist()

    @law(boxes=BOXES, scores=SCORES, labels=LABELS)
    def test_it_keeps_what_the_definition_keeps(self, boxes, scores, labels):
        assert self.rows(boxes, scores, labels) == greedy(boxes, scores, labels)

    @law(boxes=BOXES, scores=SCORES)
    def test_without_labels_all_boxes_are_of_one_class(self, boxes, scores):
        assert self.rows(boxes, scores) == greedy(boxes, scores, np.zeros(COUNT))

    @law(boxes=BOXES, scores=SCORES, labels=LABELS)
    def test_no_two_of_a_class_overlap_above_the_threshold(self, boxes, scores, labels):
        kept, corners = self.rows(boxes, scores, labels), np.asarray(boxes)
        for place, row in enumerate(kept):
            for other in kept[:place]:
                assert labels[row] != labels[other] or iou(corners[row], corners[other]) <= 0.4

    @law(boxes=BOXES, scores=SCORES, labels=LABELS)
    def test_what_is_dropped_overlaps_a_better_one_of_its_class(self, boxes, scores, labels):
        kept, corners = self.rows(boxes, scores, labels), np.asarray(boxes)
        for row in set(range(COUNT)) - set(kept):
            rivals = [o for o in kept if labels[o] == labels[row] and scores[o] >= scores[row]]
            assert any(iou(corners[row], corners[other]) > 0.4 for other in rivals)

    @law(boxes=BOXES, scores=SCORES)
    def test_the_best_box_comes_first_and_scores_fall(self, boxes, scores):
        kept = self.keep(boxes, scores)
        assert kept.indices[0] == jnp.argmax(scores)
        assert jnp.all(kept.scores[:-1] >= kept.scores[1:])
        equal(kept.scores, jnp.where(kept.valid, scores[kept.indices], 0))

    @law(boxes=BOXES, scores=SCORES)
    def test_padding_comes_last_and_has_no_row(self, boxes, scores):
        kept = self.keep(boxes, scores)
        assert jnp.all(kept.valid[:-1] >= kept.valid[1:])
        equal(kept.valid, kept.indices >= 0)
        assert kept.exact

    @law(boxes=BOXES, scores=SCORES)
    def test_suppression_of_what_was_kept_keeps_all(self, boxes, scores):
        kept = self.keep(boxes, scores)
        again = self.keep(boxes[kept.indices], jnp.where(kept.valid, kept.scores, -jnp.inf))
        equal(again.valid, kept.valid)
        equal(jnp.where(again.valid, again.indices, 0), jnp.arange(COUNT) * kept.valid)

    @law(boxes=BOXES, scores=DISTINCT, labels=LABELS, order=DISTINCT)
    def test_the_order_of_boxes_does_not_matter(self, boxes, scores, labels, order):
        order = jnp.argsort(order)
        kept = self.rows(boxes, scores, labels)
        assert order[jnp.array(self.rows(boxes[order], scores[order], labels[order]))].tolist() == (
            kept
        )

    @law(boxes=BOXES, scores=DISTINCT)
    def test_fewer_outputs_are_the_first_ones(self, boxes, scores):
        few, all_rows = self.keep(boxes, scores, max_outputs=3), self.keep(boxes, scores)
        equal(few.indices, all_rows.indices[:3])

    @law(boxes=BOXES, scores=SCORES)
    def test_a_cut_that_reports_to_be_exact_changes_nothing(self, boxes, scores):
        cut = self.keep(boxes, scores, max_outputs=3, candidates=3)
        if cut.exact:
            equal(cut.indices, self.keep(boxes, scores, max_outputs=3).indices)

    @law(boxes=BOXES, scores=SCORES)
    def test_only_scores_above_the_threshold_are_kept(self, boxes, scores):
        kept = self.keep(boxes, scores, score_threshold=0.5)
        assert jnp.all(kept.scores[kept.valid] > 0.5)
        equal(jnp.any(kept.valid), jnp.any(scores > 0.5))


class DistanceSuppressionTest(LawTest):
    def keep(self, *arrays):
        kept = self.apply(ops.diou_nms, *arrays, max_outputs=COUNT, diou_threshold=THRESHOLD)
        return np.asarray(kept.indices)[np.asarray(kept.valid)].tolist()

    @law(boxes=BOXES, scores=SCORES, labels=LABELS)
    def test_no_two_of_a_class_have_a_diou_above_the_threshold(self, boxes, scores, labels):
        kept = self.keep(boxes, scores, labels)
        diou = np.asarray(ops.diou(boxes[:, None], boxes[None]))
        assert kept[0] == jnp.argmax(scores)
        for place, row in enumerate(kept):
            for other in kept[:place]:
                assert labels[row] != labels[other] or diou[row, other] <= THRESHOLD + 1e-6
        for row in set(range(COUNT)) - set(kept):
            rivals = [o for o in kept if labels[o] == labels[row] and scores[o] >= scores[row]]
            assert any(diou[row, other] > THRESHOLD - 1e-6 for other in rivals)


class SoftSuppressionTest(LawTest):
    def take(self, boxes, scores, **options):
        return self.apply(ops.soft_nms, boxes, scores, max_outputs=COUNT, **options)

    @law(boxes=BOXES, scores=SCORES)
    def test_no_score_rises_and_they_come_falling(self, boxes, scores):
        taken = self.take(boxes, scores)
        between(taken.scores, 0, np.where(taken.valid, np.asarray(scores)[taken.indices], 0))
        assert jnp.all(taken.scores[:-1] >= taken.scores[1:])

    @law(boxes=BOXES, scores=SCORES)
    def test_the_best_box_keeps_its_score(self, boxes, scores):
        taken = self.take(boxes, scores)
        equal(taken.scores[0], jnp.max(scores))

    @law(boxes=BOXES, scores=DISTINCT)
    def test_no_box_is_taken_twice(self, boxes, scores):
        taken = self.take(boxes, scores)
        rows = taken.indices[taken.valid].tolist()
        assert len(set(rows)) == len(rows)

    @law(scores=DISTINCT)
    def test_boxes_far_apart_keep_their_scores(self, scores):
        corner = 10 * jnp.arange(COUNT, dtype=jnp.float32)[:, None]
        taken = self.take(jnp.concatenate([corner, corner, corner + 5, corner + 5], 1), scores)
        equal(taken.scores, jnp.sort(scores)[::-1])
