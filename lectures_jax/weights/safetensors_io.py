"""Parameters as safetensors files: nested dictionaries of arrays, under names joined by dots."""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lectures_jax.runtime import atomic_write

Tree = dict[Any, Any]
"""Arrays in nested dictionaries, as `nnx.to_pure_dict` makes them: the keys are attributes' names,
`str`, and positions in lists, `int`."""

MAX_BYTES = 2**33  # of another library's file
MAX_ARRAYS = 20_000

DTYPES = (
    *("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
    *("float16", "bfloat16", "float32", "float64", "complex64"),
)
NAMES = {"BOOL": "bool", "BF16": "bfloat16"} | {
    f"{kind}{bits}": f"{name}{bits}"
    for kind, name in {"U": "uint", "I": "int", "F": "float", "C": "complex"}.items()
    for bits in (8, 16, 32, 64)
}
"""What the format's dtypes are called elsewhere."""


def save_safetensors(path: Path, tree: Tree, *, metadata: Mapping[str, str] | None = None) -> None:
    """Writes the arrays under names such as `blocks.0.kernel`, all of the file or nothing.

    Args:
        path: file to write. A crash leaves the file that was there before.
        tree: nested dictionaries; a dictionary without arrays is not kept.
        metadata: text by name, such as a configuration in JSON.

    Raises:
        ValueError: if a key would not come back as it is (it has a dot, is empty, is a negative
            integer or text that reads as an integer), or a leaf is not an array of a dtype that
            the format knows.
    """
    arrays = dict(_flatten(tree, ()))
    with atomic_write(path) as scratch:
        save_file(arrays, scratch, metadata=None if metadata is None else dict(metadata))


def load_safetensors(path: Path | str) -> tuple[Tree, dict[str, str]]:
    """Reads the arrays of a file, ours or another library's, as nested dictionaries.

    A name such as PyTorch's `features.0.weight` becomes `tree["features"][0]["weight"]`: parts that
    count 0, 1, 2, … become `int`.

    Args:
        path: file to read.

    Returns:
        NumPy arrays, with the dtypes of the file, and the metadata, empty if there is none.

    Raises:
        ValueError: if the file is damaged or of another format, or has both `a` and `a.b`.
        FileNotFoundError: if there is no file.
    """
    with open_safetensors(path) as file:
        return read_arrays(file, Path(path)), file.metadata() or {}


@contextmanager
def open_safetensors(path: Path | str, *, most: int = MAX_BYTES) -> Iterator[Any]:
    """Opens a file whose header is sound, without reading an array.

    Args:
        path: a regular file; a pipe or a device would wait or never end.
        most: bytes that the file may have.

    Raises:
        ValueError: if the file is damaged, of another format, or larger; also what is read in the
            block.
        FileNotFoundError: if there is no file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no regular file"
        raise ValueError(f"{path}: expected a sound safetensors file, got {got}.")
    size = path.stat().st_size
    if size > most:
        raise ValueError(f"{path}: expected at most {most:,} bytes, got {size:,}.")
    try:
        with safe_open(path, framework="numpy") as file:
            if (count := len(file.keys())) > MAX_ARRAYS:
                raise ValueError(f"{path}: expected at most {MAX_ARRAYS:,} arrays, got {count:,}.")
            yield file
    except SafetensorError as error:
        reason = str(error)[:200]
        raise ValueError(
            f"{path}: expected a sound safetensors file, got {size} bytes ({reason})."
        ) from error


def described(file: Any) -> dict[str, str]:
    """Returns dtype and shape of each array in words, by name, from the header alone.

    Args:
        file: from `open_safetensors`.
    """
    parts = ((name, file.get_slice(name)) for name in file.keys())  # noqa: SIM118
    return {
        name: f"{NAMES.get(dtype := part.get_dtype(), dtype)}{part.get_shape()}"
        for name, part in parts
    }


def read_arrays(file: Any, path: Path) -> Tree:
    """Returns all arrays of a file.

    Args:
        file: from `open_safetensors`.
        path: of the file, for messages.

    Raises:
        ValueError: if an array lies inside of another.
    """
    arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return _nest(arrays, path)


def _flatten(tree: Tree, parents: tuple[str, ...]) -> Iterator[tuple[str, np.ndarray]]:
    for key, value in tree.items():
        part = str(key)
        if not part or "." in part or _key(part) != key:
            raise ValueError(
                "tree must have keys without dots: positions as int, all others as text, got "
                f"{'.'.join((*parents, repr(key)))}."
            )
        name = (*parents, part)
        if isinstance(value, dict):
            yield from _flatten(value, name)
        elif str(getattr(value, "dtype", None)) in DTYPES:
            yield ".".join(name), np.asarray(value, order="C")
        else:
            got = getattr(value, "dtype", type(value).__name__)
            raise ValueError(
                f"tree must have arrays of a dtype in {DTYPES}, got {got} in {'.'.join(name)}."
            )


def _nest(arrays: Mapping[str, np.ndarray], path: Path) -> Tree:
    tree: Tree = {}
    for name in sorted(arrays):  # thus a name comes before those that it begins
        *parents, last = map(_key, name.split("."))
        node = tree
        for part in parents:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise ValueError(
                    f"{path}: expected no array to lie inside of another, got {name!r}."
                )
        node[last] = arrays[name]
    return tree


def _key(part: str) -> str | int:
    """Returns the position that a part of a name stands for, else the part, such as "007"."""
    return int(part) if part.isdecimal() and str(int(part)) == part else part
