"""An image of any size on a canvas of fixed size, and the way back for boxes."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image

GRAY = 128  # value of the padding


class Letterbox(NamedTuple):
    """`canvas = image · scale + shift`, each a pair for x and y, in pixels."""

    scale: tuple[float, float]
    shift: tuple[int, int]


def letterbox(
    image: UInt8[np.ndarray, "h w c"], *, image_size: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "{image_size[0]} {image_size[1]} 3"], Letterbox]:
    """Fits an image into a canvas: whole, centered, its aspect kept, the rest gray.

    Args:
        image: gray (1 channel) or RGB.
        image_size: height and width of the canvas.

    Returns:
        The canvas, and the transform for `letterbox_boxes` and `unletterbox_boxes`.
    """
    transform, (h, w) = _fit(image.shape[:2], image_size)
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    if (h, w) != image.shape[:2]:
        image = np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR))
    if (h, w) == tuple(image_size):
        return image, transform
    x, y = transform.shift
    canvas = np.full((*image_size, 3), GRAY, np.uint8)
    canvas[y : y + h, x : x + w] = image
    return canvas, transform


def letterbox_mask(
    mask: Integer[np.ndarray, "h w"], *, image_size: tuple[int, int]
) -> Integer[np.ndarray, "{image_size[0]} {image_size[1]}"]:
    """Fits a mask into a canvas as `letterbox` fits its image: nearest neighbor, the rest 0.

    Args:
        mask: class or instance ids.
        image_size: height and width of the canvas.
    """
    transform, (h, w) = _fit(mask.shape, image_size)
    rows = ((np.arange(h) + 0.5) / transform.scale[1]).astype(np.int32)
    columns = ((np.arange(w) + 0.5) / transform.scale[0]).astype(np.int32)
    x, y = transform.shift
    canvas = np.zeros(image_size, mask.dtype)
    canvas[y : y + h, x : x + w] = mask[rows[:, None], columns[None]]
    return canvas


def letterbox_boxes(
    boxes: Float[np.ndarray, "*n 4"], transform: Letterbox
) -> Float[np.ndarray, "*n 4"]:
    """Maps boxes of the image to the canvas.

    Args:
        boxes: xyxy, in pixels of the image.
        transform: what `letterbox` returned for the image.
    """
    scale, shift = (np.array([*pair, *pair], boxes.dtype) for pair in transform)
    return boxes * scale + shift


def unletterbox_boxes(
    boxes: Float[np.ndarray, "*n 4"], transform: Letterbox
) -> Float[np.ndarray, "*n 4"]:
    """Maps boxes of the canvas, such as a detector's, back to the image; does not clip.

    Args:
        boxes: xyxy, in pixels of the canvas.
        transform: what `letterbox` returned for the image.
    """
    scale, shift = (np.array([*pair, *pair], boxes.dtype) for pair in transform)
    return (boxes - shift) / scale


def _fit(image: tuple[int, ...], canvas: tuple[int, int]) -> tuple[Letterbox, tuple[int, int]]:
    """The transform and the height and width of the resized image."""
    h, w = image
    ratio = min(canvas[0] / h, canvas[1] / w)
    new_h, new_w = max(1, round(h * ratio)), max(1, round(w * ratio))
    shift = ((canvas[1] - new_w) // 2, (canvas[0] - new_h) // 2)
    return Letterbox((new_w / w, new_h / h), shift), (new_h, new_w)
