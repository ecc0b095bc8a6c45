"""The images that are handed in: one line says what is wrong with them."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

ROUNDING = 1e-5  # by which a resized image may leave [0, 1]

Image = Any
"""Floats in [0, 1] of shape [height, width, channels], an array of JAX or of NumPy."""


def as_images(image: Image, *, name: str = "image", channels: int | None = None) -> Array:
    """Returns one image as a batch, [1, height, width, channels], after a look at it.

    Args:
        image: floats in [0, 1] of shape [height, width, channels].
        name: of the argument, for the message.
        channels: how many there must be; None leaves them to the network.

    Raises:
        ValueError: if it is no such image: with what was expected, what came and what to do.
    """
    shape = f"[height, width, {channels or 'channels'}]"
    expected = f"{name} must be floats in [0, 1] of shape {shape}"
    pixels = as_pixels(image, name=name, expected=expected)
    wrong_channels = channels is not None and pixels.shape[-1:] != (channels,)
    if pixels.ndim != 3 or not pixels.size or wrong_channels:
        remedy = _reshaped(name, pixels.shape, channels)
        raise ValueError(f"{expected}, got shape {list(pixels.shape)}{remedy}.")
    return pixels[None]


def as_pixels(x: Any, *, name: str, expected: str) -> Float[Array, "*d"]:
    """Returns floats in [0, 1] as an array of JAX, after a look at their dtype and range.

    Args:
        x: an array of JAX or of NumPy; under a trace its range is not looked at.
        name: of the argument, for the message.
        expected: beginning of the message, such as "x must be floats in [0, 1]".

    Raises:
        ValueError: if x is no array of floats, or a value is below 0, above 1 or not a number.
    """
    if not hasattr(x, "dtype"):
        got, remedy = type(x).__name__, f"jnp.asarray({name}) makes an array of it"
        raise ValueError(f"{expected}, got {got}: {remedy}.")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        white = np.iinfo(np.uint16).max if x.dtype.name.endswith("16") else 255
        size = "16-bit integers" if white > 255 else "bytes"
        got = f"{x.dtype}: {name} / {white} makes floats of {size}"
        raise ValueError(f"{expected}, got {got}.")
    x = jnp.asarray(x)
    if not isinstance(x, Tracer) and x.size:
        low, high = float(jnp.min(x)), float(jnp.max(x))
        if not (low >= 0 and high <= 1):
            got = "NaN" if np.isnan(low) else f"values from {low:.8g} to {high:.8g}"
            close = low >= -ROUNDING and high <= 1 + ROUNDING
            remedy = f": jnp.clip({name}, 0, 1) removes what rounding added" if close else ""
            raise ValueError(f"{expected}, got {got}{remedy}.")
    return x


def _reshaped(name: str, shape: tuple[int, ...], channels: int | None) -> str:
    """What makes an image of other shapes."""
    if len(shape) == 2 and channels == 3:
        return f": jnp.repeat({name}[..., None], 3, axis=-1) makes a color image of a gray one"
    if len(shape) == 2:
        return f": {name}[..., None] adds the axis of the channel"
    if len(shape) == 4 and shape[0] == 1:
        return f": {name}[0] is the image of a batch of one"
    if len(shape) == 3 and channels == 3:
        if shape[-1] == 1:
            return f": jnp.repeat({name}, 3, axis=-1) makes a color image of a gray one"
        if shape[-1] == 4:
            return f": {name}[..., :3] leaves the transparency out"
        if shape[0] == 3:
            return f": jnp.moveaxis({name}, 0, -1) puts the channels last"
    return ""
