"""Which functions a block of code really runs, by their code objects."""

import inspect
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from cProfile import Profile
from functools import partial
from types import CodeType, ModuleType
from typing import Any


@contextmanager
def traced() -> Iterator[set[CodeType]]:
    """Collects the code of every Python function that the block calls, in all of its threads.

    The set is filled when the block ends. What JAX has compiled before runs without its Python
    code. A function in Python that is told of every call would take as long as the calls.
    """
    called: set[CodeType] = set()
    with (_monitored if sys.version_info >= (3, 12) else _profiled)(called):
        yield called


@contextmanager
def _monitored(called: set[CodeType]) -> Iterator[None]:
    """By the interpreter's events, each function's first call alone."""
    monitoring: Any = sys.monitoring  # of Python 3.12 and later

    def note(code: CodeType, _: int) -> Any:
        called.add(code)
        return monitoring.DISABLE

    tool, event = monitoring.PROFILER_ID, monitoring.events.PY_START
    monitoring.use_tool_id(tool, "traced")
    monitoring.register_callback(tool, event, note)
    monitoring.restart_events()
    monitoring.set_events(tool, event)
    try:
        yield
    finally:
        monitoring.set_events(tool, 0)
        monitoring.register_callback(tool, event, None)
        monitoring.free_tool_id(tool)


@contextmanager
def _profiled(called: set[CodeType]) -> Iterator[None]:
    """By the profiler that is written in C; each thread has one."""
    profilers: list[Profile] = []

    def begin(*_: Any) -> None:
        profilers.append(Profile(builtins=False))
        profilers[-1].enable()

    before = sys.getprofile()
    threading.setprofile(begin)
    begin()
    try:
        yield
    finally:
        profilers[0].disable()
        threading.setprofile(None)
        sys.setprofile(before)
        entries = (entry for profiler in profilers for entry in profiler.getstats())
        called.update(entry.code for entry in entries if isinstance(entry.code, CodeType))


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
