"""Images as Darknet gives them to a network."""

import numpy as np
from jaxtyping import Float32, UInt8

from lectures_jax.data.letterbox import Letterbox


def darknet_stretch(
    image: UInt8[np.ndarray, "h w 3"], image_size: tuple[int, int]
) -> tuple[Float32[np.ndarray, "h2 w2 3"], Letterbox]:
    """Returns an image stretched to a size, in [0, 1], as AlexeyAB's fork of Darknet does.

    Args:
        image: RGB of any size.
        image_size: height and width of the result.

    Returns:
        The image, and the transform for `data.unletterbox_boxes`.
    """
    (height, width), (h, w) = image.shape[:2], image_size
    return _resized(image, image_size), Letterbox((w / width, h / height), (0, 0))


def darknet_letterbox(
    image: UInt8[np.ndarray, "h w 3"], image_size: tuple[int, int]
) -> tuple[Float32[np.ndarray, "h2 w2 3"], Letterbox]:
    """Returns an image with its aspect on a gray canvas, in [0, 1], as the original Darknet does.

    Args:
        image: RGB of any size.
        image_size: height and width of the canvas.

    Returns:
        The canvas, and the transform for `data.unletterbox_boxes`.
    """
    (height, width), (h, w) = image.shape[:2], image_size
    if w * height < h * width:
        new_h, new_w = max(1, height * w // width), w
    else:
        new_h, new_w = h, max(1, width * h // height)
    y, x = (h - new_h) // 2, (w - new_w) // 2
    canvas = np.full((h, w, 3), 0.5, np.float32)
    canvas[y : y + new_h, x : x + new_w] = _resized(image, (new_h, new_w))
    return canvas, Letterbox((new_w / width, new_h / height), (x, y))


def _resized(
    image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]
) -> Float32[np.ndarray, "h2 w2 3"]:
    """An image of another size, in [0, 1]: linear between the corners' centers.

    Column j of the result lies at `j (w − 1) / (w2 − 1)` of the image, and rows by the same
    formula; nothing is averaged where the image shrinks.

    Source:
        `resize_image` in Darknet's `image.c`.
    """
    rows, columns = (_positions(n, m) for n, m in zip(image.shape[:2], size, strict=True))
    wide = _between(_between(image, *rows, axis=0), *columns, axis=1)
    wide /= 255
    return wide


def _positions(cells: int, results: int) -> tuple[np.ndarray, np.ndarray]:
    """The cell before each result, and the share of the next."""
    scale = np.float32(cells - 1) / np.float32(max(results - 1, 1))
    at = np.arange(results, dtype=np.float32) * scale
    before = np.minimum(at.astype(np.int32), cells - 1)
    share = (at - before).astype(np.float32)
    if cells == 1 or results == 1:
        return np.full(results, cells - 1, np.int32), np.zeros(results, np.float32)
    before[-1], share[-1] = cells - 1, 0
    return before, share


def _between(
    image: np.ndarray, before: np.ndarray, share: np.ndarray, *, axis: int
) -> Float32[np.ndarray, "h2 w2 3"]:
    after = np.minimum(before + 1, image.shape[axis] - 1)
    result = np.take(image, before, axis=axis).astype(np.float32)
    change = np.take(image, after, axis=axis).astype(np.float32)
    change -= result  # in place: images are large, and many are fitted
    change *= share[:, None, None] if axis == 0 else share[:, None]
    result += change
    return result
