"""PNG files that are written fast: many drawings must not wait for their compression."""

import struct
import zlib

import numpy as np
from jaxtyping import UInt8

UP = 2  # the filter that keeps the difference to the row above
TRUE_COLOR = 2


def png_bytes(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Returns the content of a PNG file with an image: a sixth of Pillow's time, a tenth larger.

    Each row is stored as its difference to the one above, and only runs of equal bytes are looked
    for.

    Args:
        image: RGB.

    Source:
        ISO/IEC 15948:2004, sec. 9.2 and 11.2.
    """
    height, width, _ = image.shape
    flat = image.reshape(height, 3 * width)
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = UP
    rows[:1, 1:] = flat[:1]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])  # modulo 256
    deflate = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    data = deflate.compress(rows.data) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, TRUE_COLOR, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
