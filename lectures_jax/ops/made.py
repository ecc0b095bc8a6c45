"""Masks with which each output of a dense network depends on the inputs before it alone."""

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
    """Returns one mask per kernel, true where a weight may be other than zero.

    With kernels so masked, the outputs for the n-th feature of the order depend on the features
    before it alone: the Jacobian is strictly triangular.

    Args:
        features: number of inputs.
        hidden: sizes of the hidden layers, at least one.
        parameters: number of outputs per feature; those of one feature are neighbors.
        order: position of each feature, a permutation of 0, 1, …; by default their own order.
        conditional: whether there are units that depend on no feature; a network needs them if all
            its units also see a condition.

    Returns:
        Masks [inputs, outputs] of each layer; the last has `features · parameters` outputs.

    Raises:
        ValueError: if a size is not positive, no layer is hidden, or `order` is no permutation.

    Source:
        Germain et al. (2015), eq. 12 and 13; the degrees repeat in turn, where theirs are random.
    """
    if not hidden or min(features, parameters, *hidden) < 1:
        raise ValueError(
            f"features, parameters and each of hidden must be positive, got {features}, "
            f"{parameters} and {tuple(hidden)}."
        )
    position = np.arange(features) if order is None else np.asarray(order)
    if sorted(position) != list(range(features)):
        raise ValueError(f"order must be a permutation of 0 to {features - 1}, got {order}.")
    # A unit of degree m depends on the first m features of the order.
    least = 0 if conditional or features == 1 else 1
    known, masks = position + 1, []
    for size in hidden:
        degree = least + np.arange(size) % (features - least)
        masks.append(degree[None] >= known[:, None])
        known = degree
    masks.append(np.repeat(position, parameters)[None] >= known[:, None])
    return tuple(jnp.asarray(mask) for mask in masks)
