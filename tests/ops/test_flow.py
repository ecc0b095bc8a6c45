"""Invertible maps: by hand, against their Jacobians, and inverted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from tests.contract import Contract

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 5)).astype(np.float32)
SHIFT, SCALE = (RNG.normal(size=(4, 5)).astype(np.float32) for _ in range(2))
MASK = np.array([True, False, False, True, False])
C_SHIFT, C_SCALE = (RNG.normal(size=5).astype(np.float32) for _ in range(2))
KERNEL = RNG.normal(size=(5, 5)).astype(np.float32)
MAPS = RNG.normal(size=(3, 4, 6, 2)).astype(np.float32)
LU = (
    RNG.normal(size=(5, 5)).astype(np.float32),
    RNG.normal(size=(5, 5)).astype(np.float32),
    C_SCALE,
    np.array([1, -1, 1, -1, 1], np.float32),
    np.array([3, 0, 4, 1, 2]),
)
SHIFTED = RNG.normal(30, 1, (1000, 5)).astype(np.float32)
MANY = (*(RNG.normal(size=(2, 3000)).astype(np.float32) for _ in range(3)), np.arange(3000) % 2 < 1)
ANY = np.resize(np.array([-200, 200, -90, 90], np.float32), X.shape)  # a network's output
STILL = (0 * X, 0 * X, ANY, MASK)
CHANNELS = [(SHIFTED, C_SHIFT, C_SCALE), (0 * X, 0 * C_SHIFT, ANY[0])]


def hide(value, x, shift, log_scale, mask):
    return (
        x,
        np.where(mask, np.float32(value), shift),
        np.where(mask, np.float32(value), log_scale),
        mask,
    )


CONTRACT = {
    "affine_coupling": Contract([(X, SHIFT, SCALE, MASK)], edges=[MANY, STILL], hide=hide),
    "affine_coupling_inverse": Contract([(X, SHIFT, SCALE, MASK)], edges=[MANY, STILL], hide=hide),
    "actnorm": Contract([(X, C_SHIFT, C_SCALE)], edges=CHANNELS),
    "actnorm_inverse": Contract([(X, C_SHIFT, C_SCALE)], edges=CHANNELS),
    "actnorm_statistics": Contract([(X,)], edges=[(np.ones_like(X),), (SHIFTED,)]),
    "invertible_linear": Contract([(X, KERNEL)], shared=(1,)),
    "invertible_linear_inverse": Contract([(X, KERNEL)], shared=(1,)),
    "lu_kernel": Contract([LU], differentiable=(0, 1, 2), edges=[(*LU[:2], ANY[0], LU[3], LU[4])]),
    "space_to_depth": Contract([(MAPS,)], exact=True),
    "depth_to_space": Contract([(MAPS.reshape(3, 2, 3, 8),)], exact=True),
    "checkerboard_mask": "it takes sizes, not arrays: by hand below",
}


def wide(array):
    return jnp.asarray(array, jnp.float64)


THERE_AND_BACK = {
    "coupling": (
        lambda x: ops.affine_coupling(x, wide(SHIFT[0]), wide(SCALE[0]), jnp.asarray(MASK)),
        lambda y: ops.affine_coupling_inverse(y, wide(SHIFT[0]), wide(SCALE[0]), jnp.asarray(MASK)),
    ),
    "actnorm": (
        lambda x: ops.actnorm(x, wide(C_SHIFT), wide(C_SCALE)),
        lambda y: ops.actnorm_inverse(y, wide(C_SHIFT), wide(C_SCALE)),
    ),
    "linear": (
        lambda x: ops.invertible_linear(x, wide(KERNEL)),
        lambda y: ops.invertible_linear_inverse(y, wide(KERNEL)),
    ),
}


def test_a_coupling_by_hand():
    args = [jnp.array(v) for v in ([[2.0, 3.0]], [[9.0, 1.0]], [[9.0, np.log(2.0)]])]
    mask = jnp.array([True, False])
    y, log_det = ops.affine_coupling(*args, mask)
    np.testing.assert_allclose(y, [[2, 3 * 2 + 1]], rtol=1e-6)
    np.testing.assert_allclose(log_det, [np.log(2)], rtol=1e-6)
    x, back = ops.affine_coupling_inverse(y, *args[1:], mask)
    np.testing.assert_allclose(x, [[2, 3]], rtol=1e-6)
    np.testing.assert_allclose(back, [-np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("name", THERE_AND_BACK)
def test_the_log_determinant_is_that_of_the_jacobian_and_the_inverse_undoes(name, x64):
    there, back = THERE_AND_BACK[name]
    x = jnp.asarray(X[0], jnp.float64)
    y, log_det = there(x)
    result, log_det_back = back(y)
    jacobian = jax.jacfwd(lambda x: there(x)[0])(x)
    expected = np.linalg.slogdet(jacobian)[1]
    assert abs(expected) > 0.1
    np.testing.assert_allclose(log_det, expected, atol=1e-10)
    np.testing.assert_allclose(log_det_back, -expected, atol=1e-10)
    np.testing.assert_allclose(result, x, atol=1e-10)


@pytest.mark.parametrize("log_scale", [-200.0, -89.0, 89.0, 200.0])
def test_zero_times_any_scale_is_zero(log_scale):
    zero, logs = jnp.zeros(5), jnp.full(5, log_scale)
    changed = jnp.zeros(5, bool)
    for coupling in (ops.affine_coupling, ops.affine_coupling_inverse):
        np.testing.assert_array_equal(coupling(zero, zero, logs, changed)[0], 0)
    for norm in (ops.actnorm, ops.actnorm_inverse):
        np.testing.assert_array_equal(norm(zero, zero, logs)[0], 0)
    kernel = ops.lu_kernel(jnp.eye(5), jnp.eye(5), logs, jnp.ones(5), jnp.arange(5))
    np.testing.assert_array_equal(kernel[~np.eye(5, dtype=bool)], 0)


def test_a_saturated_scale_has_no_gradient_whatever_overflows():
    def total(log_scale):
        return jnp.sum(ops.actnorm(1e5 * jnp.ones((4, 5)), jnp.zeros(5), log_scale)[0])

    np.testing.assert_array_equal(jax.grad(total)(jnp.full(5, 200.0)), 0)


def test_a_map_s_mask_sums_over_the_whole_map():
    mask = ops.checkerboard_mask(height=4, width=6, channels=2)
    _, log_det = ops.affine_coupling(*(jnp.asarray(MAPS) for _ in range(3)), mask)
    np.testing.assert_allclose(log_det, np.where(mask, 0, MAPS).sum((1, 2, 3)), rtol=1e-5)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"mask must have the last axes of x, \(4, 5\), got \(4,"):
        ops.affine_coupling(*(jnp.asarray(X) for _ in range(3)), jnp.asarray(MASK[:4]))


def test_data_dependent_initialization_gives_mean_0_and_variance_1():
    x = jnp.asarray(100 + 3 * MAPS)
    y, log_det = ops.actnorm(x, *ops.actnorm_statistics(x))
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=2e-5)
    np.testing.assert_allclose(y.var((0, 1, 2)), 1, rtol=1e-5)
    assert log_det.shape == x.shape[:-1]
    constant = ops.actnorm(jnp.ones((3, 2)), *ops.actnorm_statistics(jnp.ones((3, 2))))
    np.testing.assert_allclose(constant[0], 0, atol=1e-6)
    with pytest.raises(ValueError, match="at least one value per channel"):
        ops.actnorm_statistics(x[:0])


def test_the_lu_form_has_the_determinant_it_says():
    kernel = ops.lu_kernel(*(jnp.asarray(v) for v in LU))
    sign, log_det = np.linalg.slogdet(np.asarray(kernel, np.float64))
    np.testing.assert_allclose(log_det, C_SCALE.sum(), rtol=1e-4)
    assert abs(sign) == 1
    by_hand = ops.lu_kernel(
        jnp.array([[9.0, 9], [3, 9]]),
        jnp.array([[9.0, 5], [9, 9]]),
        jnp.log(jnp.array([2.0, 7])),
        jnp.array([1.0, -1]),
        jnp.array([1, 0]),
    )
    # L = [[1, 0], [3, 1]], U = [[2, 5], [0, −7]]; their product's rows change places
    np.testing.assert_allclose(by_hand, [[6, 15 - 7], [2, 5]], rtol=1e-6)


def test_a_singular_kernel_has_no_volume():
    _, log_det = ops.invertible_linear(jnp.ones((1, 2)), jnp.ones((2, 2)))
    assert log_det[0] == -np.inf


def test_squeezing_by_hand_and_back():
    x = jnp.arange(16.0).reshape(4, 4, 1)
    y = ops.space_to_depth(x)
    np.testing.assert_array_equal(y[0, 1], [2, 3, 6, 7])
    np.testing.assert_array_equal(ops.depth_to_space(y), x)
    np.testing.assert_array_equal(ops.depth_to_space(ops.space_to_depth(jnp.asarray(MAPS))), MAPS)
    with pytest.raises(ValueError, match="factor must divide the 4×4 cells of x, got 3"):
        ops.space_to_depth(x, factor=3)
    with pytest.raises(ValueError, match="factor² must divide the 1 channels of x, got factor=2"):
        ops.depth_to_space(x)


def test_a_checkerboard_by_hand():
    np.testing.assert_array_equal(
        ops.checkerboard_mask(height=2, width=3)[..., 0],
        [[True, False, True], [False, True, False]],
    )
