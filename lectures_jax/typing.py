"""Types that several layers share, and the checks that arguments are of them and in range."""

import functools
import inspect
import math
from collections.abc import Callable
from operator import index
from types import UnionType
from typing import Any, NamedTuple, SupportsIndex, TypeVar, Union, get_args, get_origin

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import AbstractArray, Array, Bool, Float, Int, Integer, PRNGKeyArray, jaxtyped

Key = PRNGKeyArray
"""One typed PRNG key, as `jax.random.key` makes it."""

Batch = dict[str, Any]
"""Arrays by name (`image`, `boxes`, `labels`, ...), the examples along their leading axis."""


class Ratio(NamedTuple):
    """A metric that is the quotient of two sums over examples, as a Dice or a mean over pixels is.

    Attributes:
        numerator: sum over the examples, of any shape.
        denominator: sum over the examples, of a shape that divides the numerator.
    """

    numerator: Array
    denominator: Array


Metrics = dict[str, Any]
"""Arrays by name, means over the examples of one batch, or the two sums of a `Ratio`."""

Objective = Callable[..., tuple[Float[Array, ""], Metrics]]
"""`(model, batch, key) -> (scalar to minimize, metrics)`: where a model meets a loss."""

Length = Any
"""The size of an axis: an `int`, or the symbol of one that an exported program leaves open."""

F = TypeVar("F", bound=Callable[..., Any])

MOST_KEPT = 1024  # sets of shapes that a function remembers as correct

KINDS = {Float: "floats", Int: "integers", Bool: "booleans"}


def checked(fn: F) -> F:
    """Returns a function that refuses arrays of a shape or dtype which its annotations exclude.

    Only shapes and dtypes are read, so that under `jit` the check happens while tracing and costs
    nothing in the compiled program. NumPy arrays count as arrays, every signed or unsigned width as
    integers, and a Python number as an array without axes. Arguments without an array in their
    annotation, and keys, are not looked at.

    Args:
        fn: annotated with jaxtyping's arrays.

    Returns:
        The same function; it raises a `ValueError` that names the argument, what was expected, and
        what came.
    """
    signature = inspect.signature(fn)

    @functools.cache
    def annotated() -> dict[str, tuple[Any, ...]]:
        arrays = {name: _arrays(p.annotation) for name, p in signature.parameters.items()}
        return {name: kinds for name, kinds in arrays.items() if kinds}

    def problem(arguments: dict[str, Any]) -> str | None:
        earlier: list[str] = []
        for name, kinds in annotated().items():
            value = arguments.get(name)
            if value is None or isinstance(value, (bool, int, float)):
                continue
            expected = [_with_sizes(kind, signature, arguments) for kind in kinds]
            if not any(isinstance(value, kind) for kind in expected):
                wanted = " or ".join(_described(kind) for kind in expected)
                beside = f" beside {', '.join(earlier)}" if earlier else ""
                return f"{name} must be {wanted}{beside}, got {_shown(value)}."
            earlier.append(f"{name} {_shown(value)}")
        return None

    passed: set[Any] = set()  # a loop calls with the same shapes: a lookup is all that it costs

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        key = _kinds_of(args, kwargs)
        if key is None or key not in passed:
            with jaxtyped("context"):  # which remembers the sizes of the axes by name
                message = problem(signature.bind(*args, **kwargs).arguments)
            if message:
                raise ValueError(f"{fn.__name__}: {message}")
            if key is not None:
                if len(passed) == MOST_KEPT:
                    passed.clear()
                passed.add(key)
        return fn(*args, **kwargs)

    return call  # pyright: ignore[reportReturnType]


def is_typed_key(x: Any) -> bool:
    """Returns whether an array holds typed PRNG keys, as `jax.random.key` makes them.

    Args:
        x: an array of any dtype; the two integers that `jax.random.PRNGKey` makes are none.
    """
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def check_range(
    *, low: int | float = -math.inf, high: int | float = math.inf, **numbers: Any
) -> None:
    """Refuses numbers outside of [low, high], by name.

    Args:
        low: least value.
        high: greatest value.
        numbers: Python numbers; None and values under a trace, which are not known, pass.

    Raises:
        ValueError: naming the number, the range and the value.
    """
    range_ = f"at least {low}" if high == math.inf else f"in [{low}, {high}]"
    for name, number in numbers.items():
        if number is not None and not isinstance(number, Tracer) and not low <= number <= high:
            raise ValueError(f"{name} must be {range_}, got {number}.")


def check_positive(**numbers: Any) -> None:
    """Refuses numbers that are not above 0, by name.

    Args:
        numbers: Python numbers; None and values under a trace pass.

    Raises:
        ValueError: naming the number and the value.
    """
    for name, number in numbers.items():
        if number is not None and not isinstance(number, Tracer) and not number > 0:
            raise ValueError(f"{name} must be positive, got {number}.")


def check_count(*, low: int = 1, **counts: Any) -> None:
    """Refuses what is no integer of at least `low` that is known while tracing, by name.

    The shapes or the length of a program depend on it.

    Args:
        low: least value.
        counts: Python integers; None passes.

    Raises:
        ValueError: naming the number and the value.
    """
    for name, count in counts.items():
        if isinstance(count, Tracer) or not (count is None or isinstance(count, SupportsIndex)):
            got = "a traced value" if isinstance(count, Tracer) else repr(count)
            raise ValueError(f"{name} must be an integer of at least {low}, got {got}.")
        if count is not None and index(count) < low:
            raise ValueError(f"{name} must be at least {low}, got {count}.")


def _kinds_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...] | None:
    """Returns all that a check depends on; None where something must not be kept, as a function."""
    values: list[Any] = [len(args), *kwargs]
    for value in (*args, *kwargs.values()):
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            values.append((value.shape, value.dtype))
        elif value is None or isinstance(value, (bool, int, float, str)):
            values.append((type(value), value))
        else:
            return None
    return tuple(values)


def _arrays(annotation: Any) -> tuple[Any, ...]:
    """Returns the arrays of an annotation or of a union, of any library and integer width."""
    if get_origin(annotation) in (Union, UnionType):
        return tuple(dict.fromkeys(a for part in get_args(annotation) for a in _arrays(part)))
    if not (inspect.isclass(annotation) and issubclass(annotation, AbstractArray)):
        return ()
    if annotation.dtype not in KINDS:
        return ()
    kind: Any = Integer if annotation.dtype is Int else annotation.dtype
    return (kind[Any, annotation.dim_str],)


def _with_sizes(array: Any, signature: inspect.Signature, arguments: dict[str, Any]) -> Any:
    """Returns an array whose axes in braces, as in `{num_classes}`, have their sizes."""
    if "{" not in array.dim_str:
        return array
    defaults = {name: parameter.default for name, parameter in signature.parameters.items()}
    return array.dtype[Any, array.dim_str.format(**(defaults | arguments))]


def _described(array: Any) -> str:
    kind = "integers" if array.dtype is Integer else KINDS[array.dtype]
    return f"{kind} of shape ({', '.join(array.dim_str.split())})"


def _shown(value: Any) -> str:
    if not hasattr(value, "shape"):
        return type(value).__name__
    return f"{value.dtype}[{','.join(map(str, value.shape))}]"
