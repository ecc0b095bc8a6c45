"""Files from the web: only what was meant, all of it, and never more than that."""

import hashlib
import http.client
import os
import re
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from lectures_jax.runtime import folder_lock, sync

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PIECE = 2**16  # bytes that are read at a time
ATTEMPTS = 5  # connections, each of which goes on where the one before ended
GONE = (408, 429, 500, 502, 503, 504)  # answers after which another attempt may succeed


class _IncompleteError(Exception):
    """The connection ended, or stood still, before the file was complete."""


BROKEN = (_IncompleteError, URLError, ConnectionError, TimeoutError, http.client.HTTPException)


def fetch(
    url: str, path: Path | str, *, sha256: str, most: int = 2**30, timeout: float = 30.0
) -> Path:
    """Returns a file that was downloaded, now or earlier, and is the one that is meant.

    A connection that breaks or stands still is made again, up to five times in all, and goes on
    where it ended; so does the next call after an interruption, from the folder `….part` beside the
    path. What has another hash is deleted. The path holds all of the file or nothing.

    Args:
        url: `https`, or `http` on this machine; so must be what it redirects to.
        path: where the file goes; its folder is made.
        sha256: hash of the content, 64 hexadecimal digits.
        most: bytes that it may have.
        timeout: seconds without a byte after which a connection stands still.

    Raises:
        ValueError: in one line, if the URL or the hash is of another form, the server refuses, or
            sends more or something else, or another process is at it.
        OSError: if the server cannot be reached, or the folder cannot be written.
    """
    path = Path(path)
    _require_secure(url)
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"sha256 must be 64 hexadecimal digits, got {sha256!r}.")
    sha256 = sha256.lower()
    if path.is_file() and _hash_of(path) == sha256:
        return path
    folder = path.with_name(f"{path.name}.{sha256[:8]}.part")  # no other version's part
    folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(folder):
        part = folder / "content"
        _download(url, part, most=most, timeout=timeout)
        if (got := _hash_of(part)) != sha256:
            part.unlink()
            raise ValueError(f"{url}: expected content with the SHA-256 {sha256}, got {got}.")
        sync(part)
        part.replace(path)
        sync(path.parent)
        shutil.rmtree(folder)
    return path


def _download(url: str, part: Path, *, most: int, timeout: float) -> None:
    """Completes the part of a file, by as many connections as it takes."""
    for attempt in range(ATTEMPTS):
        try:
            with _open(url, part, most=most, timeout=timeout) as (response, start, size):
                _append(response, part, start=start, size=size, most=most)
            return
        except BROKEN as error:
            if attempt == ATTEMPTS - 1:
                there = part.stat().st_size if part.exists() else 0
                reason = getattr(error, "reason", error)
                raise OSError(
                    f"{url}: {ATTEMPTS} connections ended early, the last by {reason}; "
                    f"{there:,} bytes are in {part}, where another call goes on."
                ) from error


@contextmanager
def _open(
    url: str, part: Path, *, most: int, timeout: float
) -> Iterator[tuple[Any, int, int | None]]:
    """The response for what is missing, where that starts, and the size of the whole file."""
    start = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": "lectures_jax"}
    if start:
        headers["Range"] = f"bytes={start}-"
    opener = urllib.request.build_opener(_Redirects)
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except HTTPError as error:
        error.close()
        if error.code == 416 and start:  # there is no more: the hash says whether that is right
            yield None, start, start
            return
        if error.code in GONE:
            raise _IncompleteError(f"status {error.code}") from error
        raise ValueError(f"{url}: expected a file, got status {error.code}.") from error
    with response:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if response.status != 206 or span is None or int(span[1]) != start:
            start = 0  # all of it comes again
        length = response.headers.get("Content-Length", "")
        size = start + int(length) if length.isdigit() else None
        if size is not None and size > most:
            raise ValueError(f"{url}: expected at most {most:,} bytes, got {size:,}.")
        yield response, start, size


def _append(response: Any, part: Path, *, start: int, size: int | None, most: int) -> None:
    if size == start:
        return
    with part.open("r+b" if part.exists() else "wb") as file:
        file.truncate(start)
        file.seek(start)
        while piece := response.read1(PIECE):
            file.write(piece)
            if file.tell() > most:
                file.close()
                os.unlink(part)
                raise ValueError(f"{response.url}: expected at most {most:,} bytes, got more.")
        got = file.tell()
    if size is not None and got < size:
        raise _IncompleteError(f"{got:,} of {size:,} bytes")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only to where a download may begin."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        _require_secure(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_secure(url: str) -> None:
    parts = urlsplit(url)
    if not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)):
        raise ValueError(f"url must begin with https://, got {url!r}.")


def _hash_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
