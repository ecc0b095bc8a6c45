"""Distances between sets against closed forms, SciPy and scikit-learn, and loops over all pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import polynomial_kernel

from lectures_jax import metrics

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(40, 6)), 0.5 + 0.8 * RNG.normal(size=(31, 6))


def whitened(count, d):
    """Points whose sample mean is 0 and whose sample covariance is the identity, exactly."""
    x = np.random.default_rng(d).normal(size=(count, d))
    x = np.linalg.qr(x - x.mean(axis=0))[0]
    return x * np.sqrt(count - 1)


def test_the_frechet_distance_of_known_gaussians():
    # 2² for the means; (3 − 1)² + (2 − 1)² for the deviations along common axes
    a, b = whitened(20, 2), whitened(30, 2) * [3, 2] + [2, 0]
    np.testing.assert_allclose(metrics.frechet_distance(a, b), 4 + 4 + 1, rtol=1e-6)


def test_the_frechet_distance_equals_scipy_s_root_of_the_product():
    covariances = np.cov(A, rowvar=False), np.cov(B, rowvar=False)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    expected = np.sum((A.mean(0) - B.mean(0)) ** 2)
    expected += np.trace(covariances[0] + covariances[1] - 2 * root).real
    np.testing.assert_allclose(metrics.frechet_distance(A, B), expected, rtol=1e-6)
    np.testing.assert_allclose(metrics.frechet_distance(B, A), expected, rtol=1e-6)


@pytest.mark.parametrize("rows", [2, 3, 5])
def test_covariances_without_full_rank_have_a_finite_distance(rows):
    few = A[:rows].copy()
    few[:, 0] = 7
    assert 0 <= metrics.frechet_distance(few, few) < 1e-12
    distance = metrics.frechet_distance(few, B)
    assert np.isfinite(distance)
    assert distance > 0
    constant = np.ones((4, 6))
    expected = np.sum((1 - B.mean(0)) ** 2) + np.trace(np.cov(B, rowvar=False))
    np.testing.assert_allclose(metrics.frechet_distance(constant, B), expected, rtol=1e-6)


def test_a_small_distance_far_from_the_origin_survives():
    a = (1000 + whitened(300, 3)).astype(np.float32)
    b = a + np.float32([0.25, 0, 0])  # exact in float32
    for distance in (metrics.frechet_distance, jax.jit(metrics.frechet_distance)):
        np.testing.assert_allclose(distance(a, b), 1 / 16, rtol=1e-6)


def test_scores_have_the_precision_that_the_caller_has_enabled():
    assert metrics.frechet_distance(A, B).dtype == np.float32
    with jax.enable_x64(True):
        assert metrics.frechet_distance(A, B).dtype == np.float64


def test_the_kernel_distance_equals_sklearn_s_kernels():
    def kernel(x, y):
        return polynomial_kernel(x, y, degree=3, gamma=1 / 6, coef0=1)

    def mean_of_different(k):
        return (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))

    expected = mean_of_different(kernel(A, A)) + mean_of_different(kernel(B, B))
    expected -= 2 * kernel(A, B).mean()
    np.testing.assert_allclose(metrics.kernel_distance(A, B), expected, rtol=1e-6)


def test_the_kernel_distance_by_hand():
    # d = 1, k = (xy + 1)³: within {0, 1} 1, within {0, 2} 1, between (1 + 1 + 1 + 27) / 4
    a, b = np.array([[0.0], [1]]), np.array([[0.0], [2]])
    np.testing.assert_allclose(metrics.kernel_distance(a, b), 1 + 1 - 2 * 30 / 4)


def test_the_kernel_distance_has_no_bias():
    rng = np.random.default_rng(1)
    draws = [float(metrics.kernel_distance(*rng.normal(size=(2, 10, 3)))) for _ in range(400)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / 20
    assert min(draws) < 0


@pytest.mark.parametrize("k", [1, 3])
def test_manifold_scores_equal_a_count_over_all_pairs(k):
    def reach(x):
        return np.sort(cdist(x, x), axis=1)[:, k]

    between = cdist(A, B)
    in_real = between <= reach(A)[:, None]
    in_fake = between <= reach(B)
    result = metrics.manifold_scores(A, B, neighbors=k)
    expected = {
        "precision": in_real.any(axis=0).mean(),
        "recall": in_fake.any(axis=1).mean(),
        "density": in_real.sum(axis=0).mean() / k,
        "coverage": in_real.any(axis=1).mean(),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(result, name), value, err_msg=name)
    assert 0 < result.precision < 1
    assert 0 < result.recall < 1


def test_manifold_scores_of_a_line_by_hand():
    # k = 1: the real balls are [−1, 1], [0, 2] and [1, 19]
    real, fake = np.array([[0.0], [1], [10]]), np.array([[-0.5], [2.5], [30]])
    result = metrics.manifold_scores(real, fake, neighbors=1)
    np.testing.assert_allclose(result.precision, 2 / 3)  # −0.5 in the first, 2.5 in the last
    np.testing.assert_allclose(result.recall, 1)  # −0.5 and 2.5 reach 3 far, 30 down to 2.5
    np.testing.assert_allclose(result.density, 2 / 3)
    np.testing.assert_allclose(result.coverage, 2 / 3)  # the second holds none


def test_a_set_compared_with_itself_overlaps_wholly():
    result = metrics.manifold_scores(A, A, neighbors=4)
    assert (result.precision, result.recall, result.coverage) == (1, 1, 1)
    np.testing.assert_allclose(result.density, 5 / 4)  # k neighbors' balls and its own


def test_distant_sets_do_not_overlap():
    result = metrics.manifold_scores(A, A + 100)
    assert tuple(float(x) for x in result) == (0, 0, 0, 0)


def test_copies_with_noise_are_flagged_and_new_images_are_not():
    rng = np.random.default_rng(2)
    train, held_out, fresh = rng.normal(size=(3, 200, 8))
    copies = train + 0.05 * rng.normal(size=train.shape)
    assert metrics.nearest_neighbor_ratio(copies, train, held_out) < 0.15
    assert 0.9 < metrics.nearest_neighbor_ratio(fresh, train, held_out) < 1.1
    assert metrics.nearest_neighbor_ratio(train, train, held_out) == 0
    assert metrics.nearest_neighbor_ratio(5 * fresh, train, held_out) > 3


def test_the_ratio_by_hand():
    train, held_out = np.array([[0.0], [10]]), np.array([[2.0], [7], [14]])  # 2, 3, 4 away
    fake = np.array([[1.0], [11.5], [4]])  # 1, 1.5, 4 away
    np.testing.assert_allclose(metrics.nearest_neighbor_ratio(fake, train, held_out), 1.5 / 3)


def test_class_shares_by_hand():
    shares = metrics.class_histogram(jnp.array([0, 2, 2, 3, -1]), num_classes=3)
    np.testing.assert_allclose(shares, [0.2, 0, 0.4])


def test_modes_and_quality_by_hand():
    modes = np.array([[0.0, 0], [2, 0], [0, 2]])
    points = np.array([[0.0, 0.29], [2, 0.31], [0.1, 0], [1, 1]])
    result = metrics.mode_coverage(points, modes, deviation=0.1)
    assert (int(result.modes), float(result.quality)) == (1, 0.5)  # of three, and of four


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.frechet_distance(A[:1], B), "features_a must have at least 2 rows, got 1"),
        (lambda: metrics.kernel_distance(A, B[:1]), "features_b must have at least 2 rows, got 1"),
        (lambda: metrics.manifold_scores(A[:5], B), "real must have at least 6 rows, got 5"),
        (lambda: metrics.manifold_scores(A, B, neighbors=0), "neighbors must be at least 1"),
        (lambda: metrics.nearest_neighbor_ratio(A, A[:0], B), "train must have at least 1 rows"),
        (lambda: metrics.class_histogram(jnp.zeros(0, int), num_classes=3), "labels must have"),
        (lambda: metrics.mode_coverage(A, B[:0], deviation=1.0), "modes must have at least 1"),
        (lambda: metrics.mode_coverage(A, B, deviation=0.0), "deviation must be positive, got 0"),
        (lambda: metrics.class_histogram(jnp.zeros(2, int), num_classes=0), "num_classes must be"),
        (lambda: metrics.kernel_distance(A[:, :0], B[:, :0]), "features_a must have at least one"),
    ],
)
def test_too_few_rows_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_ratio_is_of_medians_of_distances_not_of_their_squares():
    arrays = [np.float32(x) for x in ([[1], [3]], [[0]], [[2], [2]])]  # 1 and 3; 2 and 2 away
    assert metrics.nearest_neighbor_ratio(*arrays) == 1
    assert jax.jit(metrics.nearest_neighbor_ratio)(*arrays) == 1


def test_float64_features_keep_their_digits():
    arrays = [np.array([[1e8 + x]]) for x in (1, 0, 2)]
    assert metrics.nearest_neighbor_ratio(*arrays) == 0.5


@pytest.mark.parametrize("rows", [9, 3, 2])
def test_the_gradient_of_the_frechet_distance_equals_differences(rows):
    """Also where the covariances have no full rank, and there are more features than rows."""
    direction = np.random.default_rng(1).normal(size=(rows, 6))
    with jax.enable_x64(True):
        few, other = jnp.asarray(A[:rows]), jnp.asarray(B)
        for distance in (
            lambda a: metrics.frechet_distance(a, other),
            lambda a: metrics.frechet_distance(other, a),
        ):
            ends = [distance(few + side * 1e-6 * direction) for side in (-1, 1)]
            gradient = jax.grad(distance)(few)
            difference = (ends[1] - ends[0]) / 2e-6
            np.testing.assert_allclose(jnp.sum(gradient * direction), difference, rtol=1e-6)


@pytest.mark.parametrize("x64", [False, True])
def test_both_modes_have_the_same_derivative(x64):
    def rolled(function):
        return lambda shift: function(jnp.asarray(A[:5], jnp.float32) + shift[None])

    other = np.float32(B)
    with jax.enable_x64(x64):
        shift = jnp.arange(6, dtype=jnp.float32) / 10
        for function in (
            rolled(lambda a: metrics.frechet_distance(a, other)),
            rolled(lambda a: metrics.kernel_distance(a, other)),
            rolled(lambda a: metrics.nearest_neighbor_ratio(a, other, other[:4] + 1)),
            rolled(lambda a: metrics.manifold_scores(a, other, neighbors=2).density),
            rolled(lambda a: metrics.mode_coverage(a, other, deviation=0.5).quality),
        ):
            forward, backward = jax.jacfwd(function)(shift), jax.jacrev(function)(shift)
            assert forward.shape == backward.shape == (6,)
            np.testing.assert_allclose(forward, backward, rtol=1e-4, atol=1e-6)
        scores, changes = jax.jvp(
            rolled(lambda a: metrics.mode_coverage(a, other, deviation=0.5)), (shift,), (shift,)
        )
    assert scores.modes.dtype == jnp.int64 if x64 else jnp.int32
    assert changes.modes.dtype == jax.dtypes.float0


def test_the_gradient_of_half_precision_is_rounded_once():
    few = jnp.asarray(A, jnp.bfloat16)
    gradient = jax.grad(metrics.frechet_distance)
    half, expected = gradient(few, B), gradient(few.astype(jnp.float32), B)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_array_equal(half, expected.astype(jnp.bfloat16))


def test_the_frechet_distance_of_a_set_from_itself_has_no_gradient():
    same = jnp.asarray(A[:4], jnp.float32)
    np.testing.assert_allclose(jax.grad(metrics.frechet_distance)(same, same), 0, atol=1e-6)


def test_a_copy_has_a_finite_gradient():
    train, held_out = jnp.asarray(A, jnp.float32), jnp.asarray(B, jnp.float32)
    gradient = jax.grad(metrics.nearest_neighbor_ratio)(train[:3], train, held_out)
    assert np.isfinite(gradient).all()
