"""A polite end: a signal lets the current step finish and the state be saved."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from types import FrameType

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if name in dir(signal)
]
_ECHO = 0.25
"""Seconds in which one request may arrive twice: a terminal and a parent process both send it."""


class StopRequest:
    """Whether the process was asked to end.

    Attributes:
        arrived: the name of the first signal, such as "SIGTERM"; empty until then.
    """

    def __init__(self):
        self.arrived = ""


_active: list[StopRequest] = []


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Notes SIGINT, SIGTERM and SIGHUP instead of dying of them; a second one ends the process.

    Inside of another such block, and in threads, it gives that block's request: there is one for
    the whole process. A signal that the process was started to ignore, as `nohup` does, stays
    ignored. Threads other than the main one cannot note signals, and do not.
    """
    if _active or threading.current_thread() is not threading.main_thread():
        yield current_request()
        return
    request, since = StopRequest(), 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal since
        if not request.arrived:
            request.arrived, since = signal.Signals(number).name, monotonic()
            _announce(request.arrived)
        elif monotonic() - since > _ECHO:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    noted = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in noted:
        signal.signal(number, note)
    _active.append(request)
    try:
        yield request
    finally:
        _active.pop()
        for number in noted:
            signal.signal(number, before[number] or signal.SIG_DFL)


def current_request() -> StopRequest:
    """Returns the request of the enclosing `stop_request`, or one that never arrives."""
    return _active[-1] if _active else StopRequest()


def _announce(name: str) -> None:
    """Writes without Python's buffers, which may be in use where the signal came."""
    with suppress(OSError):
        text = f"{name}: the run stops where it resumes without loss; once more ends it at once."
        os.write(2, f"\n{text}\n".encode())
