"""Files that are never half written."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a scratch file beside `path`, which takes its place once the block has ended well.

    A crash, or an error in the block, leaves what was there before.

    Args:
        path: file to write; it gets the permissions of any new file, whoever wrote the scratch.

    Raises:
        OSError: if the folder is missing or cannot be written.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.touch()
        mode = scratch.stat().st_mode
        yield scratch
        scratch.chmod(mode)
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


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
