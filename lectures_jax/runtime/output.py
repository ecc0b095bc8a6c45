"""What a run says, where nobody may be listening any more."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def say(text: str) -> None:
    """Prints a line on standard error; where that is closed, the line is lost and nothing else.

    Args:
        text: without a line break at its end.
    """
    if sys.stderr is not None:  # as it is in a process that was started without one
        with suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)


@contextmanager
def optional_output() -> Iterator[None]:
    """Lets what the block prints be lost where the reader of a pipe has gone."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, SystemExit):  # the latter is rich's, when it meets a broken pipe
        # Or else the interpreter fails at its end, when it writes out what is left.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)


def open_standard_streams() -> None:
    """Opens the null device in place of each standard stream that the process lacks.

    Otherwise the next file that is opened gets the stream's number, and messages of libraries are
    written into it.
    """
    null = os.open(os.devnull, os.O_RDWR)
    while null <= 2:  # the lowest free number is given out first
        null = os.dup(null)
    os.close(null)
