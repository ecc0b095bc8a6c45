"""The one rule for images at the edge of every network, and what to do about others."""

from typing import Any

import jax.numpy as jnp


def check_images(
    images: Any,
    *,
    channels: int,
    size: tuple[int, int] | None = None,
    name: str = "images",
    signed: bool = False,
) -> None:
    """Refuses what is not a batch of images of floats; only shape and dtype are read.

    Args:
        images: should be [batch, height, width, channels].
        channels: that the network was built for.
        size: height and width that it was built for; None: any.
        name: of the argument.
        signed: whether values go from -1 to 1 and not from 0.

    Raises:
        ValueError: with what was expected, what came, and what to do.
    """
    if not hasattr(images, "shape"):
        got, remedy = type(images).__name__, f"jnp.asarray({name}) makes an array of it"
    else:
        got = f"{images.dtype}[{','.join(map(str, images.shape))}]"
        remedy = _remedy(images, channels, size, name, "/ 127.5 - 1" if signed else "/ 255")
    if remedy:
        sides = "height, width" if size is None else f"{size[0]}, {size[1]}"
        span = "[-1, 1]" if signed else "[0, 1]"
        expected = f"floats in {span} of shape [batch, {sides}, {channels}]"
        raise ValueError(f"{name} must be {expected}, got {got}: {remedy}.")


def _remedy(
    images: Any, channels: int, size: tuple[int, int] | None, name: str, scale: str
) -> str | None:
    """What makes images of the argument; None if it already is."""
    *outer, last = images.shape or (0,)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        return f"{name} {scale} makes floats of bytes"
    if images.ndim == 2 or (images.ndim == 3 and last not in (1, channels)):
        return f"{name}[..., None] adds the axis of the channel, {name}[None] that of the batch"
    if images.ndim == 3:
        return f"{name}[None] makes a batch of one image"
    if images.ndim != 4:
        return "each image has three axes"
    if last != channels:
        return _other_channels(last, channels, name, outer[1])
    if size is not None and tuple(outer[1:]) != tuple(size):
        return "the network was built for images of that size"
    return None


def _other_channels(got: int, channels: int, name: str, second: int) -> str:
    if second == channels:
        return f"jnp.moveaxis({name}, 1, -1) puts the channels last"
    if got == 1:
        return f"jnp.repeat({name}, {channels}, axis=-1) makes color images of gray ones"
    if channels == 1:
        return f"jnp.mean({name}, axis=-1, keepdims=True) makes gray images of them"
    if got == 4 and channels == 3:
        return f"{name}[..., :3] leaves the transparency out"
    return "the network was built for other channels"
