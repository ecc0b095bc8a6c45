"""What the modules of a model return while it runs."""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import nnx


class Call(NamedTuple):
    """One call of a module.

    Attributes:
        path: of the module in the model, joined by dots; empty for the model itself.
        module: that was called.
        inputs: its positional arguments.
        output: what it returned.
    """

    path: str
    module: nnx.Module
    inputs: tuple[Any, ...]
    output: Any


def capture_calls(model: Any, report: Callable[[Call], None]) -> Any:
    """Returns a copy of a model that reports each call of its modules, in the order they return.

    Python looks `__call__` up on the class, so every module of the copy gets a class of its own:
    the copy is for one use, and `model` stays as it is.

    Args:
        model: an `nnx` module; its arrays are shared with the copy's variables at first.
        report: is given each call; inside of `jit` the arrays are tracers.
    """
    copy = nnx.clone(model)
    for path, module in list(nnx.iter_modules(copy)):
        if callable(module):
            _observe(module, ".".join(map(str, path)), report)
    return copy


def _observe(module: nnx.Module, path: str, report: Callable[[Call], None]) -> None:
    cls: Any = type(module)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = cls.__call__(self, *args, **kwargs)
        report(Call(path, self, args, output))
        return output

    object.__setattr__(module, "__class__", type(cls.__name__, (cls,), {"__call__": call}))
