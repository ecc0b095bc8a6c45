"""One process at a time in a folder."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # where there is no such call there is no lock
    fcntl = None

_owners: dict[tuple[int, int], int] = {}
"""The thread that has a lock, by the device and number of its file."""


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Keeps a folder for one run: the system releases the lock when the process ends, however.

    The thread that has the lock may take it again. The file `.lock` stays behind and means nothing
    by itself. Where the file system has no locks, there is none.

    Args:
        folder: exists and can be written.

    Raises:
        ValueError: if another run has the folder.
        OSError: if the folder cannot be written.
    """
    path = folder / ".lock"
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        status = os.fstat(descriptor)
        key = status.st_dev, status.st_ino
        if _owners.get(key) == threading.get_ident():
            yield
            return
        _lock(descriptor, folder)
        _owners[key] = threading.get_ident()
        try:
            yield
        finally:
            del _owners[key]
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        raise ValueError(
            f"out must be a folder without a run in progress, got {folder}, where process "
            f"{owner or 'of another user'} runs; wait for it, or choose another folder."
        ) from None
    except OSError:  # no locks in this file system
        return
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
