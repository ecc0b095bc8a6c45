"""Checkerboards: a law of strides and kernels, and the cells of one by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_experiments import ROOT, load


@pytest.fixture(scope="module")
def upsampling():
    return load(ROOT / "experiments" / "ch3_vision" / "upsampling.py")


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("size", [3, 4, 5, 6])
def test_cells_are_even_exactly_where_the_stride_divides_the_kernel(upsampling, size, stride):
    uneven = upsampling.unevenness(upsampling.transposed(size, stride))
    assert (uneven < 1e-6) == (size % stride == 0)


def test_a_kernel_of_three_gives_a_cell_one_two_or_four_weights(upsampling):
    """Mean 9 / 4, squares 1 + 4 + 4 + 16: the deviation over the mean is √19 / 9."""
    y = upsampling.transposed(3)(jnp.ones((6, 6, 1)))[4:8, 4:8, 0] * 9 / 4
    np.testing.assert_allclose(np.sort(np.unique(np.round(y, 4))), [1, 2, 4])
    uneven = upsampling.unevenness(upsampling.transposed(3))
    assert uneven == pytest.approx(19**0.5 / 9, rel=1e-5)


def test_a_constant_map_keeps_its_mean_in_every_way(upsampling):
    for grow in upsampling.WAYS.values():
        y = grow(jnp.full((8, 8, 3), 0.5))
        assert y.shape == (16, 16, 3)
        np.testing.assert_allclose(y[4:-4, 4:-4].mean(), 0.5, rtol=1e-5)


def test_resizing_is_that_of_jax(upsampling):
    gaps = upsampling.resizing_gaps(1)
    assert gaps["nearest_gap"] == 0
    assert gaps["bilinear_gap"] < 1e-5
