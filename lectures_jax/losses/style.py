"""What an image shares with two others: the content of one, the style of the other."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax import ops
from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import checked


class Normalization(NamedTuple):
    """Factors of the two losses of one layer, by its number of positions and of channels.

    Attributes:
        content: `(positions, channels) -> factor` of `losses.content`.
        style: `(positions, channels) -> factor` of a layer in `losses.style`.
    """

    content: Callable[[int, int], float]
    style: Callable[[int, int], float]


PLAIN = Normalization(lambda positions, channels: 1.0, lambda positions, channels: 1.0)
"""The course's losses as they are: sums."""

GATYS = Normalization(
    lambda positions, channels: 0.5,
    lambda positions, channels: 1 / (4 * (channels * positions) ** 2),
)
"""Gatys et al. (2016), eq. 1 and 4."""

JOHNSON = Normalization(
    lambda positions, channels: 1 / (channels * positions),
    lambda positions, channels: 1 / (channels * positions) ** 2,
)
"""Johnson et al. (2016), eq. 2 to 4: a mean over the map, and Gram matrices of means."""


@checked
@in_float32
def content(
    features: Float[Array, "*b h w c"], target: Float[Array, "*b h w c"]
) -> Float[Array, "*b"]:
    """Returns `Σ_pi (F_pi − P_pi)²`, over positions p and channels i of one layer.

    Args:
        features: maps F of the image.
        target: maps P of the image whose content it should have.

    Returns:
        One value per example, at least 0: a sum, not a mean. Gatys et al. take half of it, Johnson
        et al. divide by the number of terms.

    Source:
        Gatys et al. (2016), eq. 1, without its factor ½.
    """
    return jnp.sum((features - target) ** 2, axis=(-3, -2, -1))


@checked
@in_float32
def style(
    features_by_layer: Mapping[str, Array],
    grams_by_layer: Mapping[str, Array],
    weights: Mapping[str, Any],
) -> Float[Array, "*b"]:
    """Returns `Σ_l γ_l Σ_ij (G_ij(F_l) − A_l,ij)²`, over layers l and pairs of channels.

    Args:
        features_by_layer: maps F_l [..., h, w, c] of the image by the name of their layer; other
            layers may be among them.
        grams_by_layer: Gram matrices A_l [..., c, c] of the image whose style it should have, from
            `ops.gram_matrix`.
        weights: γ_l of each layer that counts. Gatys et al. have 1 / (4 N² M²) times a weight, for
            N channels and M positions, Johnson et al. 1 / (N² M²): see `GATYS` and `JOHNSON`.

    Returns:
        One value per example, at least 0 for weights that are.

    Raises:
        ValueError: if there is no layer, or a layer of `weights` is missing in one of the others or
            of another shape or dtype there.

    Source:
        Gatys et al. (2016), eq. 3 to 5, without the factor of eq. 4.
    """
    _check_layers(features_by_layer, grams_by_layer, weights)
    terms = [
        weight * _gram_distance(features_by_layer[layer], grams_by_layer[layer])
        for layer, weight in weights.items()
    ]
    return jnp.sum(jnp.stack(terms), axis=0)


@checked
@in_float32
def total_variation(image: Float[Array, "*b h w c"]) -> Float[Array, "*b"]:
    """Returns `Σ (x_p+1,q − x_pq)² + (x_p,q+1 − x_pq)²`, over pixels and channels.

    Args:
        image: of at least one pixel.

    Returns:
        One value per example, 0 for an image of one color: a sum of squares, which is Mahendran and
        Vedaldi's regularizer with β = 2.

    Source:
        Rudin et al. (1992), in the form of Mahendran & Vedaldi (2015), eq. 4.
    """
    rows = jnp.sum((image[..., 1:, :, :] - image[..., :-1, :, :]) ** 2, axis=(-3, -2, -1))
    columns = jnp.sum((image[..., :, 1:, :] - image[..., :, :-1, :]) ** 2, axis=(-3, -2, -1))
    return rows + columns


def _gram_distance(features: Array, gram: Array) -> Array:
    return content(ops.gram_matrix(features)[..., None], gram[..., None])


def _check_layers(
    features_by_layer: Mapping[str, Array],
    grams_by_layer: Mapping[str, Array],
    weights: Mapping[str, Any],
) -> None:
    """Refuses layers that are missing, and Gram matrices of other maps."""
    if not weights:
        raise ValueError("weights must name at least one layer, got none.")
    for layer, weight in weights.items():
        for name, given in (
            ("features_by_layer", features_by_layer),
            ("grams_by_layer", grams_by_layer),
        ):
            if layer not in given:
                got = ", ".join(given) or "none"
                raise ValueError(f"{name} must have the layer {layer!r} of weights, got {got}.")
            if not jnp.issubdtype(given[layer].dtype, jnp.floating):
                raise ValueError(f"{name} must be floats, got {given[layer].dtype} in {layer!r}.")
        if not jnp.issubdtype(jnp.result_type(weight), jnp.floating):
            raise ValueError(f"weights must be floats, got {jnp.result_type(weight)} in {layer!r}.")
        *outer, _, _, channels = features_by_layer[layer].shape
        if grams_by_layer[layer].shape != (expected := (*outer, channels, channels)):
            got = list(grams_by_layer[layer].shape)
            raise ValueError(
                f"grams_by_layer must be {list(expected)} in {layer!r}, for features_by_layer of "
                f"shape {list(features_by_layer[layer].shape)}, got {got}."
            )
