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


def violations(expected: Bounds, numbers: Mapping[str, float]) -> dict[str, str]:
    """Returns a line about each bound that is not kept, by the number's name.

    Args:
        expected: the bounds.
        numbers: what the experiment returned.
    """
    return {
        name: f"expected {_inequality(name, low, high)}, got {_text(numbers.get(name))}."
        for name, (low, high) in expected.items()
        if name not in numbers or not _within(numbers[name], low, high)
    }


def _within(number: float, low: float | None, high: float | None) -> bool:
    """NaN is within no bounds."""
    return (low is None or number >= low) and (high is None or number <= high)


def describe(expected: Bounds) -> str:
    """Returns the bounds as text, such as "accuracy ≥ 0.97, 2 ≤ loss ≤ 3, gates = 14".

    Args:
        expected: the bounds.
    """
    return ", ".join(_inequality(name, low, high) for name, (low, high) in expected.items())


def bound(low: float | None, high: float | None) -> str:
    """Returns one bound as text: "≥ 0.97", "≤ 3", "2 to 3", "= 14".

    Args:
        low: lower bound, or None.
        high: upper bound, or None.
    """
    if low is None:
        return f"≤ {_text(high)}"
    if high is None:
        return f"≥ {_text(low)}"
    return f"= {_text(low)}" if low == high else f"{_text(low)} to {_text(high)}"


def _inequality(name: str, low: float | None, high: float | None) -> str:
    if low is None or high is None or low == high:
        return f"{name} {bound(low, high)}"
    return f"{_text(low)} ≤ {name} ≤ {_text(high)}"


def _text(number: float | None) -> str:
    return "nothing" if number is None else f"{number:.6g}"
