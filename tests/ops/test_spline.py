"""Splines: by hand, as identities, against their derivatives, inverted, at the edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import ops
from tests.contract import Contract

RNG = np.random.default_rng(0)
X = np.array([-3.1, -0.7, 1.3], np.float32)
W, H = (RNG.normal(size=(3, 5)).astype(np.float32) for _ in range(2))
S = RNG.normal(size=(3, 4)).astype(np.float32)
EDGE = np.array([-4.0, 4.0, 9.0], np.float32)
FLAT = np.zeros((3, 4), np.float32)
KNOTS = np.array([-2.0, 0.0, 2.0], np.float32)

CONTRACT = {
    "rq_spline": Contract(
        [(X, W, H, S)], edges=[(EDGE, W, H, S), (KNOTS, FLAT, FLAT, FLAT[:, 1:])]
    ),
    "rq_spline_inverse": Contract(
        [(X, W, H, S)],
        edges=[
            (EDGE, W, H, S),
            (KNOTS, FLAT, FLAT, FLAT[:, 1:]),
            (X, 90 * W, -90 * W, -90 * S),
        ],
    ),
}


def test_equal_bins_and_unit_derivatives_are_the_identity():
    x = jnp.linspace(-6, 6, 101)
    zeros = jnp.zeros((101, 8))
    for spline in (ops.rq_spline, ops.rq_spline_inverse):
        y, log_derivative = spline(x, zeros, zeros, zeros[:, 1:])
        np.testing.assert_allclose(y, x, atol=2e-6)
        np.testing.assert_allclose(log_derivative, 0, atol=2e-6)


def test_a_spline_by_hand():
    # Two bins of ± 1: widths ½ and 3⁄2, heights 1 and 1; derivative 2 at the knot (−½, 0).
    shares = jnp.log(jnp.array([[0.25, 0.75]]))
    derivative = jnp.log(jnp.expm1(jnp.array([[2.0]]))) - np.log(np.expm1(1.0))
    args = (shares, jnp.zeros((1, 2)), derivative)
    options = {"bound": 1.0, "min_size": 0.0, "min_derivative": 0.0}
    # First bin at ξ = ½: s = 2, δ = 1 and 2: y = −1 + (2·¼ + 1·¼) / (2 + (1 + 2 − 4)·¼)
    y, log_derivative = ops.rq_spline(jnp.array([-0.75]), *args, **options)
    np.testing.assert_allclose(y, [-1 + 0.75 / 1.75], rtol=1e-6)
    # 4 (2·¼ + 2·2·¼ + 1·¼) / 1.75²
    np.testing.assert_allclose(log_derivative, [np.log(7 / 1.75**2)], rtol=1e-5)
    x, back = ops.rq_spline_inverse(y, *args, **options)
    np.testing.assert_allclose(x, [-0.75], rtol=1e-6)
    np.testing.assert_allclose(back, -log_derivative, rtol=1e-5)
    knot, at_knot = ops.rq_spline(jnp.array([-0.5]), *args, **options)
    np.testing.assert_allclose(knot, [0], atol=1e-6)
    np.testing.assert_allclose(at_knot, [np.log(2)], rtol=1e-6)


def random_spline(seed, count, scale=1.0):
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.uniform(-5, 5, count))
    return x, [jnp.asarray(scale * rng.normal(size=(count, n))) for n in (8, 8, 7)]


def test_there_and_back_and_the_log_derivative_is_jax_s(x64):
    x, args = random_spline(1, 400, scale=2.0)
    y, log_derivative = ops.rq_spline(x, *args)
    back, log_derivative_back = ops.rq_spline_inverse(y, *args)
    derivative = jax.vmap(jax.grad(lambda x, *args: ops.rq_spline(x, *args)[0]))(x, *args)
    np.testing.assert_allclose(back, x, atol=1e-10)
    np.testing.assert_allclose(log_derivative, np.log(derivative), atol=1e-10)
    np.testing.assert_allclose(log_derivative_back, -log_derivative, atol=1e-9)
    assert np.abs(log_derivative).max() > 1


def test_it_rises_and_is_smooth_across_the_knots(x64):
    _, args = random_spline(2, 1)
    x = jnp.linspace(-5, 5, 20001)
    args = [jnp.broadcast_to(a, (len(x), a.shape[1])) for a in args]
    y, log_derivative = ops.rq_spline(x, *args)
    assert np.all(np.diff(y) > 0)
    # No jump of the derivative: over a quarter of the step it changes by a quarter.
    derivative = np.exp(log_derivative)
    fine, coarse = np.abs(np.diff(derivative)).max(), np.abs(np.diff(derivative[::4])).max()
    assert 3 * fine < coarse


@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
def test_extreme_splines_in_float32_stay_finite_both_ways_with_their_gradients(scale):
    x, args = random_spline(3, 3000, scale=scale)
    x, args = x.astype(jnp.float32), [a.astype(jnp.float32) for a in args]
    for spline in (ops.rq_spline, ops.rq_spline_inverse):
        results, pull = jax.vjp(spline, x, *args)
        grads = pull(tuple(jnp.ones_like(r) for r in results))
        for array in (*results, *grads):
            assert np.all(np.isfinite(array))
        assert np.all(np.abs(results[0]) <= np.maximum(4, np.abs(x)) + 1e-5)


def test_a_negative_discriminant_counts_as_zero():
    from lectures_jax.ops.spline import _root

    root, derivative = jax.value_and_grad(_root)(
        jnp.array(1.0), jnp.array(1.0), jnp.array(0.3)
    )  # 1 − 1.2 < 0
    assert np.isfinite(root)
    assert np.isfinite(derivative)


def test_wrong_numbers_of_bins_are_named():
    x = jnp.zeros(2)
    with pytest.raises(ValueError, match="must be of k, k and k − 1 numbers, got 4, 4 and 4"):
        ops.rq_spline(x, *(jnp.zeros((2, 4)) for _ in range(3)))
    with pytest.raises(ValueError, match="min_size must be less than 1 / 4 of the range"):
        ops.rq_spline(x, jnp.zeros((2, 4)), jnp.zeros((2, 4)), jnp.zeros((2, 3)), min_size=0.5)
