"""The tracing of calls: in all threads, of functions and methods, and of nothing that is idle."""

import threading

from tests.tracing import codes_of, traced


def called_here():
    """A function that the block calls."""


def called_in_a_thread():
    """A function that a thread of the block calls."""


def not_called():
    """A function that nothing calls."""


class Called:
    def __call__(self):
        """A method that the block calls."""


def test_calls_of_every_thread_are_collected_and_no_others():
    functions = called_here, called_in_a_thread, Called
    for _ in range(2):  # the second block sees the same calls again
        with traced() as called:
            called_here()
            Called()()
            thread = threading.Thread(target=called_in_a_thread)
            thread.start()
            thread.join()
        assert all(codes_of(function) & called for function in functions)
        assert not codes_of(not_called) & called
    with traced() as called:
        not_called()
    assert codes_of(not_called) <= called
    assert not codes_of(called_here) & called


def test_an_error_ends_the_tracing():
    try:
        with traced() as called:
            raise ValueError
    except ValueError:
        not_called()
    assert not codes_of(not_called) & called
