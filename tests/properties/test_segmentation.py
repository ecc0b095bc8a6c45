"""Laws of the losses and scores of masks."""

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import losses, metrics
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, close, equal, law

SHAPE, CLASSES = (2, 4, 3), 3
LOGITS = strategies.logits((*SHAPE, CLASSES))
LABELS, PREDICTED = (strategies.labels(SHAPE, classes=CLASSES) for _ in range(2))
MASK, VALID = strategies.masks(SHAPE), strategies.masks(SHAPE)
SCORE = strategies.logits(SHAPE)
COUNTS = strategies.labels((CLASSES, CLASSES), classes=1000)
OF_CLASSES = (
    losses.pixel_cross_entropy,
    losses.pixel_focal,
    losses.multiclass_dice,
    losses.multiclass_jaccard,
)


class LossTest(LawTest):
    @law(logits=LOGITS, labels=LABELS, valid=VALID, share=0.5)
    def test_they_are_not_negative_and_see_neither_order_nor_what_is_ignored(
        self, logits, labels, valid
    ):
        labels = jnp.where(valid, labels, 255)
        other = jnp.where(valid[..., None], logits, 0)
        for loss in OF_CLASSES:
            value = self.apply(loss, logits, labels)
            between(value, 0, 3e4)
            turned = self.apply(loss, other[:, ::-1, ::-1], labels[:, ::-1, ::-1])
            close(turned, value, rtol=1e-4)

    @law(logits=LOGITS, labels=LABELS)
    def test_focal_is_at_most_the_cross_entropy(self, logits, labels):
        whole = self.apply(losses.pixel_cross_entropy, logits, labels)
        between(self.apply(losses.pixel_focal, logits, labels), 0, whole + 1e-5 * whole)

    @law(logits=SCORE, mask=MASK, valid=VALID)
    def test_overlaps_are_in_0_1_and_equal_losses_of_the_part_that_counts(
        self, logits, mask, valid
    ):
        for loss in (losses.dice, losses.jaccard):
            value = self.apply(loss, logits, mask, valid)
            between(value, 0, 1)
            least = jnp.where(valid, logits, -1e4)  # outside of the mask for sure
            close(self.apply(loss, least, mask & valid), value)

    @law(mask=MASK, other=VALID)
    def test_the_jaccard_of_certain_masks_follows_from_their_dice(self, mask, other):
        logits = jnp.where(other, 1e4, -1e4)
        share = 1 - self.apply(losses.dice, logits, mask)
        close(1 - self.apply(losses.jaccard, logits, mask), share / (2 - share))


class ScoreTest(LawTest):
    @law(counts=COUNTS)
    def test_iou_follows_from_dice_and_means_are_in_0_1(self, counts):
        iou, dice = (self.apply(score, counts) for score in (metrics.class_iou, metrics.class_dice))
        equal(iou < 0, dice < 0)
        close(jnp.where(iou < 0, 0, iou), jnp.where(dice < 0, 0, dice / (2 - dice)))
        for score in (metrics.mean_iou, metrics.mean_dice, metrics.mean_accuracy):
            between(self.apply(score, counts), 0, 1)

    @law(counts=COUNTS)
    def test_the_names_of_the_classes_do_not_matter_and_one_that_is_absent_changes_nothing(
        self, counts
    ):
        value = self.apply(metrics.mean_iou, counts)
        close(self.apply(metrics.mean_iou, counts[::-1, ::-1]), value)
        close(self.apply(metrics.mean_iou, jnp.pad(counts, (0, 2))), value)

    @law(predicted=PREDICTED, labels=LABELS)
    def test_a_perfect_prediction_scores_1_and_nothing_else_does(self, predicted, labels):
        counts = self.apply(metrics.pixel_confusion, predicted, labels, num_classes=CLASSES)
        right = bool(np.array_equal(predicted, labels))
        for score in (metrics.mean_iou, metrics.pixel_accuracy, metrics.mean_dice):
            assert (self.apply(score, counts) == 1) == right

    @law(predicted=PREDICTED, labels=LABELS, share=0.5)
    def test_boundary_f1_is_symmetric_and_grows_with_the_tolerance(self, predicted, labels):
        options = {"num_classes": CLASSES}
        first = self.apply(metrics.boundary_f1, predicted, labels, tolerance=1.0, **options)
        jax.tree.map(
            close,
            self.apply(metrics.boundary_f1, labels, predicted, tolerance=1.0, **options),
            first,
        )
        between(first.numerator, 0, first.denominator + 1e-6)
        wider = self.apply(metrics.boundary_f1, predicted, labels, tolerance=2.0, **options)
        between(wider.numerator, first.numerator - 1e-6, jnp.inf)
        own = self.apply(metrics.boundary_f1, labels, labels, tolerance=1.0, **options)
        close(own.numerator, own.denominator)
