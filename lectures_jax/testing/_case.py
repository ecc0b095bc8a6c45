"""One example of one function under the op contract."""

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """One example of one function, and its results without `jit`, computed once."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    differentiable: bool | tuple[int, ...]
    exact: bool
    shared: tuple[int, ...]
    hide: Callable[..., tuple[Any, ...]] | None

    @functools.cached_property
    def result(self) -> Any:
        return self.fn(*self.args)

    @property
    def name(self) -> str:
        fn = self.fn
        while isinstance(fn, functools.partial):
            fn = fn.func
        return getattr(fn, "__name__", repr(fn))

    def names_an_argument(self, error: Exception) -> bool:
        known = inspect.signature(self.fn).parameters
        return any(re.search(rf"\b{name}\b", str(error)) for name in known)
