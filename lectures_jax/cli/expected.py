"""The bounds that an experiment's default configuration must reach: its `EXPECTED`."""

import ast
from collections.abc import Mapping
from typing import Any

Bounds = dict[str, tuple[float | None, float | None]]
"""Lower and upper bound of numbers by name; None: no bound."""


def read_expected(source: str) -> Bounds:
    """Returns the bounds that a file declares, without running it.

    Args:
        source: Python, with a line such as `EXPECTED = {"accuracy": (0.97, None)}`.

    Raises:
        ValueError: if `EXPECTED` is not a literal of that form.
        SyntaxError: if the source is not Python.
    """
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(targets=[ast.Name("EXPECTED")], value=value):
                return _bounds(value)
            case ast.AnnAssign(target=ast.Name("EXPECTED"), value=ast.expr() as value):
                return _bounds(value)
    return {}


def _bounds(node: ast.expr) -> Bounds:
    try:
        return {
            str(name): (_number(low), _number(high))
            for name, (low, high) in ast.literal_eval(node).items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            "EXPECTED must be a literal such as {'accuracy': (0.97, None)}, "
            f"got {ast.unparse(node)}."
        ) from error


def _number(bound: Any) -> float | None:
    return None if bound is None else float(bound)


def violation(expected: Bounds, numbers: Mapping[str, float]) -> str | None:
    """Returns a line about the first bound that is not kept, or None.

    Args:
        expected: the bounds.
        numbers: what the experiment returned.
    """
    for name, (low, high) in expected.items():
        got = numbers.get(name)
        if got is None or not _within(got, low, high):
            return f"expected {_inequality(name, low, high)}, got {_text(got)}."
    return None


def _within(number: float, low: float | None, high: float | None) -> bool:
    """NaN is within no bounds."""
    return (low is None or number >= low) and (high is None or number <= high)


def describe(expected: Bounds) -> str:
    """Returns the bounds as text, such as "accuracy ≥ 0.97, 2 ≤ loss ≤ 3, gates = 14".

    Args:
        expected: the bounds.
    """
    return ", ".join(_inequality(name, low, high) for name, (low, high) in expected.items())


def _inequality(name: str, low: float | None, high: float | None) -> str:
    if low is None:
        return f"{name} ≤ {_text(high)}"
    if high is None:
        return f"{name} ≥ {_text(low)}"
    if low == high:
        return f"{name} = {_text(low)}"
    return f"{_text(low)} ≤ {name} ≤ {_text(high)}"


def _text(number: float | None) -> str:
    return "nothing" if number is None else f"{number:.6g}"
