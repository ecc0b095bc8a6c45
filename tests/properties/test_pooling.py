"""Laws of pooling and of maps at a multiple of their size."""

import jax.numpy as jnp

from lectures_jax import ops
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, between, close, equal, law

X, Y = strategies.reals((2, 6, 8, 3)), strategies.reals((2, 6, 8, 3))
KERNEL = strategies.reals((3, 3, 3, 2), low=-1, high=1)
SHIFT = strategies.reals((), low=-5, high=5)


class PoolingTest(LawTest):
    @law(x=X)
    def test_the_mean_is_at_most_the_largest_and_both_are_within_the_image(self, x):
        largest = self.apply(ops.max_pool, x, size=2)
        mean = self.apply(ops.mean_pool, x, size=2)
        between(mean, jnp.min(x), largest, atol=1e-5)
        between(largest, jnp.min(x), jnp.max(x), atol=0)

    @law(x=X)
    def test_the_largest_of_a_window_is_one_of_its_values(self, x):
        blocks = x.reshape(2, 3, 2, 4, 2, 3)
        equal(self.apply(ops.max_pool, x, size=2), jnp.max(blocks, axis=(2, 4)))

    @law(x=X)
    def test_the_mean_of_a_window_is_that_of_its_values(self, x):
        blocks = x.reshape(2, 3, 2, 4, 2, 3)
        close(self.apply(ops.mean_pool, x, size=2), jnp.mean(blocks, axis=(2, 4)))

    @law(x=X, y=X)
    def test_no_larger_value_makes_the_result_smaller(self, x, y):
        low, high = jnp.minimum(x, y), jnp.maximum(x, y)
        for pool in (ops.max_pool, ops.mean_pool):
            least = self.apply(pool, low, size=3, stride=2, padding="SAME")
            between(self.apply(pool, high, size=3, stride=2, padding="SAME"), least, 10, atol=1e-5)

    @law(x=X, shift=SHIFT)
    def test_a_constant_passes_through_and_padding_does_not_count(self, x, shift):
        for pool in (ops.max_pool, ops.mean_pool):
            pooled = self.apply(pool, x, size=3, stride=2, padding=1)
            close(self.apply(pool, x + shift, size=3, stride=2, padding=1), pooled + shift)

    @law(x=X)
    def test_a_factor_passes_through(self, x):
        for pool in (ops.max_pool, ops.mean_pool):
            close(self.apply(pool, 4 * x, size=2), 4 * self.apply(pool, x, size=2))

    @law(x=X, y=Y)
    def test_the_mean_is_linear(self, x, y):
        mean = lambda image: self.apply(ops.mean_pool, image, size=3, padding="SAME")
        close(mean(2 * x + y), 2 * mean(x) + mean(y))

    @law(x=X)
    def test_a_larger_window_has_a_larger_maximum(self, x):
        small = self.apply(ops.max_pool, x, size=1, stride=2)
        large = self.apply(ops.max_pool, x, size=3, stride=2, padding=((0, 2), (0, 2)))
        between(large, small, 10, atol=0)


class ResamplingTest(LawTest):
    @law(x=X)
    def test_pooling_undoes_the_repetition_of_cells(self, x):
        repeated = self.apply(ops.upsample_nearest, x, factor=(2, 3))
        equal(self.apply(ops.max_pool, repeated, size=(2, 3)), x)
        close(self.apply(ops.mean_pool, repeated, size=(2, 3)), x)

    @law(x=X, kernel=KERNEL)
    def test_an_enlarged_map_is_convolved_as_if_it_had_been_enlarged(self, x, kernel):
        large = ops.conv2d(ops.upsample_nearest(x), kernel)
        close(self.apply(ops.upsample_conv2d, x, kernel), large, atol=1e-4)

    @law(x=X)
    def test_interpolation_stays_within_the_image_and_keeps_its_mean(self, x):
        y = self.apply(ops.upsample_bilinear, x, factor=2)
        between(y, jnp.min(x), jnp.max(x), atol=1e-5)
        close(jnp.mean(y, axis=(1, 2)), jnp.mean(x, axis=(1, 2)), atol=1e-4)

    @law(x=X, y=Y)
    def test_interpolation_is_linear(self, x, y):
        enlarge = lambda image: self.apply(ops.upsample_bilinear, image, factor=3)
        close(enlarge(2 * x + y), 2 * enlarge(x) + enlarge(y), atol=1e-4)

    @law(x=X)
    def test_interpolation_of_a_mirrored_image_is_mirrored(self, x):
        enlarge = lambda image: self.apply(ops.upsample_bilinear, image, factor=3)
        close(enlarge(x[:, ::-1, ::-1]), enlarge(x)[:, ::-1, ::-1])

    @law(x=X)
    def test_a_transposed_convolution_with_the_bilinear_kernel_interpolates(self, x):
        kernel = ops.bilinear_kernel(factor=2, channels=3)
        y = self.apply(ops.conv_transpose2d, x, kernel, stride=2)
        inside = (slice(None), slice(1, -1), slice(1, -1))
        close(y[inside], self.apply(ops.upsample_bilinear, x, factor=2)[inside])
