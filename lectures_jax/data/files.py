"""Opens what a stranger may have made: regular files, inside of one folder, up to a size."""

import difflib
import os
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import BinaryIO, Literal

from lectures_jax.data.problems import BadInputError, ErrorLog

Kind = Literal["image", "XML", "text", "YAML", "JSON", "IDX", "zip"]
MAX_BYTES: dict[Kind, int] = {
    "image": 64_000_000,
    "XML": 2_000_000,
    "text": 8_000_000,
    "YAML": 100_000,
    "JSON": 100_000_000,
    "IDX": 200_000_000,
    "zip": 2_000_000_000,
}
"""Size of a file by its kind; see `limit`."""
MAX_LINES = 200_000  # of a text file
MAX_FILES = 500_000  # below a folder or in a zip file
MAX_CLASSES = 10_000
LITTER = {"__macosx", "thumbs.db", "desktop.ini", "icon\r"}
"""What desktops leave behind, besides all that begins with a dot."""


def limit(value: int) -> int:
    """Returns a limit times `LJX_LIMITS`, an environment variable, by default 1.

    Args:
        value: the limit that protects a small machine from a hostile file.

    Raises:
        ValueError: if `LJX_LIMITS` is no positive number.
    """
    text = os.environ.get("LJX_LIMITS", "1")
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1e6:
        raise ValueError(f"LJX_LIMITS must be a positive number, got {text!r}.")
    return int(value * factor)


def at_most(value: int, unit: str) -> str:
    """Returns what a message expects of something that is above a limit, and how to raise it."""
    return f"at most {limit(value)} {unit} (LJX_LIMITS=4 in the environment allows 4 times that)"


def open_file(path: Path, kind: Kind) -> BinaryIO:
    """Opens a regular file for reading; a pipe, a device or a folder would hang or never end.

    Args:
        path: of the file; links are followed.
        kind: decides how large it may be.

    Raises:
        BadInputError: if it does not exist, cannot be read, is no regular file, or is too large.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError as error:
        raise BadInputError(path, "file", "an existing file", _near(path)) from error
    except (OSError, ValueError) as error:
        got = f"{type(error).__name__}: {getattr(error, 'strerror', error)}"
        raise BadInputError(path, "file", "a file that can be read", got) from error
    status = os.fstat(descriptor)
    problem = None
    if not stat.S_ISREG(status.st_mode):
        got = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a device or a socket"
        problem = BadInputError(path, "file", "a regular file", got)
    elif status.st_size > limit(MAX_BYTES[kind]):
        problem = _too_large(path, kind, status.st_size)
    if problem:
        os.close(descriptor)
        raise problem
    return os.fdopen(descriptor, "rb")


def read_file(path: Path, kind: Kind) -> bytes:
    """Returns the content of a regular file.

    Args:
        path: of the file; links are followed.
        kind: decides how large it may be.

    Raises:
        BadInputError: as `open_file`.
    """
    with open_file(path, kind) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            content = file.read(size + 1)
        except OSError as error:
            got = f"{type(error).__name__}: {error.strerror}"
            raise BadInputError(path, "file", "a file that can be read", got) from error
    if len(content) != size:  # it is being written, or the system makes it up, as in /proc
        got = "more" if len(content) > size else str(len(content))
        raise BadInputError(path, "file", f"its {size} bytes", got)
    return content


def text_of(path: Path, *, kind: Kind = "text", root: Path | None = None) -> str:
    """Returns a text file, without the byte-order mark that some editors write.

    Args:
        path: of the file.
        kind: decides how large it may be.
        root: folder that a link must not leave.

    Raises:
        BadInputError: as `open_file`, and if it is not UTF-8.
    """
    if root is not None and not is_inside(path, root):
        raise BadInputError(path, "file", f"a path inside {root}", str(path.resolve()))
    try:
        return read_file(path, kind).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(path, "file", "UTF-8 text", str(error)) from error


def lines_of(path: Path, *, root: Path | None = None) -> list[str]:
    """Returns the lines of a text file that are not blank.

    Args:
        path: of the file.
        root: folder that a link must not leave.

    Raises:
        BadInputError: as `text_of`, and if there are none or too many.
    """
    lines = [line.strip() for line in text_of(path, root=root).splitlines() if line.strip()]
    if not lines:
        raise BadInputError(path, "list", "at least one line", "none")
    if len(lines) > limit(MAX_LINES):
        raise BadInputError(path, "list", at_most(MAX_LINES, "lines"), str(len(lines)))
    return lines


def class_names(names: Iterable[str], file: Path) -> tuple[str, ...]:
    """Returns class names that can be written to a report.

    Args:
        names: in the order of the labels.
        file: that holds them, for the message.

    Raises:
        BadInputError: if one is empty, is there twice, or holds control characters, or if there are
            too many.
    """
    names = tuple(names)
    if not 0 < len(names) <= limit(MAX_CLASSES):
        expected = at_most(MAX_CLASSES, "names") if names else "at least one"
        raise BadInputError(file, "classes", expected, str(len(names)))
    seen: set[str] = set()
    for name in names:
        if not is_plain(name) or not 0 < len(name) <= 200:
            raise BadInputError(file, "class", "a name of 1 to 200 characters in UTF-8", repr(name))
        if name in seen:
            raise BadInputError(file, "list", "each name once", f"{name!r} again")
        seen.add(name)
    return names


def is_plain(name: str) -> bool:
    """Returns whether a name can be written as UTF-8 and holds no control character."""
    return not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name)


def is_litter(path: PurePath) -> bool:
    """Returns whether desktops, archives or notebooks made a file, by its path."""
    return any(part.startswith(".") or part.lower() in LITTER for part in path.parts)


def list_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Returns the entries of a folder with these suffixes, in either case, by name.

    Args:
        folder: where to look, not below it.
        suffixes: such as `(".jpg",)`, in lower case.

    Raises:
        BadInputError: if there are too many.
    """
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    if len(names) > limit(MAX_FILES):
        raise BadInputError(folder, "folder", at_most(MAX_FILES, "files"), str(len(names)))
    paths = (folder / name for name in sorted(names) if not is_litter(PurePath(name)))
    return [path for path in paths if path.suffix.lower() in suffixes]


