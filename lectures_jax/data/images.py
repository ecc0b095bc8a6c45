"""Decodes images and masks from files that may be damaged or hostile."""

import os
import threading
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from lectures_jax.data.files import at_most, limit, read_file
from lectures_jax.data.problems import BadInputError, ErrorLog

MAX_PIXELS = 20_000_000  # of one image; see `limit`
MAX_SCANS = 32  # of a progressive JPEG, each of which may visit all pixels
MAX_READS = 100_000  # of a file by Pillow; a large PNG needs a fourth
MAX_EXIF = 200_000  # bytes
# Pillow warns of each damaged entry of EXIF, of which a hostile file has thousands.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")
DAMAGED = "images that do not decode"
"""Kind of a problem."""
LARGE = 4_000_000  # pixels; of such images two are decoded at a time, to bound the memory
_ROOM = threading.Semaphore(2)
THREADS = min(8, os.cpu_count() or 1)
"""Images that are decoded at a time."""
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # none starts another program
SUFFIXES = (
    *(".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
COLOR_MODES = (
    *("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"),
    *("I;16", "I;16B", "I;16L", "I;16N"),
)
"""Of which a color image is made; 16 bits a channel become 8."""
INDEX_MODES = ("1", "L", "P", "I", "I;16", "I;16B")
SPREAD = {"L;2": 85, "L;4": 17}
"""By what Pillow multiplies the gray values of 2 and of 4 bits, so that white is 255."""


def decode_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes an image as RGB, upright by its EXIF orientation; transparency is dropped.

    Args:
        path: a BMP, GIF (first frame), JPEG, PNG, binary PPM, TIFF (first page) or WebP file.

    Raises:
        ValueError: if it does not decode, or is larger than 20 million pixels (which its header
            states, before any pixel is decoded; the environment's `LJX_LIMITS` raises this).
    """
    return _decode(path, COLOR_MODES, lambda image, _: _rgb(image))


def decode_on_black(path: Path, content: bytes | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes an image as RGB, upright, with black under what is transparent.

    Args:
        path: of the image, which an error names.
        content: of the file, by default that at `path`.

    Raises:
        ValueError: as `decode_image`.
    """
    return _decode(path, COLOR_MODES, lambda image, _: _over_black(image), content)


def decode_mask(path: Path) -> Int32[np.ndarray, "h w"]:
    """Decodes a mask, upright: the integer of each pixel, for a palette its index.

    Args:
        path: a file of one channel or with a palette.

    Raises:
        ValueError: as `decode_image`, and if the file has more than one channel.
    """

    def indices(image: Image.Image, raw: str) -> np.ndarray:
        return np.asarray(image).astype(np.int32) // SPREAD.get(raw, 1)

    return _decode(path, INDEX_MODES, indices)


def decode_8_bits(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Decodes an image as `decode_image` does, whose values must not lose their lower bits.

    Args:
        path: as for `decode_image`.

    Raises:
        ValueError: as `decode_image`, and if a channel has 16 bits.
    """

    def exact(image: Image.Image, raw: str) -> np.ndarray:
        if "16" in raw:
            raise BadInputError(path, "bits of a channel", "at most 8", 16)
        return _rgb(image)

    return _decode(path, COLOR_MODES, exact)


def verify(
    paths: Iterable[Path], problems: ErrorLog, decode: Callable[[Path], np.ndarray] = decode_image
) -> dict[Path, tuple[int, int]]:
    """Decodes every file once, on several cores.

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
    pool = ThreadPoolExecutor(THREADS)
    try:
        for path, result in zip(paths, pool.map(examine, paths), strict=True):
            if isinstance(result, BadInputError):
                problems.note(result, kind=DAMAGED)
            else:
                sizes[path] = result
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, do not decode the rest
    return sizes


def upright_size(path: Path, content: bytes | None = None) -> tuple[int, int]:
    """Returns height and width as `decode_image` does, from the file's header.

    Args:
        path: of the image, which an error names.
        content: of the file, by default that at `path`.

    Raises:
        ValueError: as `decode_image`, as far as the header shows it.
    """

    def size(image: Image.Image) -> np.ndarray:
        # Pillow turns a TIFF file by itself.
        turned = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
        return np.array(image.size if turned else image.size[::-1])

    h, w = _open(path, read_file(path, "image") if content is None else content, COLOR_MODES, size)
    return int(h), int(w)


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        gray = (np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535
        return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)
    if "transparency" in image.info:  # of a palette: Pillow warns about a direct conversion
        image = image.convert("RGBA")
    return np.asarray(image.convert("RGB"))


def _over_black(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        return _rgb(image)
    layer = image.convert("RGBA")
    ground = Image.new("RGBA", layer.size, "black")
    return np.asarray(Image.alpha_composite(ground, layer).convert("RGB"))


def _decode(
    path: Path,
    modes: tuple[str, ...],
    convert: Callable[[Image.Image, str], np.ndarray],
    content: bytes | None = None,
) -> np.ndarray:
    """Returns what `convert` makes of an upright image and of Pillow's name of its coding."""

    def decoded(image: Image.Image) -> np.ndarray:
        w, h = image.size
        raw = _raw_mode(image)
        with _ROOM if w * h > LARGE else nullcontext():
            image.load()
            return convert(_upright(image), raw)

    return _open(path, read_file(path, "image") if content is None else content, modes, decoded)


def _raw_mode(image: Image.Image) -> str:
    """How a file stores the pixels, such as "L;2" or "RGB;16B"; known before they are loaded."""
    for tile in getattr(image, "tile", ()):
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if arguments and isinstance(arguments[0], str):
            return arguments[0]
    return image.mode


def _open(
    path: Path,
    content: bytes,
    modes: tuple[str, ...],
    use: Callable[[Image.Image], np.ndarray],
) -> np.ndarray:
    """Returns what `use` makes of an image whose header promises no unreasonable work."""
    if content.count(b"\xff\xda") > MAX_SCANS and content.startswith(b"\xff\xd8"):
        raise BadInputError(path, "content", f"at most {MAX_SCANS} scans of a JPEG image", "more")
    if content.count(b"Exif\0\0") > 3:  # Pillow joins them, and each entry may hold all bytes
        raise BadInputError(path, "content", "at most 3 blocks of EXIF", "more")
    try:
        with Image.open(_Metered(content), formats=FORMATS) as image:
            w, h = image.size
            if w * h > limit(MAX_PIXELS):
                raise BadInputError(path, "size", at_most(MAX_PIXELS, "pixels"), f"{w}×{h}")
            if image.mode not in modes:
                raise BadInputError(path, "mode", f"one of {', '.join(modes)}", image.mode)
            if any(tile[0] in Image.DECODERS for tile in getattr(image, "tile", ())):
                got = f"{image.format} as text or in runs, which is slow"
                raise BadInputError(path, "content", "an image in a binary encoding", got)
            return use(image)
    except BadInputError:
        raise
    except UnidentifiedImageError as error:
        got = f"none of {', '.join(FORMATS)} by its first bytes"
        raise BadInputError(path, "content", "an image that decodes", got) from error
    except Exception as error:  # a decoder may raise nearly anything: OSError, SyntaxError, ...
        got = f"{type(error).__name__}: {error}"
        raise BadInputError(path, "content", "an image that decodes", got) from error


class _Metered(BytesIO):
    """A file that gives up when a header has far too many parts, whatever its format.

    Pillow reads a header part by part in Python, some microseconds each, and some formats let parts
    refer to the same bytes again and again.
    """

    def __init__(self, content: bytes):
        super().__init__(content)
        self.calls, self.bytes = 0, 4 * len(content) + 1_000_000

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.calls, self.bytes = self.calls + 1, self.bytes - len(content)
        if self.calls > MAX_READS or self.bytes < 0:
            raise ValueError("too many parts")
        return content


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where there is none or the EXIF is damaged."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as viewers do, which show the image as it is stored
        return 1
    return value if value in range(1, 9) else 1


def _upright(image: Image.Image) -> Image.Image:
    """Returns an image as people see it and annotate it."""
    blocks = (image.info.get(name, b"") for name in ("exif", "Raw profile type exif"))
    if max(map(len, blocks)) > MAX_EXIF:
        raise ValueError(f"EXIF of more than {MAX_EXIF} bytes")
    orientation = _orientation(image)
    if orientation == 1:
        return image
    plain = image.copy()
    plain.info = {name: v for name, v in image.info.items() if name == "transparency"}
    plain.getexif()[ExifTags.Base.Orientation] = orientation
    ImageOps.exif_transpose(plain, in_place=True)
    return plain
