"""Distances and overlaps of a set of generated images and a set of real ones, from features."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from lectures_jax.metrics._float64 import in_float64
from lectures_jax.metrics._frechet import frechet
from lectures_jax.typing import check_count, check_positive, checked

Vectors = Float[Array | np.ndarray, "n d"]
Others = Float[Array | np.ndarray, "m d"]


class ManifoldScores(NamedTuple):
    """The overlap of two sets, from balls around their points that reach to the k-th neighbor.

    Attributes:
        precision: share of the samples in the ball of some real point: fidelity.
        recall: share of the real points in the ball of some sample: variety.
        density: number of real balls that contain a sample, over k; 1 on average for a perfect
            model, and unlike precision robust to the large ball of an outlier.
        coverage: share of the real balls that contain a sample.
    """

    precision: Float[Array, ""]
    recall: Float[Array, ""]
    density: Float[Array, ""]
    coverage: Float[Array, ""]


class ModeCoverage(NamedTuple):
    """How samples are distributed over the modes of a mixture.

    Attributes:
        modes: number of modes with at least one good sample.
        quality: share of the samples that are good.
    """

    modes: Int[Array, ""]
    quality: Float[Array, ""]


@checked
def frechet_distance(features_a: Vectors, features_b: Others) -> Float[Array, ""]:
    """Returns the squared Fréchet distance of the Gaussians fitted to two sets of features.

    `‖m_a − m_b‖² + tr(C_a) + tr(C_b) − 2 tr((C_a C_b)^½)`

    With `C = RᵀR`, R triangular from the centered features, the last trace is the sum of the
    singular values of `R_a R_bᵀ`. No root of a matrix is taken, so that the result is real and
    finite whatever the rank of the covariances. It is computed in float64, as all distances here,
    and returned in JAX's default precision.

    Args:
        features_a: features of one set, a row for each of at least two images. The distance grows
            with the square of the features' scale, so only those of one network can be compared.
        features_b: features of the other set, from the same network.

    Returns:
        A value of at least 0; for few rows it is too large even if the distributions are equal.

    Raises:
        ValueError: if a set has fewer than two rows.

    Source:
        Dowson & Landau (1982), eq. 4; Heusel et al. (2017), eq. 6.
    """
    _need(2, features_a=features_a, features_b=features_b)
    return in_float64(frechet, features_a, features_b)


@checked
def kernel_distance(features_a: Vectors, features_b: Others) -> Float[Array, ""]:
    """Returns the unbiased estimate of the squared maximum mean discrepancy, known as KID.

    `E k(a, a′) + E k(b, b′) − 2 E k(a, b)`, over pairs of different rows, with the kernel
    `(x·y / d + 1)³`. It compares means, covariances and skewness. All pairs count: there are no
    random subsets. Being unbiased, it may be slightly negative.

    Args:
        features_a: features of one set, a row for each of at least two images.
        features_b: features of the other set, from the same network.

    Returns:
        A value whose expectation is 0 for equal distributions, and greater otherwise.

    Raises:
        ValueError: if a set has fewer than two rows.

    Source:
        Bińkowski et al. (2018), eq. 4; Gretton et al. (2012), eq. 3.
    """
    _need(2, features_a=features_a, features_b=features_b)
    return in_float64(_kernel_distance, features_a, features_b)


@checked
def manifold_scores(real: Vectors, fake: Others, *, neighbors: int = 5) -> ManifoldScores:
    """Returns precision, recall, density and coverage of the samples.

    Args:
        real: features of real images, more rows than `neighbors`.
        fake: features of samples, more rows than `neighbors`, and about as many as of `real`, since
            recall compares the two densities.
        neighbors: k; a ball reaches to the k-th nearest other point of its own set.

    Returns:
        Four scores, all in [0, 1] but the density, which is at least 0.

    Raises:
        ValueError: if a set has no k-th neighbor, or k is not positive.

    Source:
        Kynkäänniemi et al. (2019), eq. 1 and 2; Naeem et al. (2020), eq. 3 and 4.
    """
    check_count(neighbors=neighbors)
    _need(neighbors + 1, real=real, fake=fake)
    return in_float64(partial(_manifold, neighbors), real, fake)


@checked
def nearest_neighbor_ratio(
    fake: Vectors, train: Others, held_out: Float[Array | np.ndarray, "k d"]
) -> Float[Array, ""]:
    """Returns the distance of samples from the training set, relative to that of new real images.

    It is the median distance of a sample to its nearest training image, divided by the same median
    of real images that the model was not trained on.

    Args:
        fake: samples, flattened or as features.
        train: images that the model was trained on, in the same form.
        held_out: real images that the model was not trained on, in the same form.

    Returns:
        A value of at least 0. Near 1 the model generalizes; far below 1 it copies, perhaps with
        noise; far above 1 its samples are unlike real images. It is infinite, or NaN where all
        samples are copies too, if half of `held_out` is in the training set.

    Raises:
        ValueError: if a set is empty.

    Source:
        Meehan et al. (2020), sec. 3, who test the same two sets of distances for a difference.
    """
    _need(1, fake=fake, train=train, held_out=held_out)
    return in_float64(_nearest_ratio, fake, train, held_out)


@checked
def class_histogram(
    labels: Int[Array, " n"], *, num_classes: int
) -> Float[Array, " {num_classes}"]:
    """Returns the share of each class among samples, as a classifier labels them.

    A mode that the model does not generate has share 0.

    Args:
        labels: class of each sample; those out of range count in the total only.
        num_classes: number of classes.

    Returns:
        Shares in [0, 1], of sum 1 if all labels are in range.

    Raises:
        ValueError: if there is no sample or no class.

    Source:
        Srivastava et al. (2017), sec. 4, count the modes of a set of digits in this way.
    """
    check_count(num_classes=num_classes)
    _need(1, labels=labels)
    inside = (labels >= 0) & (labels < num_classes)
    counts = jnp.bincount(jnp.where(inside, labels, num_classes), length=num_classes + 1)
    return counts[:-1] / labels.shape[0]


@checked
def mode_coverage(points: Vectors, modes: Others, *, deviation: float) -> ModeCoverage:
    """Returns how many modes of a mixture have good samples, and what share of the samples is good.

    A sample is good within three standard deviations of its nearest mode.

    Args:
        points: samples.
        modes: centers of the mixture's isotropic Gaussians.
        deviation: standard deviation of each Gaussian along each axis.

    Returns:
        The number of modes, and the share of samples.

    Raises:
        ValueError: if there is no sample or no mode, or `deviation` is not positive.

    Source:
        Srivastava et al. (2017), sec. 4.1.
    """
    check_positive(deviation=deviation)
    _need(1, points=points, modes=modes)
    return in_float64(partial(_covered_modes, deviation), points, modes)


def _need(least: int, **sets: Array | np.ndarray) -> None:
    for name, rows in sets.items():
        if rows.shape[0] < least:
            raise ValueError(f"{name} must have at least {least} rows, got {rows.shape[0]}.")
        if not all(rows.shape):
            raise ValueError(f"{name} must have at least one feature, got shape {rows.shape}.")


@jax.jit
def _kernel_distance(a: Array, b: Array) -> Array:
    def kernel(x: Array, y: Array) -> Array:
        return (x @ y / x.shape[-1] + 1) ** 3

    def total(x: Array, y: Array) -> Array:  # row by row: n² values would not fit for large sets
        return jnp.sum(lax.map(lambda row: jnp.sum(kernel(y, row)), x, batch_size=64))

    def within(x: Array) -> Array:
        n = len(x)
        return (total(x, x) - jnp.sum(jax.vmap(kernel)(x, x))) / (n * (n - 1))

    return within(a) + within(b) - 2 * total(a, b) / (len(a) * len(b))


@partial(jax.jit, static_argnums=0)
def _manifold(k: int, real: Array, fake: Array) -> ManifoldScores:
    reach_real, reach_fake = _reach(real, k), _reach(fake, k)

    def of_sample(x: Array) -> Array:  # number of the real balls that contain it
        return jnp.sum(_to_all(x, real) <= reach_real)

    def of_real(row: tuple[Array, Array]) -> tuple[Array, Array]:
        squared = _to_all(row[0], fake)
        return jnp.any(squared <= reach_fake), jnp.any(squared <= row[1])

    balls = lax.map(of_sample, fake)
    recalled, covered = lax.map(of_real, (real, reach_real))
    return ManifoldScores(
        precision=jnp.mean(balls > 0),
        recall=jnp.mean(recalled),
        density=jnp.mean(balls / k),
        coverage=jnp.mean(covered),
    )


@jax.jit
def _nearest_ratio(fake: Array, train: Array, held_out: Array) -> Array:
    norms = jnp.sum(train**2, axis=1)

    def to_nearest(row: Array) -> Array:
        # The nearest by a matrix product, its distance by differences: 0 for a copy.
        neighbor = train[_argmin(norms - 2 * train @ row)]
        squared = jnp.sum((row - neighbor) ** 2)
        # Where the distance is zero, the root has no derivative.
        return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)

    def nearest(x: Array) -> Array:
        return jnp.median(lax.map(to_nearest, x, batch_size=100))

    return nearest(fake) / nearest(held_out)


@jax.jit
def _covered_modes(deviation: Array, points: Array, modes: Array) -> ModeCoverage:
    squared = lax.map(lambda row: _to_all(row, modes), points)
    good = jnp.min(squared, axis=1) <= (3 * deviation) ** 2
    mode = jnp.where(good, jax.vmap(_argmin)(squared), len(modes))
    covered = jnp.bincount(mode, length=len(modes) + 1)[:-1] > 0
    return ModeCoverage(jnp.sum(covered), jnp.mean(good))


def _argmin(x: Array) -> Array:
    # `jnp.argmin` under the caller's `jit` is lowered where float64 is not enabled, and fails.
    return lax.top_k(-x, 1)[1][0]


def _reach(x: Array, k: int) -> Array:
    """Squared distance of each row to its k-th nearest other row; the nearest is the row itself."""
    return lax.map(lambda row: -lax.top_k(-_to_all(row, x), k + 1)[0][k], x)


def _to_all(row: Array, others: Array) -> Array:
    """Squared distances, from differences: symmetric to the last bit, and 0 for equal rows."""
    return jnp.sum((row[:, None] - others.T) ** 2, axis=0)
