"""Geometry of latent spaces: linear maps between them, interpolation and directions in one."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lectures_jax.ops._precision import in_float32, upcast
from lectures_jax.ops.linear import linear
from lectures_jax.typing import check_range, checked


class LatentMap(NamedTuple):
    """`z · kernel + bias`: from one latent space to another."""

    kernel: Float[Array, "*n d e"]
    bias: Float[Array, "*n e"]


@checked
def fit_latent_map(
    source: Float[Array, "n d"],
    target: Float[Array, "n e"],
    *,
    ridge: float = 0.0,
    intercept: bool = True,
) -> LatentMap:
    """Returns the linear map that takes each source latent closest to its target.

    Minimizes `Σ_n ‖target_n − source_n · kernel − bias‖² + ridge · ‖kernel‖²`. Where several maps
    are equally good, as with fewer pairs than dimensions, it is the one of least norm.

    Args:
        source: latents of the support set in one space.
        target: latents of the same images in the other space.
        ridge: weight of the kernel's square, at least 0; the bias is not penalized.
        intercept: whether the map has a bias; otherwise it is zero.

    Returns:
        Kernel and bias, in the dtype of `target`.

    Raises:
        ValueError: if the support is empty, or the ridge negative.

    Source:
        Asperti & Tonelli (2023), sec. 4; the pseudo-inverse: Golub & Van Loan (2013), sec. 5.5.
    """
    _check_support(source)
    check_range(ridge=ridge, low=0)
    x, y, means = _centered(source, target, intercept)
    if ridge:
        d = x.shape[1]
        x = jnp.concatenate([x, ridge**0.5 * jnp.eye(d, dtype=x.dtype)])
        y = jnp.concatenate([y, jnp.zeros((d, y.shape[1]), y.dtype)])
    return _latent_map(jnp.linalg.pinv(x) @ y, means, target.dtype)


@checked
def fit_rotation(
    source: Float[Array, "n d"], target: Float[Array, "n e"], *, intercept: bool = True
) -> LatentMap:
    """Returns the map that takes each source closest to its target without stretching (Procrustes).

    With `UΣVᵀ` the singular value decomposition of `sourceᵀ · target`, the kernel is `UVᵀ`:
    rotations and reflections, or between spaces of different size a matrix with orthonormal rows
    or columns.

    Args:
        source: latents of the support set in one space.
        target: latents of the same images in the other space.
        intercept: whether the map has a bias; otherwise it is zero.

    Returns:
        Kernel and bias, in the dtype of `target`.

    Raises:
        ValueError: if the support is empty.

    Source:
        Schönemann (1966), eq. 2.10.
    """
    _check_support(source)
    x, y, means = _centered(source, target, intercept)
    u, _, vt = jnp.linalg.svd(x.T @ y, full_matrices=False)
    return _latent_map(u @ vt, means, target.dtype)


@checked
def apply_latent_map(map: LatentMap, z: Float[Array, "*b d"]) -> Float[Array, "*b e"]:  # noqa: A002
    """Returns the latents in the target space, `z · kernel + bias`.

    Args:
        map: kernel and bias, as `fit_latent_map` and `fit_rotation` return them.
        z: latents in the source space.

    Returns:
        One latent of the target space for each of `z`.

    Raises:
        ValueError: if the sizes do not fit, or the map does not hold floats.

    Source:
        Asperti & Tonelli (2023), sec. 4.
    """
    if not all(jnp.issubdtype(a.dtype, jnp.floating) for a in map):
        raise ValueError(f"map must hold floats, got {map.kernel.dtype} and {map.bias.dtype}.")
    return linear(z, map.kernel, map.bias)


@checked
@in_float32
def lerp(
    a: Float[Array, "*b d"], b: Float[Array, "*b d"], t: Float[Array, "*t"] | float
) -> Float[Array, "*_ d"]:
    """Returns `(1 − t) · a + t · b`, linear interpolation.

    Args:
        a: vectors, the result for t = 0.
        b: vectors, the result for t = 1.
        t: one number for all pairs or one for each; between single vectors also several, which give
            as many points of the line.

    Returns:
        One vector for each pair and number.

    Raises:
        ValueError: if there are pairs and `t` is neither one number nor one for each.

    Source:
        White (2016), sec. 2.
    """
    a, b, t = _aligned(a, b, t)
    return (1 - t) * a + t * b


@checked
@in_float32
def slerp(
    a: Float[Array, "*b d"], b: Float[Array, "*b d"], t: Float[Array, "*t"] | float
) -> Float[Array, "*_ d"]:
    """Returns the point on the great arc from a to b, which keeps the length that both have.

    `sin((1 − t)Ω) / sin Ω · a + sin(tΩ) / sin Ω · b` with Ω the angle between them. Between
    parallel, opposite or zero vectors there is no unique arc: the result is that of `lerp`.

    Args:
        a: vectors, the result for t = 0.
        b: vectors, the result for t = 1.
        t: one number for all pairs or one for each; between single vectors also several, which give
            as many points of the arc.

    Returns:
        One vector for each pair and number.

    Raises:
        ValueError: if there are pairs and `t` is neither one number nor one for each.

    Source:
        Shoemake (1985), sec. 3.3; in latent spaces: White (2016), sec. 2.
    """
    a, b, t = _aligned(a, b, t)
    difference, total = _direction(a) - _direction(b), _direction(a) + _direction(b)
    near, far = jnp.sum(difference**2, -1, keepdims=True), jnp.sum(total**2, -1, keepdims=True)
    # They sum to 4, or to less where a vector is zero; one vanishes where there is no single arc.
    straight = (jnp.minimum(near, far) < 16 * jnp.finfo(a.dtype).eps) | (near + far < 3)
    near, far = jnp.where(straight, 1, near), jnp.where(straight, 1, far)
    # Kahan's formula: the arc cosine of the product loses half of the digits of small angles.
    angle = 2 * jnp.atan2(jnp.sqrt(near), jnp.sqrt(far))
    weight_a = jnp.where(straight, 1 - t, jnp.sin((1 - t) * angle) / jnp.sin(angle))
    weight_b = jnp.where(straight, t, jnp.sin(t * angle) / jnp.sin(angle))
    return weight_a * a + weight_b * b


@checked
@in_float32
def mean_direction(z: Float[Array, "n d"], present: Bool[Array, " n"]) -> Float[Array, " d"]:
    """Returns the difference of the mean latent with an attribute and the mean without it.

    Args:
        z: latents of images.
        present: which of the images have the attribute, some but not all.

    Returns:
        A vector to add to the latents of images without the attribute.

    Raises:
        ValueError: if there are no latents.

    Source:
        Larsen et al. (2016), sec. 4.2.
    """
    _check_latents(z)
    with_it, without = _class_means(_from_first(z), present)
    return with_it - without


@checked
@in_float32
def fisher_direction(
    z: Float[Array, "n d"], present: Bool[Array, " n"], *, ridge: float = 1e-3
) -> Float[Array, " d"]:
    """Returns the unit normal of the plane that best separates latents by an attribute.

    `(S + ridge · tr(S) / d · I)⁻¹ · (mean with − mean without)`, scaled to length 1, with S the
    covariance within the two classes: Fisher's linear discriminant.

    Args:
        z: latents of images.
        present: which of the images have the attribute, some but not all.
        ridge: added to the diagonal of S, in units of its mean variance; with 0, S must have full
            rank.

    Returns:
        A vector of length 1, which points to the latents with the attribute; NaN if no latent
        differs from another.

    Raises:
        ValueError: if there are no latents.

    Source:
        Fisher (1936); Bishop (2006), eq. 4.30.
    """
    _check_latents(z)
    z = _from_first(z)
    with_it, without = _class_means(z, present)
    centered = z - jnp.where(present[:, None], with_it[None], without[None])
    within = centered.T @ centered / len(z)
    d = z.shape[1]
    within += (ridge * jnp.trace(within) / d) * jnp.eye(d, dtype=within.dtype)
    normal = jnp.linalg.solve(within, with_it - without)
    return normal / jnp.linalg.norm(normal)


def _check_support(source: Array) -> None:
    if not source.size:
        raise ValueError(f"source must hold at least one latent, got shape {source.shape}.")


def _check_latents(z: Array) -> None:
    if not z.size:
        raise ValueError(f"z must hold at least one latent, got shape {z.shape}.")


def _centered(source: Array, target: Array, intercept: bool) -> tuple[Array, Array, tuple]:
    """Both sets around their means, and these; without intercept they stay where they are."""
    x, y = upcast(source), upcast(target)
    means = tuple(z[0] + jnp.mean(_from_first(z), axis=0) for z in (x, y))
    if not intercept:
        means = jax.tree.map(jnp.zeros_like, means)
    return x - means[0][None], y - means[1][None], means


def _latent_map(kernel: Array, means: tuple[Array, Array], dtype: jnp.dtype) -> LatentMap:
    bias = means[1] - means[0] @ kernel
    return LatentMap(kernel.astype(dtype), bias.astype(dtype))


def _aligned(a: Array, b: Array, t: Array | float) -> tuple[Array, Array, Array]:
    """Gives vectors and steps the same number of axes."""
    t = jnp.asarray(t, a.dtype)
    if t.ndim and a.ndim > 1 and t.shape != a.shape[:-1]:
        raise ValueError(
            f"t must be one number, or of shape {a.shape[:-1]} for vectors of shape {a.shape}, "
            f"got {t.shape}."
        )
    rank = max(t.ndim + 1, a.ndim)
    a, b = (x.reshape((1,) * (rank - x.ndim) + x.shape) for x in (a, b))
    return a, b, t.reshape(t.shape + (1,) * (rank - t.ndim))


def _direction(x: Array) -> Array:
    """Unit vectors; zero stays zero, and has a gradient."""
    # The largest entry first: the squares of a short vector would vanish.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True, initial=0))
    x = x / jnp.where(largest > 0, largest, 1)
    squares = jnp.sum(x**2, axis=-1, keepdims=True)
    zero = squares == 0
    return jnp.where(zero, 0, x * jax.lax.rsqrt(jnp.where(zero, 1, squares)))


def _from_first(z: Array) -> Array:
    """The latents from the first one on: the rounded mean of large equal numbers is not theirs."""
    return z - z[:1]


def _class_means(z: Array, present: Array) -> tuple[Array, Array]:
    weight = present.astype(z.dtype)[:, None]
    with_it = jnp.sum(weight * z, axis=0) / jnp.sum(weight)
    return with_it, jnp.sum((1 - weight) * z, axis=0) / jnp.sum(1 - weight)
