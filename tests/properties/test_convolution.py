"""Laws of the convolution and its relatives."""

import jax.numpy as jnp

from lectures_jax import ops
from lectures_jax.testing import strategies
from lectures_jax.testing.properties import LawTest, close, law

X = strategies.reals((2, 6, 7, 4))
KERNEL = strategies.reals((3, 3, 4, 6), low=-2, high=2)
SMALL = {"rtol": 1e-5, "atol": 5e-3}  # sums of 36 products of up to 20


class ConvolutionTest(LawTest):
    @law(x=X, y=X, kernel=KERNEL)
    def test_it_is_linear_in_the_image(self, x, y, kernel):
        conv = lambda image: self.apply(ops.conv2d, image, kernel, stride=2)
        close(conv(2 * x + y), 2 * conv(x) + conv(y), **SMALL)

    @law(x=X, kernel=KERNEL, other=KERNEL)
    def test_it_is_linear_in_the_kernel(self, x, kernel, other):
        conv = lambda weights: self.apply(ops.conv2d, x, weights)
        close(conv(2 * kernel + other), 2 * conv(kernel) + conv(other), **SMALL)

    @law(x=X, kernel=KERNEL)
    def test_shifting_the_image_shifts_the_result(self, x, kernel):
        conv = lambda image: self.apply(ops.conv2d, image, kernel, padding="VALID")
        shifted = jnp.roll(x, (1, 2), axis=(1, 2))
        close(conv(shifted)[:, 1:, 2:], conv(x)[:, :-1, :-2], **SMALL)

    @law(x=X, y=strategies.reals((2, 3, 4, 6)), kernel=KERNEL)
    def test_the_transposed_convolution_is_its_adjoint(self, x, y, kernel):
        x = jnp.pad(x, [(0, 0), (0, 0), (0, 1), (0, 0)])
        forward = self.apply(ops.conv2d, x, kernel, stride=2)
        back = self.apply(ops.conv_transpose2d, y, kernel, stride=2)
        scale = jnp.sum(jnp.abs(forward * y)) + jnp.sum(jnp.abs(x * back)) + 1
        close(jnp.sum(forward * y) / scale, jnp.sum(x * back) / scale)

    @law(x=X, y=strategies.reals((2, 4, 5, 6)), kernel=KERNEL)
    def test_so_it_is_without_padding(self, x, y, kernel):
        forward = self.apply(ops.conv2d, x, kernel, padding="VALID")
        back = self.apply(ops.conv_transpose2d, y, kernel, padding="VALID")
        scale = jnp.sum(jnp.abs(forward * y)) + jnp.sum(jnp.abs(x * back)) + 1
        close(jnp.sum(forward * y) / scale, jnp.sum(x * back) / scale)

    @law(x=X, kernel=KERNEL)
    def test_its_matrix_times_the_image_is_the_convolution(self, x, kernel):
        matrix = self.apply(ops.conv_matrix, kernel, height=6, width=7, stride=2, padding="SAME")
        expected = self.apply(ops.conv2d, x, kernel, stride=2)
        close(x.reshape(2, -1) @ matrix.T, expected.reshape(2, -1), **SMALL)

    @law(x=X, kernel=strategies.reals((3, 3, 2, 6), low=-2, high=2))
    def test_groups_do_not_see_each_other(self, x, kernel):
        parts = [
            self.apply(ops.conv2d, x[..., 2 * i : 2 * i + 2], kernel[..., 3 * i : 3 * i + 3])
            for i in range(2)
        ]
        close(self.apply(ops.conv2d, x, kernel, groups=2), jnp.concatenate(parts, -1), **SMALL)

    @law(
        x=X,
        depthwise=strategies.reals((3, 3, 1, 4), low=-1, high=1),
        pointwise=strategies.reals((1, 1, 4, 5), low=-1, high=1),
    )
    def test_the_separable_one_is_its_two_parts(self, x, depthwise, pointwise):
        whole = self.apply(ops.separable_conv2d, x, depthwise, pointwise, stride=2)
        filtered = [
            self.apply(ops.conv2d, x[..., i : i + 1], depthwise[..., i : i + 1], stride=2)
            for i in range(4)
        ]
        close(whole, jnp.concatenate(filtered, -1) @ pointwise[0, 0], **SMALL)

    @law(x=X, kernel=strategies.reals((1, 1, 4, 6)), bias=strategies.reals((6,)))
    def test_a_1x1_kernel_is_a_dense_layer_in_each_cell(self, x, kernel, bias):
        dense = self.apply(ops.linear, x, kernel[0, 0], bias)
        close(self.apply(ops.conv2d, x, kernel, bias), dense, **SMALL)

    @law(x=X)
    def test_a_kernel_of_one_cell_in_the_middle_changes_nothing(self, x):
        kernel = jnp.zeros((3, 3, 4, 4)).at[1, 1].set(jnp.eye(4))
        close(self.apply(ops.conv2d, x, kernel), x)

    @law(x=X, kernel=KERNEL)
    def test_same_padding_is_one_cell_on_each_side_of_a_3x3_kernel(self, x, kernel):
        same = self.apply(ops.conv2d, x, kernel)
        close(same, self.apply(ops.conv2d, x, kernel, padding=1), **SMALL)
        padded = jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
        close(same, self.apply(ops.conv2d, padded, kernel, padding="VALID"), **SMALL)

    @law(x=X, kernel=KERNEL)
    def test_a_dilated_kernel_is_one_with_zeros_between_its_taps(self, x, kernel):
        spread = jnp.zeros((5, 5, 4, 6)).at[::2, ::2].set(kernel)
        dilated = self.apply(ops.conv2d, x, kernel, padding=2, dilation=2)
        close(dilated, self.apply(ops.conv2d, x, spread, padding=2), **SMALL)

    @law(x=X, kernel=KERNEL)
    def test_a_stride_leaves_positions_out(self, x, kernel):
        every = self.apply(ops.conv2d, x, kernel, padding=1)
        close(self.apply(ops.conv2d, x, kernel, padding=1, stride=2), every[:, ::2, ::2], **SMALL)
