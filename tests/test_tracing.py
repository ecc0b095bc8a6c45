"""The tracing of calls: of functions and methods, in all threads, through decorators."""

import inspect
import threading
from functools import partial, wraps

import jax
import pytest

from tests.tracing import codes_of, traced


def called(x, *more, y=2, **options):
    """A function with every kind of argument."""
    return x, more, y, options


def idle():
    """A function that nothing calls."""


def decorated(function):
    @wraps(function)
    def call(*args):
        return function(*args)

    return call


@decorated
def under_a_decorator(x):
    return [x, decorated]


def with_a_closure(z):
    def inner():
        return z

    return inner


class Base:
    def method(self):
        return 1


class Derived(Base):
    def method(self):
        return super().method() + 1  # which takes a closure

    @staticmethod
    def generate(n):
        yield from range(n)


def test_functions_do_what_they_did_and_calls_are_collected():
    inner = with_a_closure(5)
    values = [called, partial(under_a_decorator, 1), inner, Derived, idle]
    codes = [codes_of(value) for value in values]
    for _ in range(2):  # as they were after the first block
        with traced(values) as seen:
            assert called(1, 3, y=4, z=5) == (1, (3,), 4, {"z": 5})
            assert called(1) == (1, (), 2, {})
            assert under_a_decorator(1) == [1, decorated]
            assert inner() == 5
            assert Derived().method() == 2
            assert list(Derived.generate(3)) == [0, 1, 2]
            assert list(inspect.signature(called).parameters) == ["x", "more", "y", "options"]
        assert [bool(code & seen) for code in codes] == [True, True, True, True, False]
        assert [codes_of(value) for value in values] == codes
        assert list(inspect.signature(called).parameters) == ["x", "more", "y", "options"]


def test_calls_of_other_threads_count():
    with traced([called]) as seen:
        thread = threading.Thread(target=called, args=(1,))
        thread.start()
        thread.join()
    assert codes_of(called) <= seen


def test_a_compiled_function_is_called_once_for_its_trace():
    square = jax.jit(lambda x: x**2)
    with traced([square]) as seen:
        assert square(3.0) == 9
    assert codes_of(square) <= seen
    with traced([square]) as seen:
        assert square(3.0) == 9
    assert not seen


def test_functions_are_restored_after_an_error():
    code = codes_of(idle)
    with pytest.raises(ZeroDivisionError), traced([idle]):
        raise ZeroDivisionError
    assert codes_of(idle) == code


def test_a_module_is_refused():
    with pytest.raises(TypeError, match="got the module threading"):
        codes_of(threading)
