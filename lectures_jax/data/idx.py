"""IDX, the format of MNIST: a short header, then all bytes of an array."""

import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from lectures_jax.data.files import MAX_BYTES, at_most, class_names, limit, read_file
from lectures_jax.data.problems import BadInputError, ErrorLog, build_dataset
from lectures_jax.data.records import Dataset, Record

MAX_IMAGES = 300_000
UNSIGNED_BYTE = 8
GZIP = b"\x1f\x8b"


def read_idx(
    images: Path | str,
    labels: Path | str,
    *,
    classes: Sequence[str] | None = None,
    strict: bool = True,
) -> Dataset:
    """Reads a classified set such as MNIST from two IDX files, compressed by gzip or not.

    Args:
        images: file of bytes of shape [n, h, w].
        labels: file of bytes of shape [n].
        classes: class names in order; by default the numbers up to the largest label.
        strict: raise if a label has no class; otherwise leave the image out and list it in
            `Dataset.problems`.

    Returns:
        Gray images [h, w, 1] in memory, one label each.

    Raises:
        ValueError: with file, field, expected and got; also without `strict` if a file is not what
            its header says or nothing is left.

    Source:
        LeCun, Cortes & Burges (1998), the MNIST database, "the IDX file format".
    """
    images, labels, problems = Path(images), Path(labels), ErrorLog(strict)
    pixels, targets = _array(images, rank=3), _array(labels, rank=1)
    if len(pixels) != len(targets):
        raise BadInputError(labels, "length", f"{len(pixels)} labels", len(targets))
    if classes is None:
        classes = [str(i) for i in range(int(targets.max(initial=0)) + 1)]
    classes, records = class_names(classes, labels), []
    for i, (image, label) in enumerate(zip(pixels, targets.astype(np.int32), strict=True)):
        if label >= len(classes):
            expected = f"less than {len(classes)}"
            problems.add(labels, f"label {i}", expected, int(label), kind="unknown classes")
        else:
            records.append(Record(f"{i:05d}", image[:, :, None], labels=label[None]))
    return build_dataset(records, classes, problems, images)


def _array(path: Path, *, rank: int) -> UInt8[np.ndarray, "..."]:
    """Reads one IDX array of unsigned bytes; inflates one byte more than the header states.

    Args:
        path: the file; its first bytes say whether it is compressed, since some browsers unpack a
            file and keep its name.
        rank: expected number of axes.

    Raises:
        ValueError: with file, field, expected and got.
    """
    content = read_file(path, "IDX")
    packed = zlib.decompressobj(31) if content.startswith(GZIP) else None
    start = 4 + 4 * rank
    try:
        head = packed.decompress(content, start) if packed else content[:start]
        shape = _shape(path, head, rank)
        count = math.prod(shape)
        data = content[start : start + count + 1]
        if packed:
            data = packed.decompress(packed.unconsumed_tail, count + 1)
    except zlib.error as error:
        raise BadInputError(path, "content", "an IDX file", f"zlib.error: {error}") from error
    if len(data) != count:
        got = f"{len(data)}" if len(data) < count else "more"
        raise BadInputError(path, "length", f"{count} bytes for shape {shape}", got)
    if packed and not packed.eof:
        raise BadInputError(path, "content", "a whole gzip file", "one that ends too early")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _shape(path: Path, head: bytes, rank: int) -> tuple[int, ...]:
    expected = bytes([0, 0, UNSIGNED_BYTE, rank])
    if head[:4] != expected:
        raise BadInputError(path, "magic number", expected.hex(" "), head[:4].hex(" "))
    if len(head) < 4 + 4 * rank:
        raise BadInputError(path, "header", f"{4 + 4 * rank} bytes", len(head))
    shape = struct.unpack(f">{rank}I", head[4:])
    if math.prod(shape) > limit(MAX_BYTES["IDX"]):
        raise BadInputError(path, "shape", at_most(MAX_BYTES["IDX"], "bytes"), shape)
    if shape[0] > limit(MAX_IMAGES):
        raise BadInputError(path, "shape", at_most(MAX_IMAGES, "images"), shape)
    if 0 in shape[1:]:
        raise BadInputError(path, "shape", "images of one pixel or more", shape)
    return shape
