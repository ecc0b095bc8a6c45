"""IDX, the format of MNIST: a short header, then all bytes of an array."""

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from lectures_jax.data.problems import BadInputError, ErrorLog, build_dataset
from lectures_jax.data.records import Dataset, Record

MAX_BYTES = 2**31  # of one array; MNIST's largest has 47 MB
UNSIGNED_BYTE = 8


def read_idx(
    images: Path | str,
    labels: Path | str,
    *,
    classes: Sequence[str] | None = None,
    strict: bool = True,
) -> Dataset:
    """Reads a classified set such as MNIST from two IDX files, which may be compressed (`.gz`).

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
    records = []
    for i, (image, label) in enumerate(zip(pixels, targets.astype(np.int32), strict=True)):
        if label >= len(classes):
            problems.add(labels, f"label {i}", f"less than {len(classes)}", int(label))
        else:
            records.append(Record(f"{i:05d}", image[:, :, None], labels=label[None]))
    return build_dataset(records, classes, problems, images)


def _array(path: Path, *, rank: int) -> UInt8[np.ndarray, "..."]:
    """Reads one IDX array of unsigned bytes; inflates one byte more than the header states.

    Args:
        path: the file; `.gz` is compressed.
        rank: expected number of axes.

    Raises:
        ValueError: with file, field, expected and got.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            head = file.read(4)
            expected = bytes([0, 0, UNSIGNED_BYTE, rank])
            if head != expected:
                raise BadInputError(path, "magic number", expected.hex(" "), head.hex(" "))
            sizes = file.read(4 * rank)
            if len(sizes) < 4 * rank:
                raise BadInputError(path, "header", f"{4 + 4 * rank} bytes", 4 + len(sizes))
            shape = struct.unpack(f">{rank}I", sizes)
            count = math.prod(shape)
            if count > MAX_BYTES:
                raise BadInputError(path, "shape", f"at most {MAX_BYTES} bytes", shape)
            data = file.read(count + 1)
    except (OSError, EOFError, zlib.error) as error:
        got = f"{type(error).__name__}: {error}"
        raise BadInputError(path, "content", "an IDX file", got) from error
    if len(data) != count:
        got = f"{len(data)}" if len(data) < count else "more"
        raise BadInputError(path, "length", f"{count} bytes for shape {shape}", got)
    return np.frombuffer(data, np.uint8).reshape(shape)
