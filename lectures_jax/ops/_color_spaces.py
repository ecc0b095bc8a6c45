"""Color spaces in 8 bits per channel, computed in integers as OpenCV does.

Images are int32 in [0, 255]. Source: OpenCV, `cvtColor`.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

DIVISIONS = 12  # bits after the point of a quotient
GAMMA, CUBE = 3, 15  # of linear light, and of cube roots
WHITE = np.array([0.950456, 1.0, 1.088754])
XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
"""From linear RGB, as of ITU-R BT.709."""


def hsv8(image: Int[Array, "h w 3"]) -> Int[Array, "h w 3"]:
    """Returns hue in [0, 180), saturation and value in [0, 255]."""
    red, green, blue = (image[..., k] for k in range(3))
    value, least = jnp.max(image, axis=-1), jnp.min(image, axis=-1)
    span = value - least
    number = np.maximum(np.arange(256), 1)
    per_value = np.rint((255 << DIVISIONS) / number).astype(np.int32)
    per_span = np.rint((180 << DIVISIONS) / (6.0 * number)).astype(np.int32)
    half = 1 << (DIVISIONS - 1)
    saturation = (span * jnp.take(jnp.asarray(per_value), value) + half) >> DIVISIONS
    sixth = jnp.where(
        value == red,
        green - blue,
        jnp.where(value == green, blue - red + 2 * span, red - green + 4 * span),
    )
    hue = (sixth * jnp.take(jnp.asarray(per_span), span) + half) >> DIVISIONS
    return jnp.stack([jnp.where(hue < 0, hue + 180, hue), saturation, value], axis=-1)


def lab8(image: Int[Array, "h w 3"]) -> Int[Array, "h w 3"]:
    """Returns CIE Lab: L times 2.55, a and b more by 128.

    OpenCV's cube roots are rougher: about one pixel in 10,000 differs there, by one level.
    """
    level = np.arange(256) / 255
    light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    linear = np.rint(255 * (1 << GAMMA) * light).astype(np.int32)
    x = np.arange(256 * 3 // 2 << GAMMA) / (255 << GAMMA)
    cube = np.where(x < 216 / 24389, 841 / 108 * x + 16 / 116, np.cbrt(x))
    cube = np.rint((1 << CUBE) * cube).astype(np.int32)
    weights = np.rint((1 << DIVISIONS) * XYZ / WHITE[:, None]).astype(np.int32)
    rgb = jnp.take(jnp.asarray(linear), image)
    xyz = [_shifted(jnp.sum(rgb * jnp.asarray(row)[None, None], -1), DIVISIONS) for row in weights]
    fx, fy, fz = (jnp.take(jnp.asarray(cube), v) for v in xyz)
    lightness = (116 * 255 + 50) // 100 * fy - (16 * 255 * (1 << CUBE) + 50) // 100
    parts = lightness, 500 * (fx - fy) + (128 << CUBE), 200 * (fy - fz) + (128 << CUBE)
    return jnp.clip(jnp.stack([_shifted(v, CUBE) for v in parts], axis=-1), 0, 255)


def gray8(image: Int[Array, "h w 3"]) -> Int[Array, "h w 1"]:
    """Returns the luma of ITU-R BT.601."""
    weights = jnp.array([9798, 19235, 3735], jnp.int32).reshape(1, 1, 3)
    return _shifted(jnp.sum(image * weights, axis=-1, keepdims=True), 15)


def _shifted(value: Array, bits: int) -> Array:
    """Divides by 2^bits and rounds, halves up."""
    return (value + (1 << (bits - 1))) >> bits
