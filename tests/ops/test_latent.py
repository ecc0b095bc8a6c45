"""Latent maps against planted matrices and scikit-learn; arcs against their geometry."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import ortho_group
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge

from lectures_jax import ops
from lectures_jax.ops.latent import LatentMap
from tests.contract import Contract

RNG = np.random.default_rng(0)
SOURCE, KERNEL = RNG.normal(size=(11, 3)).astype(np.float32), RNG.normal(size=(3, 5))
BIAS = RNG.normal(size=5)
TARGET = (SOURCE @ KERNEL + BIAS).astype(np.float32)
NOISY = (TARGET + 0.3 * RNG.normal(size=TARGET.shape)).astype(np.float32)
PRESENT = RNG.random(11) < 0.5
A, B = RNG.normal(size=(2, 4, 3)).astype(np.float32)
T = np.linspace(0.1, 0.9, 4, dtype=np.float32)
FLAT = SOURCE * np.float32([1, 1, 0])
E1 = np.float32([1, 0, 0])

CONTRACT = {
    "fit_latent_map": Contract([(SOURCE, NOISY)], edges=[(FLAT, NOISY), (0 * SOURCE, NOISY)]),
    "fit_latent_map with ridge": Contract(
        [(SOURCE, NOISY)], op=partial(ops.fit_latent_map, ridge=0.5, intercept=False)
    ),
    "fit_rotation": Contract([(SOURCE, NOISY)], differentiable=False),
    "apply_latent_map": Contract(
        [(LatentMap(KERNEL.astype(np.float32), BIAS.astype(np.float32)), SOURCE)], shared=(0,)
    ),
    "lerp": Contract([(A, B, T)]),
    "slerp": Contract(
        [(A, B, T)],
        edges=[(E1, E1, np.float32(0.3)), (E1, -E1, np.float32(0.5)), (E1, 0 * E1, T)],
    ),
    "mean_direction": Contract(
        [(SOURCE, PRESENT)], edges=[(np.tile(SOURCE + 30, (99, 1)), np.tile(PRESENT, 99))]
    ),
    "fisher_direction": Contract([(SOURCE, PRESENT)]),
}


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def test_a_planted_map_is_recovered(float64):
    x = RNG.normal(size=(11, 3))
    result = ops.fit_latent_map(jnp.asarray(x), jnp.asarray(x @ KERNEL + BIAS))
    np.testing.assert_allclose(result.kernel, KERNEL, atol=1e-12)
    np.testing.assert_allclose(result.bias, BIAS, atol=1e-12)
    np.testing.assert_allclose(
        ops.apply_latent_map(result, jnp.asarray(x)), x @ KERNEL + BIAS, atol=1e-12
    )


def test_a_planted_map_is_recovered_in_single_precision():
    result = ops.fit_latent_map(jnp.asarray(SOURCE), jnp.asarray(TARGET))
    np.testing.assert_allclose(result.kernel, KERNEL, atol=1e-5)
    np.testing.assert_allclose(result.bias, BIAS, atol=1e-5)


def test_one_dimension_by_hand():
    # points (0, 1), (1, 1), (2, 4): derivative 3/2, mean 2 at 1
    result = ops.fit_latent_map(jnp.array([[0.0], [1], [2]]), jnp.array([[1.0], [1], [4]]))
    np.testing.assert_allclose([result.kernel[0, 0], result.bias[0]], [1.5, 0.5], atol=1e-6)


@pytest.mark.parametrize("intercept", [True, False])
def test_the_ridge_equals_sklearn_s(float64, intercept):
    x, y = SOURCE.astype(np.float64), NOISY.astype(np.float64)
    theirs = Ridge(alpha=0.7, fit_intercept=intercept).fit(x, y)
    result = ops.fit_latent_map(jnp.asarray(x), jnp.asarray(y), ridge=0.7, intercept=intercept)
    np.testing.assert_allclose(result.kernel, theirs.coef_.T, atol=1e-10)
    np.testing.assert_allclose(result.bias, theirs.intercept_ * np.ones(5), atol=1e-10)


@pytest.mark.parametrize("rows", [1, 2, 11])
def test_of_many_maps_it_is_the_least_one(float64, rows):
    x, y = FLAT[:rows].astype(np.float64), NOISY[:rows].astype(np.float64)
    result = ops.fit_latent_map(jnp.asarray(x), jnp.asarray(y), intercept=False)
    np.testing.assert_allclose(result.kernel, np.linalg.lstsq(x, y)[0], atol=1e-10)


def test_a_rotation_is_recovered_and_nothing_is_stretched(float64):
    rotation, x = ortho_group(4, seed=0).rvs(), RNG.normal(size=(9, 4))
    result = ops.fit_rotation(jnp.asarray(x), jnp.asarray(x @ rotation + 2))
    np.testing.assert_allclose(result.kernel, rotation, atol=1e-12)
    np.testing.assert_allclose(result.bias, np.full(4, 2), atol=1e-12)
    wide = ops.fit_rotation(jnp.asarray(SOURCE), jnp.asarray(5 * NOISY)).kernel
    np.testing.assert_allclose(wide @ wide.T, np.eye(3), atol=1e-6)


def test_no_support_is_refused():
    for fit in (ops.fit_latent_map, ops.fit_rotation):
        with pytest.raises(ValueError, match="source must hold at least one latent"):
            fit(jnp.zeros((0, 3)), jnp.zeros((0, 5)))
    with pytest.raises(ValueError, match="ridge must be at least 0, got -1"):
        ops.fit_latent_map(jnp.asarray(SOURCE), jnp.asarray(TARGET), ridge=-1.0)


def test_a_quarter_circle_by_hand():
    a, b = jnp.array([2.0, 0]), jnp.array([0.0, 2])
    half = 2**0.5
    np.testing.assert_allclose(ops.slerp(a, b, 0.5), [half, half], rtol=1e-6)
    np.testing.assert_allclose(ops.lerp(a, b, 0.5), [1, 1])
    np.testing.assert_allclose(
        ops.slerp(a, b, jnp.array([0.0, 1 / 3, 1])), [[2, 0], [3**0.5, 1], [0, 2]], atol=1e-6
    )


def test_the_arc_keeps_the_length_and_divides_the_angle():
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (A, B))
    whole = np.arccos(np.sum(a * b, axis=1))
    c = ops.slerp(jnp.asarray(a), jnp.asarray(b), jnp.asarray(T))
    np.testing.assert_allclose(np.linalg.norm(c, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.arccos(np.sum(a * np.asarray(c), axis=1)), T * whole, rtol=1e-3)


@pytest.mark.parametrize("b", [E1, -E1, 0 * E1, E1 + np.float32([0, 1e-4, 0]), 3 * E1])
@pytest.mark.parametrize("t", [0.0, 0.5, 1.0])
def test_parallel_opposite_and_zero_vectors_have_values_and_gradients(b, t):
    def total(a, b, t):
        return jnp.sum(ops.slerp(a, b, t))

    a, b = jnp.asarray(E1), jnp.asarray(b)
    np.testing.assert_allclose(ops.slerp(a, b, t), ops.lerp(a, b, t), atol=2e-4)
    for grad in jax.grad(total, argnums=(0, 1, 2))(a, b, jnp.float32(t)):
        assert np.all(np.isfinite(grad))
        assert np.all(np.abs(grad) < 10)


def test_small_angles_keep_their_digits():
    b = jnp.array([1.0, 2e-3, 0])
    np.testing.assert_allclose(ops.slerp(jnp.asarray(E1), b, 0.5)[1], 1e-3, rtol=1e-5)


def test_the_mean_direction_by_hand():
    z = jnp.array([[0.0, 0], [2, 0], [5, 5]])
    result = ops.mean_direction(z, jnp.array([False, False, True]))
    np.testing.assert_allclose(result, [4, 5])


def test_fisher_s_direction_equals_sklearn_s():
    z = RNG.normal(size=(200, 3)).astype(np.float32) @ KERNEL[:, :3].astype(np.float32)
    present = z[:, 0] + RNG.normal(size=200) > 0
    theirs = LinearDiscriminantAnalysis(solver="eigen").fit(z, present).coef_[0]
    result = ops.fisher_direction(jnp.asarray(z), jnp.asarray(present), ridge=0.0)
    np.testing.assert_allclose(result, theirs / np.linalg.norm(theirs), atol=1e-3)


def test_fisher_s_direction_stands_a_constant_coordinate():
    result = ops.fisher_direction(jnp.asarray(FLAT), jnp.asarray(PRESENT))
    np.testing.assert_allclose(np.linalg.norm(result), 1, rtol=1e-5)
    assert result[2] == 0


def test_no_latents_have_no_direction():
    for direction in (ops.mean_direction, ops.fisher_direction):
        with pytest.raises(ValueError, match="z must hold at least one latent"):
            direction(jnp.zeros((0, 3)), jnp.zeros(0, bool))


@pytest.mark.parametrize("interpolate", [ops.lerp, ops.slerp])
def test_one_number_serves_all_pairs_of_a_batch(interpolate):
    a, b = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 3)), jnp.float32)
    expected = [interpolate(x, y, 0.25) for x, y in zip(a, b, strict=True)]
    for t in (0.25, jnp.float32(0.25), jnp.full(8, 0.25)):
        np.testing.assert_allclose(interpolate(a, b, t), expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"t must be one number, or of shape \(8,\)"):
        interpolate(a, b, jnp.full((8, 1), 0.25))


@pytest.mark.parametrize("number", [0.1, 1e4, -100.0])
def test_latents_that_never_vary_have_no_direction_and_no_map(number):
    constant, others = jnp.full((11, 3), number), jnp.asarray(RNG.normal(size=(11, 3)), jnp.float32)
    present = jnp.arange(11) < 4
    np.testing.assert_array_equal(ops.mean_direction(constant, present), 0)
    to = ops.fit_latent_map(constant, others)
    np.testing.assert_array_equal(to.kernel, 0)
    np.testing.assert_allclose(to.bias, others.mean(axis=0), rtol=1e-5)
    back = ops.fit_latent_map(others, constant)
    np.testing.assert_array_equal(back.kernel, 0)
    np.testing.assert_allclose(back.bias, number, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e20, 1e30])
def test_an_arc_is_the_same_at_every_scale(scale):
    a, b = jnp.array([1.0, 2, -1]), jnp.array([0.5, -1, 2])
    np.testing.assert_allclose(
        ops.slerp(scale * a, scale * b, 0.3) / scale, ops.slerp(a, b, 0.3), rtol=1e-5
    )
