"""Small files for the readers' tests."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def image_file(path: Path, height: int = 8, width: int = 10, mode: str = "RGB") -> Path:
    """Writes an image in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (width, height)).save(path)
    return path


def noise(path: Path, height: int = 40, width: int = 50) -> np.ndarray:
    """Writes an image that does not compress."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def truncate(path: Path) -> None:
    """Cuts off the second half of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def png_header(path: Path, height: int, width: int) -> None:
    """Writes a PNG that promises a size and holds next to no data."""
    _png(path, struct.pack(">II5B", width, height, 8, 2, 0, 0, 0), bytes(100))


def png_file(path: Path, width: int, rows: list[bytes], *, bits: int, color: int) -> None:
    """Writes a PNG of a depth and type of color that Pillow does not write."""
    header = struct.pack(">II5B", width, len(rows), bits, color, 0, 0, 0)
    _png(path, header, b"".join(b"\0" + row for row in rows))


def _png(path: Path, header: bytes, rows: bytes) -> None:
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(body)) + name + body
        content += struct.pack(">I", zlib.crc32(name + body))
    path.write_bytes(content)


def text(path: Path, content: str) -> Path:
    """Writes a text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path
