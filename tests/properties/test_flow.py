"""Laws of invertible maps, splines, and of pixels made continuous."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from lectures_jax import ops
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, close, equal, law

X, SHIFT = strategies.reals((3, 6)), strategies.reals((3, 6))
LOG_SCALE, MASK = strategies.reals((3, 6), low=-2, high=2), strategies.masks(6)
CHANNEL = strategies.reals((6,), low=-2, high=2)
MAP = strategies.reals((2, 4, 6, 4))


class CouplingTest(LawTest):
    @law(x=X, shift=SHIFT, log_scale=LOG_SCALE, mask=MASK)
    def test_the_inverse_leads_back_and_log_determinants_cancel(self, x, shift, log_scale, mask):
        y, log_det = self.apply(ops.affine_coupling, x, shift, log_scale, mask)
        back, log_det_back = self.apply(ops.affine_coupling_inverse, y, shift, log_scale, mask)
        close(back, x, atol=1e-3)
        close(log_det + log_det_back, jnp.zeros(3))

    @law(x=X, shift=SHIFT, log_scale=LOG_SCALE, mask=MASK)
    def test_masked_entries_are_as_they_were_and_do_not_count(self, x, shift, log_scale, mask):
        y, log_det = self.apply(ops.affine_coupling, x, shift, log_scale, mask)
        equal(jnp.where(mask[None], y, 0), jnp.where(mask[None], x, 0))
        close(log_det, jnp.sum(jnp.where(mask[None], 0, log_scale), axis=1))

    @law(x=X, shift=CHANNEL, log_scale=CHANNEL)
    def test_the_inverse_of_actnorm_leads_back(self, x, shift, log_scale):
        y, log_det = self.apply(ops.actnorm, x, shift, log_scale)
        back, log_det_back = self.apply(ops.actnorm_inverse, y, shift, log_scale)
        close(back, x, atol=1e-4)
        close(log_det + log_det_back, jnp.zeros(3))
        close(log_det, jnp.full(3, jnp.sum(log_scale)), atol=1e-4)

    @law(x=strategies.reals((12, 3)))
    def test_actnorm_starts_with_mean_0_and_variance_1(self, x):
        params = self.apply(ops.actnorm_statistics, x)
        y = self.apply(ops.actnorm, x, *params)[0]
        close(jnp.mean(y, axis=0), jnp.zeros(3), atol=1e-3)
        varied = np.std(x, axis=0) > 1e-2
        close(np.where(varied, np.std(y, axis=0), 1), np.ones(3, np.float32), atol=1e-3)

    @law(x=strategies.reals((5, 4)), kernel=strategies.invertible_matrices(4))
    def test_the_inverse_of_a_mixed_map_leads_back(self, x, kernel):
        y, log_det = self.apply(ops.invertible_linear, x, kernel)
        back, log_det_back = self.apply(ops.invertible_linear_inverse, y, kernel)
        close(back, x, atol=1e-3)
        close(log_det + log_det_back, jnp.zeros(5))
        expected = np.linalg.slogdet(np.asarray(kernel, np.float64))[1]
        close(log_det, np.full(5, expected, np.float32), atol=1e-4)

    @law(
        entries=strategies.reals((4, 4), low=-1, high=1),
        log_diagonal=strategies.reals((4,), low=-2, high=2),
        positive=strategies.masks(4),
        order=st.permutations(range(4)),
    )
    def test_the_determinant_of_a_factored_kernel_is_a_sum(
        self, entries, log_diagonal, positive, order
    ):
        sign, order = jnp.where(positive, 1.0, -1.0), jnp.array(order)
        kernel = self.apply(ops.lu_kernel, entries, entries, log_diagonal, sign, order)
        log_det = np.linalg.slogdet(np.asarray(kernel, np.float64))[1]
        close(jnp.sum(log_diagonal), np.float32(log_det), atol=1e-4)

    @law(x=MAP)
    def test_space_becomes_depth_and_back_and_no_value_is_lost(self, x):
        deep = self.apply(ops.space_to_depth, x)
        equal(self.apply(ops.depth_to_space, deep), x)
        equal(deep[:, 1, 2].reshape(2, 2, 2, 4), x[:, 2:4, 4:6])


WIDTHS, HEIGHTS = strategies.reals((8, 5), low=-3, high=3), strategies.reals((8, 5), low=-3, high=3)
DERIVATIVES = strategies.reals((8, 4), low=-3, high=3)
VALUES = strategies.reals((8,), low=-6, high=6)


def derivative(x, widths, heights, derivatives):
    return jax.grad(lambda x: jnp.sum(ops.rq_spline(x, widths, heights, derivatives)[0]))(x)


def one_spline(x, widths, heights, derivatives):
    """All values through the first spline."""
    shared = [jnp.broadcast_to(p[:1], p.shape) for p in (widths, heights, derivatives)]
    return ops.rq_spline(x, *shared)[0]


class SplineTest(LawTest):
    @law(x=VALUES, widths=WIDTHS, heights=HEIGHTS, derivatives=DERIVATIVES)
    def test_it_rises(self, x, widths, heights, derivatives):
        y = self.apply(one_spline, jnp.sort(x), widths, heights, derivatives)
        assert jnp.all(y[1:] - y[:-1] >= -1e-5)

    @law(x=VALUES, widths=WIDTHS, heights=HEIGHTS, derivatives=DERIVATIVES)
    def test_the_inverse_leads_back_and_log_derivatives_cancel(
        self, x, widths, heights, derivatives
    ):
        y, log_rise = self.apply(ops.rq_spline, x, widths, heights, derivatives)
        back, back_log = self.apply(ops.rq_spline_inverse, y, widths, heights, derivatives)
        close(back, x, atol=5e-3)
        close(log_rise + back_log, jnp.zeros(8), atol=5e-2)

    @law(x=VALUES, widths=WIDTHS, heights=HEIGHTS, derivatives=DERIVATIVES)
    def test_its_log_derivative_is_that_of_the_function(self, x, widths, heights, derivatives):
        log_rise = self.apply(ops.rq_spline, x, widths, heights, derivatives)[1]
        expected = self.apply(derivative, x, widths, heights, derivatives)
        close(jnp.exp(log_rise), expected, rtol=2e-3, atol=1e-3)

    @law(x=VALUES, widths=WIDTHS, heights=HEIGHTS, derivatives=DERIVATIVES)
    def test_it_is_the_identity_beyond_its_bound_and_keeps_within(
        self, x, widths, heights, derivatives
    ):
        y = self.apply(ops.rq_spline, x, widths, heights, derivatives, bound=3.0)[0]
        inside = jnp.abs(x) <= 3
        between(jnp.where(inside, y, 0), -3, 3, atol=1e-5)
        equal(jnp.where(inside, 0, y), jnp.where(inside, 0, x))

    @law(x=strategies.reals((8,), low=-0.5, high=1.5), logits=WIDTHS)
    def test_a_histogram_s_distribution_function_is_inverted(self, x, logits):
        y, log_density = self.apply(ops.piecewise_linear, x, logits)
        back, log_density_back = self.apply(ops.piecewise_linear_inverse, y, logits)
        inside = (x > 1e-3) & (x < 1 - 1e-3) & (jnp.abs(x * 5 - jnp.round(x * 5)) > 1e-2)
        between(jnp.where(inside, y, 0), 0, 1)
        close(jnp.where(inside, back, x), x, atol=1e-3)
        total = jnp.where(inside, log_density + log_density_back, 0)
        close(total, jnp.zeros(8), atol=1e-4)

    @law(logits=WIDTHS)
    def test_a_histogram_s_density_integrates_to_1(self, logits):
        middle = jnp.broadcast_to((jnp.arange(5.0) + 0.5)[:, None] / 5, (5, 8))
        density = sum(jnp.exp(self.apply(ops.piecewise_linear, x, logits)[1]) for x in middle)
        close(density / 5, jnp.ones(8))


def noisy(seed, x):
    return ops.dequantize(jax.random.key(seed), x, levels=4)


class PixelsTest(LawTest):
    @law(seed=st.integers(0, 2**31 - 1), level=strategies.labels((12,), classes=4))
    def test_a_level_is_the_same_after_noise_within_it(self, seed, level):
        x = level / jnp.float32(3)
        values = self.apply(noisy, jnp.uint32(seed), x)
        between(values, 0, 1, atol=0)
        close(self.apply(ops.quantize, values, levels=4), x)

    @law(x=strategies.probabilities((12,)))
    def test_logits_lead_back_and_log_derivatives_cancel(self, x):
        y, log_rise = self.apply(ops.logit_transform, x)
        back, back_log = self.apply(ops.logit_transform_inverse, y)
        close(back, x)
        close(log_rise + back_log, jnp.zeros(12), atol=1e-4)

    @law(x=strategies.reals((12,), low=0.01, high=0.99))
    def test_quantiles_lead_back_and_log_derivatives_cancel(self, x):
        y, log_rise = self.apply(ops.probit, x)
        back, log_density = self.apply(ops.probit_inverse, y)
        close(back, x)
        close(log_rise + log_density, jnp.zeros(12), atol=1e-4)

    @law(x=strategies.probabilities((12,)))
    def test_quantiles_rise_and_mirror(self, x):
        y = self.apply(ops.probit, jnp.sort(x))[0]
        assert jnp.all(y[1:] >= y[:-1])
        middle = jnp.clip(x, 0.01, 0.99)
        mirrored = self.apply(ops.probit, 1 - middle)[0]
        close(mirrored, -self.apply(ops.probit, middle)[0], atol=1e-4)


class MaskTest(LawTest):
    @law(
        variants=False,
        features=st.integers(1, 6),
        hidden=st.lists(st.integers(1, 7), min_size=1, max_size=3),
        parameters=st.integers(1, 3),
    )
    def test_no_feature_sees_itself_or_a_later_one(self, features, hidden, parameters):
        masks = ops.autoregressive_masks(features=features, hidden=hidden, parameters=parameters)
        reach = np.eye(features)
        for mask in masks:
            reach = reach @ np.asarray(mask, np.float64)
        first_output = np.arange(features) * parameters
        assert not np.any(np.tril(reach[:, first_output]))
