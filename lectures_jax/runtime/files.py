"""Files that are never half written, and never written through a link."""

import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a scratch file beside `path`, which takes its place once the block has ended well.

    A crash, or an error in the block, leaves what was there before. Where `path` is a link, the
    link is replaced, and what it points at stays as it is. Content and name are on the disk when
    this returns.

    Args:
        path: file to write; it gets the permissions of any new file, whoever wrote the scratch.

    Raises:
        OSError: if the folder is missing or cannot be written.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    # Exclusively: a file or link that somebody put there under this name is not written to.
    descriptor = os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        mode = os.fstat(descriptor).st_mode
        os.close(descriptor)
        yield scratch
        scratch.chmod(mode)
        sync(scratch)
        scratch.replace(path)
        sync(path.parent)
    finally:
        scratch.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file's content, or the names in a folder, are on the disk.

    Args:
        path: a file or folder.

    Raises:
        OSError: if a file cannot be written out; folders that cannot be synchronized are left so.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # for folders some file systems have no such call
            raise
    finally:
        os.close(descriptor)


def read_json(
    path: Path, *, expected: str = "an object of JSON", max_bytes: int = 2**26
) -> dict[str, Any]:
    """Returns the object that a JSON file holds.

    Args:
        path: of a regular file.
        expected: what it is meant to be, for the message.
        max_bytes: that it may have.

    Raises:
        ValueError: in one line, if the file is larger, no UTF-8 or no JSON, or holds another value.
        OSError: if it cannot be read.
    """
    if (size := path.stat().st_size) > max_bytes:
        raise ValueError(f"{path}: expected at most {max_bytes:,} bytes, got {size:,}.")
    text = path.read_text(encoding="utf-8", errors="replace")
    return parse_object(text, path, expected=expected)


def parse_object(
    text: str, path: Path | str, *, expected: str = "an object of JSON"
) -> dict[str, Any]:
    """Returns the object that a text of JSON holds.

    Args:
        text: to parse.
        path: of the file that the text is from, for the message.
        expected: what it is meant to be, for the message.

    Raises:
        ValueError: in one line, if the text is no JSON or holds another value than an object.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected {expected}, got {text[:40]!r}.")
    return value


def write_json(path: Path, value: object, *, indent: int | None = 2) -> None:
    """Writes a value as JSON, atomically; NaN and infinity become null.

    Args:
        path: file to write.
        value: what JSON holds, in mappings, lists and tuples; other objects are written as text.
        indent: spaces per level, None for one line.
    """
    text = json.dumps(finite_or_none(value), indent=indent, default=str)
    with atomic_write(path) as scratch:
        scratch.write_text(text + "\n", encoding="utf-8")


def finite_or_none(value: Any) -> Any:
    """Returns the value with None for each float that JSON cannot hold."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(k): finite_or_none(v) for k, v in value.items()}
        case list() | tuple():
            return [finite_or_none(v) for v in value]
    return value
