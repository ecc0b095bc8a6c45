"""Laws of Gaussians and of latent spaces."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from hypothesis import strategies as st

from lectures_jax import losses, ops
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, close, equal, law

X, MEAN = strategies.reals((4, 5)), strategies.reals((4, 5))
LOG_VAR = strategies.reals((4, 5), low=-3, high=3)
SHARE = strategies.probabilities((4,))


def sample(seed, mean, log_var):
    return ops.reparameterize(jax.random.key(seed), mean, log_var)


class GaussianTest(LawTest):
    @law(x=X, mean=MEAN, log_var=LOG_VAR)
    def test_the_density_is_highest_at_the_mean(self, x, mean, log_var):
        peak = self.apply(ops.gaussian_log_prob, mean, mean, log_var)
        assert jnp.all(self.apply(ops.gaussian_log_prob, x, mean, log_var) <= peak)

    @law(x=X, mean=MEAN, log_var=LOG_VAR)
    def test_the_density_is_scipy_s(self, x, mean, log_var):
        x, mean, log_var = x / 4, mean / 4, log_var / 3
        x64, mean64, log64 = (np.asarray(v, np.float64) for v in (x, mean, log_var))
        expected = scipy.stats.norm.logpdf(x64, mean64, np.exp(log64 / 2)).sum(-1)
        got = self.apply(ops.gaussian_log_prob, x, mean, log_var)
        close(got, expected.astype(np.float32), atol=1e-4)

    @law(x=X)
    def test_the_standard_normal_has_mean_0_and_variance_1(self, x):
        zero = jnp.zeros_like(x)
        expected = self.apply(ops.gaussian_log_prob, x, zero, zero)
        close(self.apply(ops.standard_normal_log_prob, x), expected, rtol=1e-5, atol=1e-4)

    @law(seed=st.integers(0, 2**31 - 1), mean=MEAN, log_var=LOG_VAR)
    def test_a_sample_is_a_shifted_and_stretched_standard_one(self, seed, mean, log_var):
        seed, zero = jnp.uint32(seed), jnp.zeros_like(mean)
        noise = self.apply(sample, seed, zero, zero)
        expected = mean + jnp.sqrt(jnp.exp(log_var)) * noise
        close(self.apply(sample, seed, mean, log_var), expected, atol=1e-4)

    @law(mean=MEAN, log_var=LOG_VAR)
    def test_the_divergence_from_the_prior_is_not_negative(self, mean, log_var):
        between(self.apply(losses.gaussian_kl, mean, log_var), 0, 1e4)
        close(self.apply(losses.gaussian_kl, 0 * mean, 0 * log_var), jnp.zeros(4))

    @law(mean=MEAN, log_var=LOG_VAR)
    def test_the_divergence_is_the_difference_of_mean_log_densities(self, mean, log_var):
        # Of N(m, s²) against N(0, 1), by the entropy and the cross-entropy of Gaussians.
        entropy = jnp.sum(0.5 * (jnp.log(2 * jnp.pi) + 1 + log_var), axis=-1)
        crossed = jnp.sum(0.5 * (jnp.log(2 * jnp.pi) + jnp.exp(log_var) + mean**2), axis=-1)
        close(self.apply(losses.gaussian_kl, mean, log_var), crossed - entropy, atol=1e-3)


class WalkTest(LawTest):
    @law(a=X, b=X, t=SHARE)
    def test_a_line_has_its_ends_and_is_the_same_backwards(self, a, b, t):
        zero, one = jnp.zeros(4), jnp.ones(4)
        close(self.apply(ops.lerp, a, b, zero), a)
        close(self.apply(ops.lerp, a, b, one), b)
        close(self.apply(ops.lerp, a, b, t), self.apply(ops.lerp, b, a, 1 - t), atol=1e-4)

    @law(a=X, b=X, t=SHARE)
    def test_an_arc_has_its_ends_and_is_the_same_backwards(self, a, b, t):
        zero, one = jnp.zeros(4), jnp.ones(4)
        close(self.apply(ops.slerp, a, b, zero), a, atol=1e-3)
        close(self.apply(ops.slerp, a, b, one), b, atol=1e-3)
        angle = jnp.sum(a * b, -1) / (jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1))
        clear = (jnp.abs(angle) < 0.99)[:, None]
        there, back = self.apply(ops.slerp, a, b, t), self.apply(ops.slerp, b, a, 1 - t)
        close(jnp.where(clear, there, 0), jnp.where(clear, back, 0), atol=1e-3)

    @law(a=X, b=X, t=SHARE)
    def test_an_arc_keeps_the_length(self, a, b, t):
        # Never nearly opposite: of these there is no single arc.
        a = jnp.concatenate([jnp.abs(a) + 0.1, jnp.zeros((4, 1))], 1)
        b = jnp.concatenate([jnp.abs(b) + 0.1, jnp.ones((4, 1))], 1)
        a, b = (v / jnp.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
        length = jnp.linalg.norm(self.apply(ops.slerp, a, b, t), axis=-1)
        close(length, jnp.ones(4), atol=1e-4)


class MapTest(LawTest):
    @law(kernel=strategies.reals((3, 4)), bias=strategies.reals((4,)), z=strategies.reals((12, 3)))
    def test_a_planted_map_is_recovered(self, kernel, bias, z):
        z = z / 10 + jnp.asarray(np.random.default_rng(0).standard_normal((12, 3)), jnp.float32)
        target = z @ kernel + bias[None]
        fit = self.apply(ops.fit_latent_map, z, target)
        close(tuple(fit), (kernel, bias), atol=1e-3)
        close(self.apply(ops.apply_latent_map, fit, z), target, atol=1e-3)

    @law(kernel=strategies.reals((3, 4)), z=strategies.reals((12, 3)))
    def test_a_ridge_makes_the_map_smaller(self, kernel, z):
        target = z @ kernel
        plain, small = (
            self.apply(ops.fit_latent_map, z, target, ridge=ridge, intercept=False).kernel
            for ridge in (0.5, 50.0)
        )
        between(jnp.linalg.norm(small), 0, jnp.linalg.norm(plain) + 1e-4)

    @law(matrix=strategies.invertible_matrices(3), z=strategies.reals((12, 3)))
    def test_a_planted_rotation_is_recovered(self, matrix, z):
        rotation = jnp.linalg.qr(matrix)[0]
        z = z / 10 + jnp.asarray(np.random.default_rng(0).standard_normal((12, 3)), jnp.float32)
        fit = self.apply(ops.fit_rotation, z, z @ rotation + 2)
        close(fit.kernel, rotation, atol=1e-3)
        close(fit.bias, jnp.full(3, 2.0), atol=1e-3)

    @law(source=strategies.reals((6, 3)), target=strategies.reals((6, 3)))
    def test_a_rotation_stretches_nothing(self, source, target):
        kernel = self.apply(ops.fit_rotation, source, target).kernel
        close(kernel @ kernel.T, jnp.eye(3), atol=1e-4)


class DirectionTest(LawTest):
    @law(z=strategies.reals((8, 3)), present=strategies.divided_masks(8))
    def test_the_way_to_an_attribute_is_the_way_back_reversed(self, z, present):
        there = self.apply(ops.mean_direction, z, present)
        close(self.apply(ops.mean_direction, z, ~present), -there)
        close(self.apply(ops.mean_direction, z + 3, present), there, atol=1e-4)

    @law(z=strategies.reals((8, 3)), present=strategies.divided_masks(8))
    def test_fisher_s_direction_has_length_1_and_turns_with_the_attribute(self, z, present):
        z = z + 4 * jnp.asarray(np.random.default_rng(0).standard_normal((8, 3)), jnp.float32)
        there = self.apply(ops.fisher_direction, z, present, ridge=0.1)
        close(jnp.linalg.norm(there), jnp.ones(()))
        close(self.apply(ops.fisher_direction, z, ~present, ridge=0.1), -there, atol=1e-3)

    @law(z=strategies.reals((8, 3)), present=strategies.divided_masks(8))
    def test_the_mean_direction_is_between_the_means(self, z, present):
        chosen = np.asarray(present)
        expected = np.asarray(z)[chosen].mean(axis=0) - np.asarray(z)[~chosen].mean(axis=0)
        close(self.apply(ops.mean_direction, z, present), expected, atol=1e-4)
        equal(self.apply(ops.mean_direction, 0 * z, present), jnp.zeros(3))
