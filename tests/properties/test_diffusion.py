"""Laws of noise schedules, of the parts of a noisy image, of samplers and of embeddings."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from jax.tree_util import Partial

from lectures_jax import losses, ops
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, close, equal, law

X0, NOISE = strategies.reals((3, 2, 2), low=-2, high=2), strategies.reals((3, 2, 2), low=-3, high=3)
RATIO = strategies.signal_ratios((3,))
SCHEDULE = strategies.noise_schedules(8)
STEPS = st.integers(1, 60)


def is_falling(alpha_bar):
    alpha_bar = np.asarray(alpha_bar)
    between(alpha_bar, 0, 1, atol=0)
    assert np.all(alpha_bar[1:] < alpha_bar[:-1])


class ScheduleTest(LawTest):
    @law(variants=False, steps=STEPS, first=st.floats(1e-5, 0.1), last=st.floats(1e-5, 0.3))
    def test_the_linear_schedule_falls(self, steps, first, last):
        alpha_bar = ops.linear_schedule(steps, first=first, last=last)
        is_falling(alpha_bar)
        close(np.asarray(alpha_bar)[0], np.float32(1 - first))

    @law(variants=False, steps=STEPS, offset=st.floats(0, 0.1), max_beta=st.floats(0.5, 0.999))
    def test_the_cosine_schedule_falls_and_no_step_loses_too_much(self, steps, offset, max_beta):
        alpha_bar = ops.cosine_schedule(steps, offset=offset, max_beta=max_beta)
        is_falling(alpha_bar)
        ratio = np.asarray(alpha_bar)
        assert np.all(ratio[1:] >= ratio[:-1] * (1 - max_beta) * (1 - 1e-4))

    @law(alpha_bar=SCHEDULE)
    def test_a_stretched_schedule_ends_at_0_and_starts_as_before(self, alpha_bar):
        stretched = self.apply(ops.zero_terminal_snr, alpha_bar)
        assert stretched[-1] == 0
        close(stretched[0], alpha_bar[0])
        is_falling(stretched)

    @law(ratio=RATIO)
    def test_the_log_snr_gives_the_ratio_back(self, ratio):
        level = self.apply(ops.log_snr, ratio)
        close(1 / (1 + jnp.exp(-level)), ratio)
        close(self.apply(ops.log_snr, 1 - ratio), -level, atol=1e-4)

    @law(alpha_bar=SCHEDULE, steps=st.integers(1, 8))
    def test_a_sampler_s_path_rises_from_the_noisiest_level_to_1(self, alpha_bar, steps):
        path = self.apply(ops.sampling_schedule, alpha_bar, steps=steps)
        assert path.shape == (steps + 1,)
        assert path[0] == alpha_bar[-1]
        assert path[-1] == 1
        is_falling(path[::-1])


class NoisyImageTest(LawTest):
    @law(x0=X0, noise=NOISE, ratio=RATIO)
    def test_the_noise_gives_the_image_back(self, x0, noise, ratio):
        x_t = self.apply(ops.add_noise, x0, noise, ratio)
        close(self.apply(ops.predict_x0, x_t, noise, ratio), x0, atol=1e-4)

    @law(x0=X0, noise=NOISE, ratio=RATIO)
    def test_the_image_gives_the_noise_back(self, x0, noise, ratio):
        x_t = self.apply(ops.add_noise, x0, noise, ratio)
        close(self.apply(ops.noise_from_x0, x_t, x0, ratio), noise, atol=1e-4)

    @law(x0=X0, noise=NOISE, ratio=strategies.probabilities((3,)))
    def test_the_velocity_gives_both_back_at_every_level(self, x0, noise, ratio):
        x_t = self.apply(ops.add_noise, x0, noise, ratio)
        v = self.apply(ops.velocity, x0, noise, ratio)
        close(tuple(self.apply(ops.denoised_from_velocity, x_t, v, ratio)), (x0, noise), atol=1e-4)

    @law(x0=X0, noise=NOISE, ratio=strategies.probabilities((3,)))
    def test_image_and_velocity_have_the_length_of_image_and_noise(self, x0, noise, ratio):
        x_t = self.apply(ops.add_noise, x0, noise, ratio)
        v = self.apply(ops.velocity, x0, noise, ratio)
        close(x_t**2 + v**2, x0**2 + noise**2, atol=1e-4)

    @law(ratio=strategies.probabilities((3,)))
    def test_variance_is_preserved(self, ratio):
        one, zero = jnp.ones((3, 2, 2)), jnp.zeros((3, 2, 2))
        signal = self.apply(ops.add_noise, one, zero, ratio)
        spread = self.apply(ops.add_noise, zero, one, ratio)
        close(signal**2 + spread**2, one)

    @law(x0=X0, predicted=X0, ratio=strategies.reals((3,), low=0.1, high=0.9), noise=NOISE)
    def test_the_three_errors_tell_the_same(self, x0, predicted, ratio, noise):
        x_t = ops.add_noise(x0, noise, ratio)
        error = self.apply(losses.x0_prediction, x0, predicted)
        noises = [ops.noise_from_x0(x_t, x, ratio) for x in (x0, predicted)]
        velocities = [
            ops.velocity(x, n, ratio) for x, n in zip((x0, predicted), noises, strict=True)
        ]
        in_noise = self.apply(losses.noise_prediction, *noises)
        in_velocity = self.apply(losses.velocity_prediction, *velocities)
        close(in_noise, ratio / (1 - ratio) * error, rtol=1e-3, atol=1e-3)
        close(in_velocity, error / (1 - ratio), rtol=1e-3, atol=1e-3)

    @law(ratio=strategies.probabilities((3,)))
    def test_weights_by_snr_are_capped_and_belong_together(self, ratio):
        weights = self.apply(losses.min_snr_weights, ratio, gamma=5.0)
        between(weights.x0, 0, 5, atol=1e-4)
        between((weights.noise, weights.velocity), 0, 1)
        close(weights.noise * ratio, weights.x0 * (1 - ratio), atol=1e-4)
        close(weights.velocity, weights.x0 * (1 - ratio), atol=1e-4)


def point_noise(x0, x_t, alpha_bar):
    """The exact noise where all data are one image."""
    return ops.noise_from_x0(x_t, x0, alpha_bar)


def ddim(x0, noise, path):
    return ops.solve_ddim(Partial(point_noise, x0), noise, path)[0][-1]


def heun(x0, noise, path):
    return ops.solve_heun(Partial(point_noise, x0), noise, path)


def dpm(x0, noise, path):
    return ops.solve_dpm(Partial(point_noise, x0), noise, path)


def point_velocity(x0, x_t, t):
    """The exact velocity of flow matching where all data are one image."""
    return (x0 - x_t) / (1 - t)


def straight(x0):
    velocity = Partial(point_velocity, x0)
    return ops.sample_flow_matching(jax.random.key(0), velocity, x0.shape, steps=5)


def guided(scale, c, u, x_t, alpha_bar):
    predict = ops.classifier_free_guidance(
        Partial(point_noise, c), Partial(point_noise, u), scale=scale
    )
    return predict(x_t, alpha_bar)


class SamplerTest(LawTest):
    @law(x=X0, noise=NOISE, ratio=RATIO)
    def test_a_step_to_the_same_level_changes_nothing(self, x, noise, ratio):
        close(self.apply(ops.ddim_step, x, noise, ratio, ratio), x, atol=1e-4)

    @law(x=X0, noise=NOISE, ratio=RATIO)
    def test_a_step_to_no_noise_is_the_predicted_image(self, x, noise, ratio):
        expected = self.apply(ops.predict_x0, x, noise, ratio)
        close(self.apply(ops.ddim_step, x, noise, ratio, jnp.ones(3)), expected, atol=1e-4)

    @law(x=X0, noise=NOISE, start=RATIO, middle=RATIO, end=RATIO)
    def test_two_steps_with_the_same_noise_are_one(self, x, noise, start, middle, end):
        between_levels = self.apply(ops.ddim_step, x, noise, start, middle)
        twice = self.apply(ops.ddim_step, between_levels, noise, middle, end)
        close(twice, self.apply(ops.ddim_step, x, noise, start, end), rtol=1e-4, atol=1e-3)

    @law(x0=X0, noise=NOISE, z=NOISE, ratio=RATIO)
    def test_fresh_noise_keeps_the_variance(self, x0, noise, z, ratio):
        after = 0.5 + ratio / 2
        one, zero = jnp.ones_like(x0), jnp.zeros_like(x0)
        step = lambda x_t, old, new: self.apply(fresh_step, x_t, old, ratio, after, new)
        kept = step(ops.add_noise(zero, one, ratio), one, zero)
        fresh = step(zero, zero, one)
        wanted = ops.add_noise(zero, one, after)
        close(kept**2 + fresh**2, wanted**2, atol=1e-4)

    @law(eager=False, x0=X0, noise=NOISE, alpha_bar=SCHEDULE)
    def test_every_solver_ends_at_the_only_image_that_there_is(self, x0, noise, alpha_bar):
        path = ops.sampling_schedule(alpha_bar, steps=8)
        middle = path[:5]
        start = ops.noise_from_x0(noise, x0, middle[0])
        for solve in (ddim, heun, dpm):
            close(self.apply(solve, x0, noise, path), x0, atol=1e-2)
            on_the_way = ops.add_noise(x0, start, middle[-1])
            close(self.apply(solve, x0, noise, middle), on_the_way, atol=1e-2)

    @law(eager=False, x0=X0)
    def test_flow_matching_ends_at_the_only_image_that_there_is(self, x0):
        close(self.apply(straight, x0), x0, atol=1e-4)

    @law(c=X0, u=X0, x=X0)
    def test_guidance_goes_from_one_prediction_to_the_other(self, c, u, x):
        ratio = jnp.float32(0.5)
        ends = [point_noise(x0, x, ratio) for x0 in (u, c)]
        for scale, expected in ((0.0, ends[0]), (1.0, ends[1]), (2.0, 2 * ends[1] - ends[0])):
            close(self.apply(guided, jnp.float32(scale), c, u, x, ratio), expected, atol=1e-4)

    @law(first=st.integers(0, 1000), shift=st.integers(0, 3))
    def test_a_sample_has_the_same_noise_in_every_batch(self, first, shift):
        long = self.apply(numbered_normal, jnp.uint32(first))
        equal(self.apply(numbered_normal, jnp.uint32(first + shift))[: 4 - shift], long[shift:])


def fresh_step(x_t, noise, ratio, after, fresh):
    return ops.ddim_step(x_t, noise, ratio, after, eta=0.7, fresh_noise=fresh)


def numbered_normal(first):
    return ops.per_sample_normal(jax.random.key(0), (4, 3), first=first)


class EmbeddingTest(LawTest):
    @law(t=strategies.reals((5,), low=0, high=1000))
    def test_sines_and_cosines_have_length_1_in_pairs(self, t):
        values = self.apply(ops.sinusoidal_embedding, t, dim=8)
        between(values, -1, 1)
        close(values[:, :4] ** 2 + values[:, 4:] ** 2, jnp.ones((5, 4)))

    @law(t=strategies.reals((5,), low=0, high=100), s=strategies.reals((5,), low=0, high=100))
    def test_the_product_of_two_times_depends_on_their_distance(self, t, s):
        embed = lambda time: self.apply(ops.sinusoidal_embedding, time, dim=8)
        near = jnp.sum(embed(t) * embed(s), axis=1)
        close(jnp.sum(embed(t + 16) * embed(s + 16), axis=1), near, atol=1e-3)

    @law(ratio=strategies.probabilities((5,)))
    def test_embedded_ratios_are_finite_at_both_ends(self, ratio):
        values = self.apply(ops.signal_embedding, ratio, dim=8)
        between(values, -1, 1)
        close(values[:, :4] ** 2 + values[:, 4:] ** 2, jnp.ones((5, 4)))
        mirrored = self.apply(ops.signal_embedding, 1 - ratio, dim=8)
        inside = ((ratio > 1e-2) & (ratio < 0.99))[:, None]
        close(jnp.where(inside, mirrored[:, 4:], 0), jnp.where(inside, values[:, 4:], 0), atol=1e-3)
