"""What makes the style of an image: how its features, and its colors, vary together."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import check_positive, checked

LUMINANCE = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the brightness of a pixel. Source: ITU-R BT.601."""


@checked
@in_float32
def gram_matrix(features: Float[Array, "*b h w c"]) -> Float[Array, "*b c c"]:
    """Returns the Gram matrix `G_ij = Σ_p F_pi F_pj`, a sum over the positions p of a map.

    It says which channels are active together, and not where: any order of the positions has the
    same matrix.

    Args:
        features: maps of a layer.

    Returns:
        A symmetric, positive semi-definite matrix for each example, not normalized.

    Source:
        Gatys et al. (2016), eq. 3.
    """
    return _gram(features)


@jax.custom_jvp
def _gram(features: Array) -> Array:
    return _products(features, features)


@_gram.defjvp
def _gram_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """One product of matrices in either mode, where the product rule has two."""
    (features,), (tangent,) = primals, tangents
    half = _products(tangent, features)
    return _gram(features), half + jnp.swapaxes(half, -1, -2)


def _products(a: Array, b: Array) -> Array:
    return jnp.einsum("...hwi,...hwj->...ij", a, b, precision="highest")


@checked
@in_float32
def luminance(image: Float[Array, "*b h w 3"]) -> Float[Array, "*b h w 1"]:
    """Returns the brightness of each pixel, `0.299 R + 0.587 G + 0.114 B`.

    Args:
        image: RGB.

    Source:
        ITU-R BT.601, sec. 2.5.1; the Y of YIQ in Gatys et al. (2016b), sec. 4.
    """
    return jnp.sum(image * _shares(image), axis=-1, keepdims=True)


@checked
@in_float32
def with_luminance(
    image: Float[Array, "*b h w 3"], brightness: Float[Array, "*b h w 1"]
) -> Float[Array, "*b h w 3"]:
    """Returns an image of the same hues with another brightness.

    In YIQ the brightness is a coordinate of its own: to change it alone adds the same number to
    red, green and blue.

    Args:
        image: RGB, from which the color differences are taken.
        brightness: `luminance` of the result.

    Returns:
        RGB that may leave [0, 1]: not every hue exists at every brightness.

    Source:
        Gatys et al. (2016b), "Preserving color in neural artistic style transfer", sec. 4.
    """
    return image + (brightness - jnp.sum(image * _shares(image), axis=-1, keepdims=True))


@checked
@in_float32
def match_colors(
    image: Float[Array, "*b h w c"], reference: Float[Array, "*b h2 w2 c"], *, ridge: float = 1e-5
) -> Float[Array, "*b h w c"]:
    """Returns an image whose colors have the mean and the covariance of another's.

    `A (x − μ_x) + μ_r` with `A = Σ_r^½ Σ_x^-½`, where the halves are symmetric roots. Of one
    channel, such as the brightness, it matches mean and deviation.

    Args:
        image: whose pixels are mapped, all by the same linear map.
        reference: of any size; where the colors come from.
        ridge: variance, above 0, that is added to the colors of both, so that gray images have a
            root, too.

    Returns:
        Colors that may leave [0, 1]. Constants with regard to derivatives: where two variances are
        equal, a root has none.

    Raises:
        ValueError: if `ridge` is not above 0, or there is no pixel.

    Source:
        Hertzmann et al. (2001), sec. 3.4, for the brightness; Gatys et al. (2016b), sec. 3, for all
        channels, with the root that they call image analogies.
    """
    check_positive(ridge=ridge)
    for name, value in {"image": image, "reference": reference}.items():
        if not value.size:
            raise ValueError(f"{name} must hold at least one pixel, got shape {value.shape}.")
    image, reference = jax.lax.stop_gradient((image, reference))
    (mean, cov), (new_mean, new_cov) = (_color_moments(x, ridge) for x in (image, reference))
    matrix = _power(new_cov, 0.5) @ _power(cov, -0.5)
    return jnp.einsum("...ij,...hwj->...hwi", matrix, image - mean, precision="highest") + new_mean


def _shares(image: Array) -> Array:
    return jnp.asarray(LUMINANCE, image.dtype).reshape((1,) * (image.ndim - 1) + (3,))


def _color_moments(image: Array, ridge: float) -> tuple[Array, Array]:
    """Mean, with axes of size 1 for the cells, and covariance of the channels."""
    mean = jnp.mean(image, axis=(-3, -2), keepdims=True)
    centered = image - mean
    cov = jnp.einsum("...hwi,...hwj->...ij", centered, centered, precision="highest")
    cov /= image.shape[-3] * image.shape[-2]
    eye = ridge * jnp.eye(image.shape[-1], dtype=image.dtype)
    return mean, cov + eye.reshape((1,) * (cov.ndim - 2) + eye.shape)


def _power(matrix: Array, exponent: float) -> Array:
    """A power of symmetric positive definite matrices."""
    values, vectors = jnp.linalg.eigh(matrix)
    scaled = vectors * (values**exponent)[..., None, :]
    return jnp.matmul(scaled, jnp.swapaxes(vectors, -1, -2), precision="highest")
