"""Laws of the scores of classifiers and of generated samples."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from lectures_jax import metrics
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, close, equal, law

COUNT, CLASSES = 12, 4
LOGITS = strategies.logits((COUNT, CLASSES))
LABELS, PREDICTED = (strategies.labels(COUNT, classes=CLASSES) for _ in range(2))
SCORES = strategies.reals((COUNT,))
POSITIVE = st.permutations([True] * 4 + [False] * (COUNT - 4)).map(np.array)
ORDER = st.permutations(range(COUNT))
A, B = strategies.reals((8, 3)), strategies.reals((8, 3))


class ClassificationTest(LawTest):
    @law(logits=LOGITS, labels=LABELS, order=ORDER)
    def test_accuracy_is_in_0_1_and_sees_no_order(self, logits, labels, order):
        order = jnp.array(order)
        accuracy = self.apply(metrics.accuracy, logits, labels)
        between(accuracy, 0, 1, atol=0)
        equal(self.apply(metrics.accuracy, logits[order], labels[order]), accuracy)

    @law(logits=LOGITS)
    def test_accuracy_of_the_highest_scores_is_1(self, logits):
        labels = jnp.argmax(logits, axis=1).astype(jnp.int32)
        equal(self.apply(metrics.accuracy, logits, labels), jnp.ones(()))
        equal(self.apply(metrics.accuracy, logits, (labels + 1) % CLASSES), jnp.zeros(()))

    @law(predicted=PREDICTED, labels=LABELS)
    def test_the_confusion_matrix_counts_each_example_once(self, predicted, labels):
        counts = self.apply(metrics.confusion_matrix, predicted, labels, num_classes=CLASSES)
        assert jnp.sum(counts) == COUNT
        equal(jnp.sum(counts, axis=1), jnp.bincount(labels, length=CLASSES))
        equal(jnp.sum(counts, axis=0), jnp.bincount(predicted, length=CLASSES))
        equal(jnp.trace(counts), jnp.sum(predicted == labels))

    @law(predicted=PREDICTED, labels=LABELS, order=ORDER)
    def test_exchanged_roles_transpose_the_confusion_matrix(self, predicted, labels, order):
        order = jnp.array(order)
        counts = self.apply(metrics.confusion_matrix, predicted, labels, num_classes=CLASSES)
        other = self.apply(
            metrics.confusion_matrix, labels[order], predicted[order], num_classes=CLASSES
        )
        equal(other, counts.T)

    @law(predicted=PREDICTED, labels=LABELS)
    def test_f1_lies_between_precision_and_recall(self, predicted, labels):
        counts = metrics.confusion_matrix(predicted, labels, num_classes=CLASSES)
        scores = self.apply(metrics.class_scores, counts)
        known = ~np.isnan(scores.precision) & ~np.isnan(scores.recall)
        precision, recall, f1 = (np.asarray(s)[known] for s in scores)
        between((precision, recall), 0, 1, atol=0)
        between(f1, np.minimum(precision, recall), np.maximum(precision, recall))

    @law(scores=SCORES, positive=POSITIVE, order=ORDER)
    def test_the_area_sees_only_the_order_of_the_scores(self, scores, positive, order):
        order = jnp.array(order)
        area = self.apply(metrics.roc_auc, scores, positive)
        equal(self.apply(metrics.roc_auc, 2 * scores[order], positive[order]), area)
        close(self.apply(metrics.roc_auc, -scores, positive), 1 - area, atol=1e-6)

    @law(labels=LABELS, order=ORDER)
    def test_shares_of_classes_sum_to_1(self, labels, order):
        shares = self.apply(metrics.class_histogram, labels, num_classes=CLASSES)
        between(shares, 0, 1, atol=0)
        close(jnp.sum(shares), jnp.ones(()))
        equal(self.apply(metrics.class_histogram, labels[jnp.array(order)], num_classes=4), shares)


class DistanceTest(LawTest):
    @law(a=A, b=B)
    def test_the_frechet_distance_is_symmetric_and_not_negative(self, a, b):
        distance = self.apply(metrics.frechet_distance, a, b)
        between(distance, 0, 1e4)
        close(self.apply(metrics.frechet_distance, b, a), distance, atol=1e-4)
        close(self.apply(metrics.frechet_distance, a[::-1], b), distance, atol=1e-4)

    @law(a=A, shift=strategies.reals((3,)))
    def test_the_frechet_distance_of_a_shifted_set_is_its_squared_length(self, a, shift):
        close(self.apply(metrics.frechet_distance, a, a), jnp.zeros(()), atol=1e-4)
        distance = self.apply(metrics.frechet_distance, a, a + shift[None])
        close(distance, jnp.sum(shift**2), rtol=1e-4, atol=1e-3)

    @law(a=A, b=B)
    def test_the_kernel_distance_is_symmetric_and_sees_no_order(self, a, b):
        distance = self.apply(metrics.kernel_distance, a, b)
        tolerance = {"rtol": 1e-4, "atol": 1e-2}
        close(self.apply(metrics.kernel_distance, b, a), distance, **tolerance)
        close(self.apply(metrics.kernel_distance, a[::-1], b), distance, **tolerance)

    @law(real=A, fake=B)
    def test_shares_of_the_manifold_are_in_0_1(self, real, fake):
        scores = self.apply(metrics.manifold_scores, real, fake, neighbors=2)
        between((scores.precision, scores.recall, scores.coverage), 0, 1, atol=0)
        between(scores.density, 0, 4)
        swapped = self.apply(metrics.manifold_scores, fake, real, neighbors=2)
        equal((swapped.precision, swapped.recall), (scores.recall, scores.precision))

    @law(real=A)
    def test_a_set_covers_itself(self, real):
        scores = self.apply(metrics.manifold_scores, real, real, neighbors=2)
        equal((scores.precision, scores.recall, scores.coverage), (jnp.ones(()),) * 3)
        assert scores.density >= 1

    @law(train=A, held_out=B)
    def test_copies_are_at_distance_0(self, train, held_out):
        held_out = held_out + 50
        ratio = lambda x: self.apply(metrics.nearest_neighbor_ratio, x, train, held_out)
        equal(ratio(train[::-1]), jnp.zeros(()))
        close(ratio(held_out), jnp.ones(()))

    @law(points=strategies.reals((COUNT, 2)), order=ORDER)
    def test_modes_and_good_samples_are_counted_whatever_the_order(self, points, order):
        modes = jnp.array([[0.0, 0], [5, 5], [-5, 5]])
        coverage = lambda x: self.apply(metrics.mode_coverage, x, modes, deviation=0.5)
        scores = coverage(points)
        between(scores.quality, 0, 1, atol=0)
        between(scores.modes, 0, 3, atol=0)
        assert (scores.modes > 0) == (scores.quality > 0)
        equal(coverage(points[jnp.array(order)]), scores)
        equal(coverage(jnp.tile(modes, (4, 1))), metrics.ModeCoverage(scores.modes * 0 + 3, 1.0))

    @law(images=strategies.images((2, 6, 6, 1)))
    def test_brightness_has_no_high_frequency_and_contrast_counts_squared(self, images):
        energy = self.apply(metrics.high_frequency_energy, images)
        between(energy, 0, 1)
        close(self.apply(metrics.high_frequency_energy, images + 1), energy, atol=1e-4)
        close(self.apply(metrics.high_frequency_energy, 2 * images), 4 * energy, atol=1e-4)


class LatentTest(LawTest):
    @law(mean=strategies.reals((8, 3), low=-0.2, high=0.2))
    def test_units_are_active_by_their_variance_over_the_images(self, mean):
        active = self.apply(metrics.active_units, mean)
        expected = np.sum(np.var(np.asarray(mean, np.float64), axis=0) > 0.01)
        near = np.any(np.abs(np.var(mean, axis=0) - 0.01) < 1e-4)
        assert near or active == expected
        assert self.apply(metrics.active_units, jnp.ones_like(mean)) == 0

    @law(
        eager=False,
        mean=A,
        log_var=strategies.reals((8, 3), low=-3, high=1),
        seed=st.integers(0, 99),
    )
    def test_codes_tell_at_most_the_logarithm_of_the_number_of_images(self, mean, log_var, seed):
        scores = self.apply(aggregate, jnp.uint32(seed), mean, log_var)
        between(scores.information, -1e3, np.log(8), atol=1e-3)

    @law(variants=False, points=strategies.reals((8, 3), low=-2, high=2))
    def test_the_dimension_is_that_of_the_turned_and_enlarged_points(self, points):
        turned = 2 * points[:, ::-1] * jnp.array([[1.0, -1.0, 1.0]])
        close(metrics.intrinsic_dimension(turned), metrics.intrinsic_dimension(points))

    @law(
        variants=False,
        codes=strategies.reals((COUNT, 3)),
        factors=strategies.labels((COUNT, 2), classes=3),
    )
    def test_scores_of_disentanglement_are_in_0_1_and_see_no_order_of_units(self, codes, factors):
        for score in (metrics.mutual_information_gap, metrics.separated_attributes):
            value = score(codes, factors)
            between(value, 0, 1)
            close(score(codes[:, ::-1], factors), value)
            close(score(codes, factors[:, ::-1]), value)


def aggregate(seed, mean, log_var):
    return metrics.aggregate_posterior(jax.random.key(seed), mean, log_var)
