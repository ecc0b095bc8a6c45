"""Masks that let a dense network see, for each output, only the inputs before it."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool


def autoregressive_masks(
    *,
    features: int,
    hidden: Sequence[int],
    parameters: int = 1,
    order: Sequence[int] | None = None,
    conditional: bool = False,
) -> tuple[Bool[Array, "_ _"], ...]:
    """Returns one mask per kernel, true where a connection may be.

    Through kernels so masked, the outputs of the feature at place n in the order depend on the
    features at places before n alone: the Jacobian is strictly triangular.

    Args:
        features: numbers going in.
        hidden: sizes of the hidden layers, at least one.
        parameters: outputs of each feature; those of one feature are neighbors.
        order: place of each feature, a permutation of 0, 1, …; by default as they stand.
        conditional: keep units that see no feature, for a condition that all units see.

    Returns:
        Masks [inputs, outputs] of each layer; the last has `features · parameters` outputs.

    Raises:
        ValueError: if a size is not positive, no layer is hidden, or `order` is no permutation.

    Source:
        Germain et al. (2015), eq. 12 and 13; the degrees go round instead of being drawn.
    """
    if not hidden or min(features, parameters, *hidden) < 1:
        raise ValueError(
            f"features, parameters and each of hidden must be positive, got {features}, "
            f"{parameters} and {tuple(hidden)}."
        )
    place = np.arange(features) if order is None else np.asarray(order)
    if sorted(place) != list(range(features)):
        raise ValueError(f"order must be a permutation of 0 to {features - 1}, got {order}.")
    # A unit of degree m sees the features at the first m places.
    least = 0 if conditional or features == 1 else 1
    known, masks = place + 1, []
    for size in hidden:
        degree = least + np.arange(size) % (features - least)
        masks.append(degree[None] >= known[:, None])
        known = degree
    masks.append(np.repeat(place, parameters)[None] >= known[:, None])
    return tuple(jnp.asarray(mask) for mask in masks)