def unwrap(root: Path) -> Path:
    """Returns the folder below folders that hold nothing but one other, as archives unpack to."""
    for _ in range(4):
        try:
            entries = [path for path in root.iterdir() if not is_litter(PurePath(path.name))]
        except OSError:
            return root
        if len(entries) != 1 or entries[0].is_symlink() or not entries[0].is_dir():
            return root
        root = entries[0]
    return root


def resolve_in_root(
    root: Path, name: str, file: Path, what: str, problems: ErrorLog
) -> Path | None:
    """Returns the file of that name below `root`, links followed; None where it is refused.

    Args:
        root: folder that is not to be left.
        name: of the file, relative to `root`.
        file: that names it, for the message.
        what: the field that names it, for the message.
        problems: receives a line where it is refused.
    """
    path = root / name
    try:
        exists = path.is_file()
        climbs = ".." in Path(name).parts or (exists and not is_inside(path, root))
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name too long, a null byte
        climbs, exists = False, False
    if climbs:
        problems.add(file, what, f"a path inside {root}", name)
    elif not exists:
        problems.add(file, what, f"the name of a file in {root}", name)
    elif not is_plain(name):
        problems.add(file, what, "a name in UTF-8 without control characters", repr(name))
    else:
        return path
    return None


def is_inside(path: Path, root: Path) -> bool:
    """Returns whether a path, links followed, is below a folder."""
    return path.resolve().is_relative_to(root.resolve())


def _too_large(path: Path, kind: Kind, size: int) -> BadInputError:
    return BadInputError(path, "size", at_most(MAX_BYTES[kind], "bytes"), str(size))


def _near(path: Path) -> str:
    """Names of the same folder that are like the missing one."""
    try:
        names = [name for name in os.listdir(path.parent) if not name.startswith(".")][:1000]
    except OSError:
        return f"no folder {path.parent}"
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    return f"no such file (near it: {', '.join(near)})" if near else "no such file"
