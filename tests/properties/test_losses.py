"""Laws of losses."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from lectures_jax import losses, ops
from lectures_jax.metrics import effective_sample_size
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, close, equal, gradient, law

LOGITS, LABELS = strategies.logits((6, 4)), strategies.labels(6, classes=4)
SCORE, OTHER = strategies.logits((6,)), strategies.logits((6,))
TARGET = strategies.probabilities((6,))
X, Y = strategies.reals((3, 5)), strategies.reals((3, 5))


class ClassificationTest(LawTest):
    @law(logits=LOGITS, labels=LABELS, shift=strategies.reals((6, 1)))
    def test_cross_entropy_is_not_negative_and_ignores_a_shift(self, logits, labels, shift):
        loss = self.apply(losses.cross_entropy, logits, labels)
        between(loss, 0, 3e4)
        shifted = self.apply(losses.cross_entropy, logits + shift, labels)
        close(shifted, loss, rtol=1e-5, atol=2e-2)

    @law(logits=LOGITS)
    def test_the_probabilities_of_all_labels_sum_to_1(self, logits):
        total = sum(
            jnp.exp(-self.apply(losses.cross_entropy, logits, jnp.full(6, label)))
            for label in range(4)
        )
        close(total, jnp.ones(6))

    @law(logits=LOGITS, labels=LABELS)
    def test_the_gradient_of_cross_entropy_is_bounded_and_sums_to_0(self, logits, labels):
        grads = self.apply(gradient(losses.cross_entropy), logits, labels)
        between(grads, -1, 1)
        close(jnp.sum(grads, axis=1), jnp.zeros(6))

    @law(logits=SCORE, target=TARGET)
    def test_binary_cross_entropy_is_symmetric_and_not_negative(self, logits, target):
        loss = self.apply(losses.binary_cross_entropy, logits, target)
        between(loss, 0, 1.1e4)
        mirrored = self.apply(losses.binary_cross_entropy, -logits, 1 - target)
        close(mirrored, loss, rtol=1e-5, atol=2e-3)

    @law(logits=SCORE, target=TARGET)
    def test_focal_loss_is_at_most_the_cross_entropy_and_symmetric(self, logits, target):
        loss = self.apply(losses.sigmoid_focal_loss, logits, target, alpha=None)
        whole = self.apply(losses.binary_cross_entropy, logits, target)
        between(loss, 0, whole + 1e-6 * whole)
        mirrored = self.apply(losses.sigmoid_focal_loss, -logits, 1 - target, alpha=None)
        close(mirrored, loss, rtol=1e-4, atol=2e-3)
        entropy = self.apply(losses.sigmoid_focal_loss, logits, target, alpha=None, gamma=0.0)
        close(entropy, whole)
        grads = self.apply(gradient(losses.sigmoid_focal_loss), logits, target, gamma=0.5)
        between(grads, -1e5, 1e5)

    @law(logits=SCORE, target=TARGET)
    def test_the_gradient_of_binary_cross_entropy_is_what_is_missing(self, logits, target):
        grads = self.apply(gradient(losses.binary_cross_entropy), logits, target)
        close(grads, jax.nn.sigmoid(logits) - target)

    @law(logits=SCORE, target=TARGET)
    def test_binary_cross_entropy_keeps_its_digits_where_it_is_small(self, logits, target):
        x, y = np.float64(logits), np.float64(target)
        expected = y * np.logaddexp(0, -x) + (1 - y) * np.logaddexp(0, x)
        loss = self.apply(losses.binary_cross_entropy, logits, target)
        close(loss, np.float32(expected), rtol=1e-5, atol=1e-37)
        certain = jnp.round(target)
        x, y = -jnp.abs(logits), np.float64(certain)
        x = x * (1 - 2 * certain)  # on the right side, where the gradient is small too
        grads = self.apply(gradient(losses.binary_cross_entropy), x, certain)
        x = np.float64(x)
        missing = (1 - y) * np.exp(-np.logaddexp(0, -x)) - y * np.exp(-np.logaddexp(0, x))
        close(grads, np.float32(missing), rtol=1e-5, atol=1e-37)

    @law(logits=SCORE, positive=strategies.masks(6))
    def test_it_is_the_cross_entropy_of_two_classes(self, logits, positive):
        two = jnp.stack([jnp.zeros_like(logits), logits], axis=1)
        expected = self.apply(losses.cross_entropy, two, positive.astype(jnp.int32))
        target = positive.astype(jnp.float32)
        got = self.apply(losses.binary_cross_entropy, logits, target)
        close(got, expected, rtol=1e-5, atol=2e-3)


class RegressionTest(LawTest):
    @law(x=X, y=Y)
    def test_the_squared_error_is_a_squared_distance(self, x, y):
        loss = self.apply(losses.squared_error, x, y)
        between(loss, 0, 1e4)
        equal(loss, self.apply(losses.squared_error, y, x))
        equal(self.apply(losses.squared_error, x, x), jnp.zeros(3))
        close(self.apply(losses.squared_error, 2 * x, 2 * y), 4 * loss)


class AdversarialTest(LawTest):
    @law(real=SCORE, fake=OTHER)
    def test_the_discriminator_s_loss_is_that_of_a_classifier(self, real, fake):
        one, zero = jnp.ones(6), jnp.zeros(6)
        expected = losses.binary_cross_entropy(real, one) + losses.binary_cross_entropy(fake, zero)
        loss = self.apply(losses.discriminator_minimax, real, fake)
        between(loss, 0, 3e4)
        close(loss, expected, rtol=1e-5, atol=2e-3)

    @law(fake=SCORE)
    def test_the_generators_have_the_same_fixed_point(self, fake):
        minimax = self.apply(losses.generator_minimax, -fake)
        close(self.apply(losses.generator_non_saturating, fake), -minimax)

    @law(real=SCORE, fake=OTHER)
    def test_the_game_of_minimax_is_a_sum_of_zero(self, real, fake):
        certain = jnp.full(6, 1e4)
        of_fake = self.apply(losses.discriminator_minimax, certain, fake)
        close(of_fake + self.apply(losses.generator_minimax, fake), jnp.zeros(6))
        of_real = self.apply(losses.discriminator_minimax, real, -certain)
        close(of_real, self.apply(losses.generator_non_saturating, real))

    @law(real=SCORE, fake=OTHER)
    def test_the_hinge_is_not_negative_and_0_beyond_its_margin(self, real, fake):
        between(self.apply(losses.discriminator_hinge, real, fake), 0, 3e4)
        right = self.apply(losses.discriminator_hinge, 1 + jnp.abs(real), -1 - jnp.abs(fake))
        equal(right, jnp.zeros(6))

    @law(real=SCORE, fake=OTHER)
    def test_wasserstein_s_players_want_the_opposite(self, real, fake):
        loss = self.apply(losses.discriminator_wasserstein, real, fake)
        equal(loss, -self.apply(losses.discriminator_wasserstein, fake, real))
        close(loss + self.apply(losses.generator_wasserstein, fake), -real, atol=5e-3)

    @law(real=strategies.logits((6,), limit=100), fake=strategies.logits((6,), limit=100))
    def test_relativistic_losses_differ_by_the_difference_of_scores(self, real, fake):
        loss = self.apply(losses.discriminator_relativistic, real, fake)
        other = self.apply(losses.discriminator_relativistic, fake, real)
        between((loss, other), 0, 300)
        close(loss - other, fake - real, atol=1e-3)

    @law(weights=strategies.reals((5,)), x=X)
    def test_the_penalty_of_a_linear_score_is_its_squared_length(self, weights, x):
        expected = jnp.full(3, jnp.sum(weights**2))
        close(self.apply(linear_r1, weights, x), expected, atol=1e-3)

    @law(weights=strategies.reals((5,)), x=X, y=Y, seed=st.integers(0, 2**31 - 1))
    def test_the_gradient_penalty_is_0_for_a_linear_score_of_length_1(self, weights, x, y, seed):
        unit = weights.at[0].set(jnp.abs(weights[0]) + 1)
        unit = unit / jnp.linalg.norm(unit)
        close(self.apply(linear_penalty, jnp.uint32(seed), unit, x, y), jnp.zeros(3))
        doubled = self.apply(linear_penalty, jnp.uint32(seed), 2 * unit, x, y)
        close(doubled, jnp.ones(3), atol=1e-4)


def linear_r1(weights, x):
    return losses.r1_penalty(lambda x: x @ weights, x)


def linear_penalty(seed, weights, real, fake):
    return losses.gradient_penalty(jax.random.key(seed), lambda x: x @ weights, real, fake)


class LikelihoodTest(LawTest):
    @law(z=X, log_det=strategies.reals((3,)))
    def test_a_flow_s_likelihood_adds_the_log_determinant(self, z, log_det):
        nll = self.apply(losses.flow_nll, z, log_det)
        close(nll, -ops.standard_normal_log_prob(z) - log_det, atol=1e-4)

    @law(nll=strategies.reals((6,), low=-100, high=100))
    def test_bits_per_dimension_count_levels_and_nats(self, nll):
        bits = self.apply(losses.bits_per_dim, nll, dims=4, levels=16)
        close(bits, nll / (4 * jnp.log(2.0)) + 4, atol=1e-4)

    @law(x=X, mean=Y, log_var=strategies.reals((), low=-4, high=4))
    def test_the_gaussian_reconstruction_is_least_at_the_data(self, x, mean, log_var):
        loss = self.apply(losses.gaussian_reconstruction, x, mean, log_var)
        least = self.apply(losses.gaussian_reconstruction, x, x, log_var)
        assert jnp.all(loss >= least)
        expected = losses.squared_error(x, mean) * jnp.exp(-log_var) / 2
        close(loss - least, expected, rtol=1e-4, atol=1e-2)

    @law(x=strategies.probabilities((3, 5)), logits=strategies.logits((3, 5)))
    def test_the_bernoulli_reconstruction_is_a_sum_over_pixels(self, x, logits):
        loss = self.apply(losses.bernoulli_reconstruction, x, logits)
        between(loss, 0, 6e4)
        close(loss, jnp.sum(losses.binary_cross_entropy(logits, x), axis=1))

    @law(
        mean=strategies.reals((5, 1), low=-1, high=2),
        log_var=strategies.reals((), low=-4, high=2),
    )
    def test_the_probabilities_of_all_levels_of_a_pixel_sum_to_1(self, mean, log_var):
        levels = [jnp.full((5, 1), level / 3) for level in range(4)]
        nll = [self.apply(discretized, x, mean, log_var) for x in levels]
        between(nll, 0, 1e4)
        close(sum(jnp.exp(-n) for n in nll), jnp.ones(5), atol=1e-4)

    @law(log_weights=strategies.logits((3, 5), limit=100))
    def test_the_bound_lies_between_the_mean_and_the_largest_weight(self, log_weights):
        bound = self.apply(losses.iwae_bound, log_weights)
        between(bound, jnp.mean(log_weights, axis=1), jnp.max(log_weights, axis=1), atol=1e-3)
        close(self.apply(losses.iwae_bound, log_weights[:, ::-1]), bound, atol=1e-4)

    @law(log_weights=strategies.logits((3, 5), limit=100), shift=strategies.reals((3, 1)))
    def test_a_factor_of_all_weights_adds_to_the_bound_and_not_to_their_number(
        self, log_weights, shift
    ):
        bound = self.apply(losses.iwae_bound, log_weights)
        shifted = self.apply(losses.iwae_bound, log_weights + shift)
        close(shifted, bound + shift[:, 0], atol=1e-3)
        size = self.apply(effective_sample_size, log_weights)
        between(size, 1, 5, atol=1e-4)
        close(self.apply(effective_sample_size, log_weights + shift), size, rtol=1e-3)


def discretized(x, mean, log_var):
    return losses.discretized_gaussian_reconstruction(x, mean, log_var, levels=4)


class ReferenceTest(LawTest):
    @law(logits=LOGITS, labels=LABELS)
    def test_cross_entropy_is_numpy_s_in_double_precision(self, logits, labels):
        rows, own = np.asarray(logits, np.float64), (np.arange(6), np.asarray(labels))
        others = rows - rows[own][:, None]
        others[own] = -np.inf
        rest = np.logaddexp.reduce(others, axis=1)
        loss = self.apply(losses.cross_entropy, logits, labels)
        # The differences of the scores are rounded, so the digits of the loss are relative.
        close(loss, np.float32(np.logaddexp(0, rest)), rtol=1e-4, atol=1e-37)
