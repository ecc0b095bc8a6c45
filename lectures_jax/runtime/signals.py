"""A polite end: SIGTERM lets the current step finish and the state be saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class StopRequest:
    """Whether SIGTERM has arrived.

    Attributes:
        arrived: set once, by the signal.
    """

    def __init__(self):
        self.arrived = False


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Notes SIGTERM instead of dying of it; threads other than the main one cannot, and do not."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number, frame):
        request.arrived = True

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)
