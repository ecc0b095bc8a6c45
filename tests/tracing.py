"""Which functions a block of code really runs, by their code objects."""

import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any


@contextmanager
def traced(values: Iterable[Any]) -> Iterator[set[CodeType]]:
    """Collects the code of those functions, or methods of classes, that the block calls.

    For the time of the block each function's own code is one that notes the call first: so nothing
    else is slower, and calls count from any thread and through any decorator. What JAX has compiled
    before runs without its Python code.

    Args:
        values: functions under any decorators, and classes.
    """
    called: set[CodeType] = set()
    functions = {id(f): f for value in values for f in functions_of(value)}.values()
    before = [function.__code__ for function in functions]
    unsigned = [function for function in functions if "__signature__" not in vars(function)]
    for function in unsigned:  # whose arguments Flax and others read
        vars(function)["__signature__"] = inspect.signature(function)
    for function in functions:
        function.__code__ = _noting(function, called)
    try:
        yield called
    finally:
        for function, code in zip(functions, before, strict=True):
            function.__code__ = code
        for function in unsigned:
            del vars(function)["__signature__"]


def _noting(function: FunctionType, called: set[CodeType]) -> CodeType:
    """Code that notes the call and then does what the function did."""
    code = function.__code__
    original = FunctionType(
        code, function.__globals__, code.co_name, function.__defaults__, function.__closure__
    )
    original.__kwdefaults__ = function.__kwdefaults__

    def note(*args: Any, **options: Any) -> Any:
        called.add(code)
        return original(*args, **options)

    def template(*args: Any, **options: Any) -> Any:
        call: Any = "in place of `note`, as the code has no closure of its own"
        return call(*args, **options)

    constants = tuple(note if isinstance(x, str) else x for x in template.__code__.co_consts)
    return template.__code__.replace(
        co_consts=constants, co_freevars=code.co_freevars, co_name=code.co_name
    )


def codes_of(value: Any) -> set[CodeType]:
    """The code of a function under its decorators, or of the methods of a class."""
    return {function.__code__ for function in functions_of(value)}


def functions_of(value: Any) -> list[FunctionType]:
    """The function under its decorators, or the methods of a class."""
    if isinstance(value, ModuleType):
        raise TypeError(f"expected a function or a class, got the module {value.__name__}.")
    while isinstance(value, partial):
        value = value.func
    members = [value]
    if inspect.isclass(value):
        members = [getattr(value, name, None) for name in ("__init__", "__new__", "__call__")]
        members += [member for member in vars(value).values() if callable(member)]
    functions = [inspect.unwrap(member) for member in members if member]
    return [function for function in functions if isinstance(function, FunctionType)]
