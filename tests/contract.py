"""A row of the contract table; `test_contracts.py` collects the rows and proves them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Contract:
    """How `lectures_jax.testing.check_op` is to be called for one public function.

    A test module `tests/ops/test_*.py` or `tests/losses/test_*.py` holds its rows in `CONTRACT`, a
    dictionary from name to row. The first word of a name is the function's; more words tell rows of
    the same function apart. A function that takes no arrays has a sentence for a row: why not.

    Attributes:
        examples: argument tuples. Give axes that mean different things different sizes.
        edges: argument tuples where the function has a kink or a 0/0, or, where it sums, many
            values or a large mean: gradients are finite and half precision is rounded once.
        differentiable: all floating-point arguments, none, or these positions.
        exact: results are bit-equal under `jit` and `vmap`, not merely equal up to rounding.
        shared: positions of what an exported program takes once for the batch, such as a kernel.
        hide: `hide(value, *args)` gives the arguments with the value in place of all that a mask
            hides.
        op: what to call where the function needs hyperparameters, a `functools.partial`.
    """

    examples: Sequence[tuple[Any, ...]]
    edges: Sequence[tuple[Any, ...]] = ()
    differentiable: bool | tuple[int, ...] = True
    exact: bool = False
    shared: tuple[int, ...] = ()
    hide: Callable[..., tuple[Any, ...]] | None = None
    op: Callable[..., Any] | None = None
