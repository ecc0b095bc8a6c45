"""The squared Fréchet distance of two Gaussians, and its gradient whatever their rank."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


@jax.jit
def frechet(a: Array, b: Array) -> Array:
    """Returns the distance of the Gaussians fitted to the rows of `a` and of `b`."""

    def fit(x: Array) -> tuple[Array, Array]:
        mean = jnp.mean(x, axis=0, keepdims=True)
        return mean[0], (x - mean) / np.sqrt(len(x) - 1)

    (mean_a, centered_a), (mean_b, centered_b) = fit(a), fit(b)
    overlap = _trace_norm(centered_a, centered_b)
    spread = jnp.sum(centered_a**2) + jnp.sum(centered_b**2) - 2 * overlap
    return jnp.sum((mean_a - mean_b) ** 2) + jnp.maximum(spread, 0)


@jax.custom_vjp
def _trace_norm(a: Array, b: Array) -> Array:
    """Sum of the singular values of `a bᵀ`, from triangular factors, which are smaller.

    Its gradient by `a` is `W b`, where W is the best orthogonal matrix: the sum is `tr(Wᵀ a bᵀ)`.
    Through the factors it would be infinite where the rank is not full.
    """
    root_a, root_b = (jnp.linalg.qr(x, mode="r") for x in (a, b))
    return jnp.sum(jnp.linalg.svd(root_a @ root_b.T, compute_uv=False))


def _forward(a, b):
    (basis_a, root_a), (basis_b, root_b) = jnp.linalg.qr(a), jnp.linalg.qr(b)
    left, values, right = jnp.linalg.svd(root_a @ root_b.T, full_matrices=False)
    rounding = len(root_a) * jnp.finfo(values.dtype).eps * jnp.max(values)
    rotation = jnp.where(values > rounding, left, 0) @ right
    return jnp.sum(values), (basis_a @ rotation @ root_b, basis_b @ rotation.T @ root_a)


def _backward(directions, gradient):
    return tuple(gradient * direction for direction in directions)


_trace_norm.defvjp(_forward, _backward)
