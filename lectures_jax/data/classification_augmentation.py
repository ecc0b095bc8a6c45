"""Random changes of small classified images that keep their class, a whole batch at once."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.typing import Batch, Key


def augment_classification(key: Key, batch: Batch, *, kind: str) -> Batch:
    """Returns a batch with each of its images changed at random.

    Args:
        key: source of the randomness.
        batch: `image` [n, h, w, c]; other entries pass through.
        kind: "shift" shifts by whole pixels, up to a twelfth of the height and at least up to one,
            and fills with 0; "flip" mirrors half of the images left to right; "affine" rotates by
            up to 0.2 radians, scales by up to 13 %, shifts by up to a twelfth of the size,
            continues the image beyond its border, and adds noise of standard deviation 0.05.

    Raises:
        ValueError: if `kind` is none of these.
    """
    changes = {"shift": _shift, "flip": _flip, "affine": _affine}
    if kind not in changes:
        raise ValueError(f"kind must be one of {tuple(changes)}, got {kind!r}.")
    return {**batch, "image": changes[kind](key, jnp.asarray(batch["image"]))}


def _shift(key: Key, images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    reach = max(1, images.shape[1] // 12)
    padded = jnp.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    corners = jax.random.randint(key, (len(images), 2), 0, 2 * reach + 1)
    crop = jax.vmap(lambda image, at: jax.lax.dynamic_slice(image, (*at, 0), images.shape[1:]))
    return crop(padded, corners)


def _flip(key: Key, images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    mirrored = jax.random.bernoulli(key, shape=(len(images), 1, 1, 1))
    return jnp.where(mirrored, images[:, :, ::-1], images)


def _affine(key: Key, images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    n, h, w, c = images.shape
    key_map, key_noise = jax.random.split(key)
    u = jax.random.uniform(key_map, (n, 4, 1), minval=-1.0)
    angle, factor = 0.2 * u[:, 0], jnp.exp(0.12 * u[:, 1])
    cos, sin = jnp.cos(angle) / factor, jnp.sin(angle) / factor
    row, column = (x.reshape(1, -1) for x in jnp.indices((h, w), jnp.float32))
    y, x = row - (h - 1) / 2, column - (w - 1) / 2
    rows = cos * y - sin * x + u[:, 2] * h / 12 + (h - 1) / 2
    columns = sin * y + cos * x + u[:, 3] * w / 12 + (w - 1) / 2
    # Linear interpolation as products of matrices: small images, and a gather compiles for long.
    transformed = jnp.einsum("npi,nijc->npjc", _interpolation(rows, h), images)
    transformed = jnp.einsum("npj,npjc->npc", _interpolation(columns, w), transformed)
    transformed = transformed.reshape(n, h, w, c)
    return transformed + 0.05 * jax.random.normal(key_noise, transformed.shape)


def _interpolation(positions: Float[Array, "n p"], size: int) -> Float[Array, "n p {size}"]:
    """The weight of each of `size` cells at each position; beyond the border, the border's."""
    inside = jnp.clip(positions, 0, size - 1)[..., None]
    return jnp.maximum(1 - jnp.abs(inside - jnp.arange(size, dtype=inside.dtype)[None, None]), 0)
