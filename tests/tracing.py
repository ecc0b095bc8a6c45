"""Which functions a block of code really runs, by their code objects."""

import inspect
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import CodeType, FrameType, ModuleType
from typing import Any


@contextmanager
def traced() -> Iterator[set[CodeType]]:
    """Collects the code of every Python function that the block calls, in all of its threads.

    What JAX has compiled before runs without its Python code.
    """
    called: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            called.add(frame.f_code)

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


def codes_of(value: Any) -> set[CodeType]:
    """The code of a function under its decorators, or of the methods of a class."""
    if isinstance(value, ModuleType):
        raise TypeError(f"expected a function or a class, got the module {value.__name__}.")
    while isinstance(value, partial):
        value = value.func
    if inspect.isclass(value):
        members = [getattr(value, name, None) for name in ("__init__", "__new__", "__call__")]
        members += [member for member in vars(value).values() if callable(member)]
        return {code for member in members if member for code in _code(member)}
    return _code(value)


def _code(function: Any) -> set[CodeType]:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return set() if code is None else {code}
