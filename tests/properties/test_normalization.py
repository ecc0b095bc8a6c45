"""Laws of normalization."""

import jax.numpy as jnp
import numpy as np

from lectures_jax import ops
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, close, law

X = strategies.reals((3, 4, 5, 6))
CHANNELS = strategies.reals((6,))
GAIN = strategies.reals((6,), low=0.5, high=2)
ONE, ZERO = jnp.ones(6), jnp.zeros(6)
CELLS = (1, 2)


def is_standardized(y, x, axes):
    """Mean 0, and variance 1 unless x hardly varies."""
    close(jnp.mean(y, axis=axes), jnp.zeros(jnp.mean(y, axis=axes).shape), atol=1e-3)
    var = np.var(np.asarray(x, np.float64), axis=axes)
    expected = var / (var + 1e-5)
    varied = (var > 1e-2) | (var == 0)
    close(np.where(varied, np.var(y, axis=axes), 0), np.where(varied, expected, 0), atol=2e-2)


class NormalizationTest(LawTest):
    @law(x=X)
    def test_each_vector_of_a_layer_has_mean_0_and_variance_1(self, x):
        is_standardized(self.apply(ops.layer_norm, x, ONE, ZERO), x, -1)

    @law(x=X)
    def test_each_channel_of_an_instance_has_mean_0_and_variance_1(self, x):
        is_standardized(self.apply(ops.instance_norm, x, ONE, ZERO), x, CELLS)

    @law(x=X)
    def test_each_group_of_channels_has_mean_0_and_variance_1(self, x):
        y = self.apply(ops.group_norm, x, ONE, ZERO, groups=2)
        shape = (3, 4, 5, 2, 3)
        is_standardized(y.reshape(shape), x.reshape(shape), (1, 2, 4))

    @law(x=X)
    def test_each_channel_of_a_batch_has_mean_0_and_variance_1(self, x):
        moments = self.apply(ops.batch_moments, x)
        is_standardized(self.apply(ops.batch_norm, x, *moments, ONE, ZERO), x, (0, 1, 2))

    @law(x=X, gain=GAIN)
    def test_brightness_and_contrast_of_the_input_do_not_matter(self, x, gain):
        varied = x + jnp.arange(120.0).reshape(1, 4, 5, 6) % 7
        other = varied * gain[0] + 3
        for norm, options in (
            (ops.layer_norm, {}),
            (ops.instance_norm, {}),
            (ops.group_norm, {"groups": 3}),
        ):
            expected = self.apply(norm, varied, ONE, ZERO, epsilon=1e-12, **options)
            close(self.apply(norm, other, ONE, ZERO, epsilon=1e-12, **options), expected, atol=1e-3)

    @law(x=X, scale=GAIN, bias=CHANNELS)
    def test_scale_and_bias_come_last(self, x, scale, bias):
        for norm, options in (
            (ops.layer_norm, {}),
            (ops.instance_norm, {}),
            (ops.group_norm, {"groups": 3}),
        ):
            plain = self.apply(norm, x, ONE, ZERO, **options)
            expected = plain * scale.reshape(1, 1, 1, 6) + bias.reshape(1, 1, 1, 6)
            close(self.apply(norm, x, scale, bias, **options), expected, atol=1e-4)

    @law(x=X)
    def test_groups_of_one_channel_are_instances(self, x):
        grouped = self.apply(ops.group_norm, x, ONE, ZERO, groups=6)
        close(grouped, self.apply(ops.instance_norm, x, ONE, ZERO), atol=1e-4)

    @law(x=X, mean=CHANNELS, var=GAIN, scale=GAIN, bias=CHANNELS)
    def test_batch_normalization_is_the_formula(self, x, mean, var, scale, bias):
        x64, mean64, var64, scale64, bias64 = (
            np.asarray(v, np.float64) for v in (x, mean, var, scale, bias)
        )
        expected = (x64 - mean64) / np.sqrt(var64 + 1e-5) * scale64 + bias64
        y = self.apply(ops.batch_norm, x, mean, var, scale, bias)
        close(y, expected.astype(np.float32), atol=1e-4)

    @law(x=X, shift=CHANNELS)
    def test_moments_of_a_shifted_and_doubled_batch(self, x, shift):
        mean, var = self.apply(ops.batch_moments, x)
        other = self.apply(ops.batch_moments, 2 * x + shift.reshape(1, 1, 1, 6))
        between(var, 0, 101)
        close(other.mean, 2 * mean + shift, atol=1e-3)
        close(other.var, 4 * var, atol=1e-2)

    @law(x=X)
    def test_moments_do_not_see_the_order_of_a_batch(self, x):
        moments = self.apply(ops.batch_moments, x)
        close(self.apply(ops.batch_moments, x[::-1, ::-1]), moments, atol=1e-4)


class SpectralNormTest(LawTest):
    @law(kernel=strategies.reals((5, 4)), direction=strategies.reals((4,), low=0.1, high=1))
    def test_it_approaches_the_largest_singular_value_from_below(self, kernel, direction):
        largest = np.linalg.svd(np.asarray(kernel, np.float64), compute_uv=False)[0]
        few = self.apply(ops.spectral_norm, kernel, direction, iterations=1)
        many = self.apply(ops.spectral_norm, kernel, direction, iterations=5)
        between(few[0], 0, largest * (1 + 1e-5) + 1e-6)
        between(many[0], few[0] * (1 - 1e-5), largest * (1 + 1e-5) + 1e-6)

    @law(kernel=strategies.reals((5, 4)), direction=strategies.reals((4,), low=0.1, high=1))
    def test_its_direction_has_length_1_and_its_norm_the_kernel_s_unit(self, kernel, direction):
        norm, unit = self.apply(ops.spectral_norm, kernel, direction, iterations=2)
        if jnp.any(kernel != 0):
            length = jnp.linalg.norm(unit)
            assert jnp.isclose(length, 1, atol=1e-5) or norm == 0
        close(self.apply(ops.spectral_norm, 4 * kernel, direction, iterations=2)[0], 4 * norm)
