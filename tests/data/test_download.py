"""Downloads from a server that truncates, stalls, redirects and lies."""

import hashlib
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from lectures_jax.data import fetch
from lectures_jax.runtime import folder_lock

CONTENT = np.random.default_rng(0).bytes(200_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers the requests in turn as its list says, and the last way from then on."""

    daemon_threads = True

    def __init__(self, *ways):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ways, self.starts, self.release = list(ways), [], threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/file"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        asked = self.headers.get("Range", "bytes=0-")
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        server = self.server
        server.starts.append(start)
        way = server.ways.pop(0) if len(server.ways) > 1 else server.ways[0]
        way(self, start)


def answer(handler, content, *, start=0, status=200, total=None, length=True):
    handler.send_response(status)
    if length:
        handler.send_header("Content-Length", str(total or len(content)))
    if status == 206:
        end = start + (total or len(content)) - 1
        handler.send_header("Content-Range", f"bytes {start}-{end}/{end + 1}")
    handler.end_headers()
    handler.wfile.write(content)


def whole(handler, start):
    answer(handler, CONTENT)


def rest(handler, start):
    if start >= len(CONTENT):
        return handler.send_error(416)
    return answer(handler, CONTENT[start:], start=start, status=206 if start else 200)


def half_of_rest(handler, start):
    part = CONTENT[start:]
    status = 206 if start else 200
    answer(handler, part[: len(part) // 2], start=start, status=status, total=len(part))


def stall(handler, start):
    half_of_rest(handler, start)
    handler.wfile.flush()
    handler.server.release.wait(10)


def reset(handler, start):
    half_of_rest(handler, start)
    handler.wfile.flush()
    # Closed with a linger of 0 seconds, a connection is reset.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def from_elsewhere(handler, start):
    answer(handler, CONTENT, start=0, status=206)


def other(handler, start):
    answer(handler, CONTENT[::-1])


def endless(handler, start):
    answer(handler, CONTENT * 2, length=False)


def fail(code):
    return lambda handler, start: handler.send_error(code)


def to(url):
    def redirect(handler, start):
        handler.send_response(302)
        handler.send_header("Location", url)
        handler.end_headers()

    return redirect


@pytest.fixture
def serve():
    """Starts a server that answers in these ways."""
    servers = []

    def start(*ways):
        servers.append(server := Server(*ways))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield start
    for server in servers:
        server.release.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("ways", "starts"),
    [
        ([whole], [0]),
        ([half_of_rest, rest], [0, 100_000]),
        ([half_of_rest, half_of_rest, half_of_rest, rest], [0, 100_000, 150_000, 175_000]),
        ([half_of_rest, whole], [0, 100_000]),
        ([half_of_rest, from_elsewhere], [0, 100_000]),
        ([stall, rest], [0, 100_000]),
        ([reset, whole], None),
        ([fail(503), fail(429), whole], [0, 0, 0]),
    ],
    ids=["at once", "cut", "cut thrice", "no ranges", "wrong range", "stalled", "reset", "busy"],
)
def test_a_file_is_complete_whatever_happens_on_the_way(serve, tmp_path, ways, starts):
    server = serve(*ways)
    path = fetch(server.url, tmp_path / "a" / "file", sha256=SHA256, timeout=0.3)
    assert path.read_bytes() == CONTENT
    assert starts is None or server.starts == starts  # how much arrives before a reset is chance
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_there_is_not_asked_for_again_and_another_is_replaced(serve, tmp_path):
    server, path = serve(whole), tmp_path / "file"
    path.write_bytes(b"of an earlier version")
    for _ in range(2):
        fetch(server.url, path, sha256=SHA256.upper())
        assert path.read_bytes() == CONTENT
    assert server.starts == [0]


def test_a_call_goes_on_where_an_earlier_one_ended(serve, tmp_path):
    server, path = serve(half_of_rest), tmp_path / "file"
    with pytest.raises(OSError, match=r"5 connections ended early.* 193,750 bytes are in .*\.part"):
        fetch(server.url, path, sha256=SHA256)
    assert not path.exists()
    server.ways = [rest]
    fetch(server.url, path, sha256=SHA256)
    assert server.starts[-1] == 193_750
    assert path.read_bytes() == CONTENT


def test_a_part_that_is_whole_is_not_loaded_again(serve, tmp_path):
    server, path = serve(rest), tmp_path / "file"
    part = tmp_path / f"file.{SHA256[:8]}.part" / "content"
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    fetch(server.url, path, sha256=SHA256)
    assert server.starts == [len(CONTENT)]
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("way", "message"),
    [
        (other, f"expected content with the SHA-256 {SHA256}, got "),
        (endless, "expected at most 250,000 bytes, got more"),
        (fail(404), "expected a file, got status 404"),
        (to("http://example.org/file"), r"url must begin with https://, got 'http://example.org"),
        (to("file:///etc/passwd"), "expected a file, got status 302"),
    ],
)
def test_what_is_not_meant_leaves_no_file(serve, tmp_path, way, message):
    path = tmp_path / "file"
    path.write_bytes(b"as before")
    with pytest.raises(ValueError, match=message):
        fetch(serve(way).url, path, sha256=SHA256, most=250_000)
    assert path.read_bytes() == b"as before"
    assert not list(tmp_path.rglob("content"))


def test_more_than_is_allowed_is_not_even_begun(serve, tmp_path):
    with pytest.raises(ValueError, match="expected at most 100 bytes, got 200,000"):
        fetch(serve(whole).url, tmp_path / "file", sha256=SHA256, most=100)
    assert not list(tmp_path.rglob("content"))


def test_a_redirection_on_this_machine_is_followed(serve, tmp_path):
    server = serve(whole)
    path = fetch(serve(to(server.url)).url, tmp_path / "file", sha256=SHA256)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://example.org/a", "file:///etc/passwd", "ftp://a/b", "a"])
def test_an_url_without_encryption_is_refused(tmp_path, url):
    with pytest.raises(ValueError, match="url must begin with https://, got"):
        fetch(url, tmp_path / "file", sha256=SHA256)


def test_a_hash_of_another_form_is_refused(tmp_path):
    with pytest.raises(ValueError, match="sha256 must be 64 hexadecimal digits, got 'abc'"):
        fetch("https://example.org/a", tmp_path / "file", sha256="abc")


def test_two_processes_do_not_write_one_part(serve, tmp_path):
    part = tmp_path / f"file.{SHA256[:8]}.part"
    part.mkdir()
    errors = []

    def load():
        try:
            fetch(serve(whole).url, tmp_path / "file", sha256=SHA256)
        except ValueError as error:
            errors.append(str(error))

    with folder_lock(part):
        thread = threading.Thread(target=load)
        thread.start()
        thread.join()
    assert "in progress" in errors[0]
