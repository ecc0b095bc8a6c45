"""Decodes images and masks from files that may be damaged or hostile."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image

from lectures_jax.data.problems import BadInputError, ErrorLog

MAX_PIXELS = 50_000_000  # a larger image is refused as a decompression bomb
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP")  # none of them starts another program
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp")
COLOR_MODES = (
    "1",
    "L",
    "LA",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "CMYK",
    "YCbCr",
)  # 8 bits a channel at most
INDEX_MODES = ("1", "L", "P", "I", "I;16", "I;16B")


def decode_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes an image as RGB; transparency is dropped, EXIF rotation is not applied.

    Args:
        path: a BMP, GIF (first frame), JPEG, PNG, PPM or WebP file.

    Raises:
        ValueError: if it does not decode, or is larger than 50 million pixels (which its
            header states, before any pixel is decoded).
    """
    return _decode(path, COLOR_MODES, _rgb)


def decode_on_black(path: Path, file: BytesIO | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes an image as RGB, with black under what is transparent.

    Args:
        path: of the image, which an error names.
        file: its content, by default that of the file at `path`.

    Raises:
        ValueError: as `decode_image`.
    """
    return _decode(path, COLOR_MODES, _over_black, file)


def decode_mask(path: Path) -> Int32[np.ndarray, "h w"]:
    """Decodes a mask: the integer of each pixel, for a palette its index.

    Args:
        path: a file of one channel or with a palette.

    Raises:
        ValueError: as `decode_image`, and if the file has more than one channel.
    """
    return _decode(path, INDEX_MODES, lambda image: np.asarray(image).astype(np.int32))


def verify(
    paths: Iterable[Path], problems: ErrorLog, decode: Callable[[Path], np.ndarray] = decode_image
) -> dict[Path, tuple[int, int]]:
    """Decodes every file once, on all cores.

    Args:
        paths: of the files.
        problems: receives an error for each file that does not decode.
        decode: what must work, `decode_image` or `decode_mask`.

    Returns:
        Height and width of those that decode; the others are noted in `problems`.
    """

    def examine(path: Path) -> tuple[int, int] | BadInputError:
        try:
            h, w = decode(path).shape[:2]
        except BadInputError as error:
            return error
        return h, w

    paths, sizes = list(paths), {}
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for path, result in zip(paths, pool.map(examine, paths), strict=True):
            if isinstance(result, BadInputError):
                problems.note(result)
            else:
                sizes[path] = result
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, do not decode the rest
    return sizes


def _rgb(image: Image.Image) -> np.ndarray:
    if "transparency" in image.info:  # of a palette: Pillow warns about a direct conversion
        image = image.convert("RGBA")
    return np.asarray(image.convert("RGB"))


def _over_black(image: Image.Image) -> np.ndarray:
    layer = image.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "black")
    return np.asarray(Image.alpha_composite(ground, layer).convert("RGB"))


def _decode(
    path: Path,
    modes: tuple[str, ...],
    convert: Callable[[Image.Image], np.ndarray],
    file: BytesIO | None = None,
) -> np.ndarray:
    try:
        with Image.open(file or path, formats=FORMATS) as image:
            w, h = image.size
            if w * h > MAX_PIXELS:
                raise BadInputError(path, "size", f"at most {MAX_PIXELS} pixels", f"{w}×{h}")
            if image.mode not in modes:
                raise BadInputError(path, "mode", f"one of {', '.join(modes)}", image.mode)
            image.load()
            return convert(image)
    except BadInputError:
        raise
    except Exception as error:  # a decoder may raise nearly anything: OSError, SyntaxError, ...
        got = f"{type(error).__name__}: {error}"
        raise BadInputError(path, "content", "an image that decodes", got) from error
