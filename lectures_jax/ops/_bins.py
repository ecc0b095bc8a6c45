"""Bins along the first axis, of one-dimensional maps that differ from bin to bin."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def partial_sums(sizes: Array) -> Array:
    """Returns the sums of the first 1, 2, …, k − 1 sizes."""
    return jnp.cumsum(sizes, axis=0)[:-1]


def with_ends(inner: Array, first: float, last: float) -> Array:
    """Returns the inner edges between a first and a last one."""
    ends = [jnp.full((1, *inner.shape[1:]), end, inner.dtype) for end in (first, last)]
    return jnp.concatenate([ends[0], inner, ends[1]])


def bin_mask(value: Array, edges: Array) -> Bool[Array, "k *b"]:
    """Returns which bin holds each value; the outer bins reach to infinity."""
    above = value[None] >= edges[1:-1]
    yes = jnp.ones((1, *value.shape), bool)
    return jnp.concatenate([yes, above]) & jnp.concatenate([~above, yes])


def pick(mask: Bool[Array, "k *b"], values: Float[Array, "k *b"]) -> Float[Array, "*b"]:
    """Returns the values of the bins that the mask selects.

    A sum over a mask: its gradient is a product, where that of a look-up would be a scatter.
    """
    return jnp.sum(jnp.where(mask, values, 0), axis=0)


def clip_to_unit(position: Array) -> Array:
    """Clips to [0, 1], but with the derivative of the identity at both ends."""
    return jnp.where(position < 0, 0, jnp.where(position > 1, 1, position))
