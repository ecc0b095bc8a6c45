"""Images as arrays: conversion to RGB, enlargement, contact sheets, encoded files."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image


def to_rgb(image: Num[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h w 3"]:
    """Returns an image as uint8 RGB.

    Args:
        image: gray (no channel axis, or 1) or RGB (3); uint8, or float in [0, 1], which is clipped.

    Raises:
        ValueError: if the shape or the dtype is another, or a float is not finite.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"image must be [h, w], [h, w, 1] or [h, w, 3], got {list(image.shape)}.")
    if np.issubdtype(image.dtype, np.floating):
        if not np.isfinite(image).all():
            raise ValueError("image must be finite, got NaN or infinity.")
        image = np.rint(np.clip(image, 0, 1).astype(np.float32) * 255).astype(np.uint8)
    if image.dtype != np.uint8:
        raise ValueError(f"image must be uint8, or float in [0, 1], got {image.dtype}.")
    return np.broadcast_to(image, (*image.shape[:2], 3))


def grid(
    images: Sequence[Num[np.ndarray, "_ _ *_"]] | Num[np.ndarray, "n h w *c"],
    *,
    columns: int | None = None,
    gap: int = 4,
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Returns images side by side in rows, as one; smaller ones are centered in their cell.

    Args:
        images: gray or RGB, uint8 or float in [0, 1], of any sizes.
        columns: images in a row; by default as many as there are rows, or one more.
        gap: width of the gray lines between images, in pixels.

    Raises:
        ValueError: if there is no image.
    """
    if not len(images):
        raise ValueError("images must hold at least one image, got none.")
    cells = [to_rgb(image) for image in images]
    columns = min(columns or int(np.ceil(len(cells) ** 0.5)), len(cells))
    h, w = np.max([cell.shape[:2] for cell in cells], axis=0)
    rows = -(-len(cells) // columns)
    canvas = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 128, np.uint8)
    for i, cell in enumerate(cells):
        y = i // columns * (h + gap) + (h - cell.shape[0]) // 2
        x = i % columns * (w + gap) + (w - cell.shape[1]) // 2
        canvas[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
    return canvas


def enlarge(images: Num[np.ndarray, "*n h w c"], *, factor: int) -> Num[np.ndarray, "*n _ _ c"]:
    """Returns images whose pixels are repeated, so that a browser does not blur them.

    Args:
        images: one image or a batch, in any range.
        factor: rows and columns that each pixel covers, at least 1.
    """
    return np.asarray(images).repeat(factor, axis=-3).repeat(factor, axis=-2)


def sheet(
    images: Num[np.ndarray, "n h w c"], *, columns: int = 10, width: int = 50
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Returns small images in rows, as one, each enlarged to about the same width.

    Args:
        images: gray or RGB, uint8 or float in [0, 1].
        columns: images in a row.
        width: of each image, in pixels; the factor is the whole number that comes nearest to it.

    Raises:
        ValueError: if there is no image.
    """
    factor = max(1, round(width / images.shape[2]))
    return grid(enlarge(images, factor=factor), columns=columns)


def encode(image: Num[np.ndarray, "h w *c"]) -> tuple[str, bytes]:
    """Returns an image as a small file: its media type and its bytes.

    Plots and small images are stored exactly (PNG), larger photographs as JPEG of quality 90 with
    full color resolution, which keeps thin colored lines sharp.

    Args:
        image: gray or RGB, uint8 or float in [0, 1].
    """
    pixels = Image.fromarray(to_rgb(image))
    exact, photograph = BytesIO(), BytesIO()
    pixels.save(exact, "PNG")
    if exact.tell() <= 16_384:
        return "image/png", exact.getvalue()
    # Without `optimize`, for which Pillow keeps a buffer that noise overflows.
    pixels.save(photograph, "JPEG", quality=90, subsampling=0)
    if exact.tell() <= 1.5 * photograph.tell():
        return "image/png", exact.getvalue()
    return "image/jpeg", photograph.getvalue()
