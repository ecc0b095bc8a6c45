"""The op contract: what every pure array function of this library, or of yours, must satisfy.

A clause that does not hold raises an `AssertionError` of one line, which begins with the function
and the clause.
"""

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from lectures_jax.testing import _arguments as arguments
from lectures_jax.testing import _clauses as transformations
from lectures_jax.testing._case import Case

CLAUSES = (
    transformations.jit_equals_eager,
    transformations.no_second_trace,
    transformations.no_host_callback,
    transformations.eval_shape_equals_result,
    transformations.dtype_is_kept,
    transformations.vmap_equals_loop,
    transformations.empty_axes_work,
    transformations.derivatives_equal_differences,
    transformations.export_survives_storage,
    arguments.integers_for_floats_are_refused,
    arguments.another_axis_is_refused,
    arguments.half_precision_accumulates_in_float32,
    arguments.what_is_hidden_has_no_effect,
)
CLAUSES_AT_EDGES = (
    transformations.gradients_finite_at_edges,
    arguments.half_precision_accumulates_in_float32,
)


def check_op(
    fn: Callable[..., Any],
    *examples: tuple[Any, ...],
    edges: Sequence[tuple[Any, ...]] = (),
    differentiable: bool | tuple[int, ...] = True,
    exact: bool = False,
    shared: tuple[int, ...] = (),
    hide: Callable[..., tuple[Any, ...]] | None = None,
) -> None:
    """Proves that a pure array function keeps the op contract.

    Under `jit` it equals itself; called again it is not traced again; it calls nothing on the
    host; `jax.eval_shape` foretells the result; floats come out in the dtype in which they went
    in; `vmap` equals a loop; axes of size 0 work or raise a `ValueError` that names an argument;
    `jvp` and `vjp` equal finite differences in float64; `jax.export` for CPU, CUDA and TPU with a
    symbolic batch axis can be stored and loaded; gradients are finite at the edges.

    Integers in place of an argument's floats raise a `ValueError` that names an argument. So does
    another axis, of size 1, at the end of any array but the first, unless the result is the same
    numbers: nothing broadcasts by mistake. Of 16-bit floats, results and gradients are those of
    float32 up to rounding: a sum is not rounded after each term. What is hidden changes neither
    results nor gradients, not even if it is NaN, and has the gradient 0.

    Args:
        fn: the function; bind its hyperparameters with `functools.partial`.
        examples: argument tuples away from kinks. Arguments are arrays, typed keys, trees of them,
            or None. Give axes that mean different things different sizes: the clause on empty axes
            empties together all axes that are as long as some argument's first axis.
        edges: argument tuples at kinks, where a fraction is 0/0, and, where the function sums, with
            many values or a large mean.
        differentiable: all floating-point arguments, none, or those at these positions.
        exact: `jit` and `vmap` keep every bit, instead of agreeing up to rounding.
        shared: positions of the arguments that an exported program takes once for the whole batch.
            JAX cannot export convolutions whose kernels have a symbolic batch axis.
        hide: for a function with a mask: `hide(value, *args)` returns the arguments with this value
            in place of all that the mask hides.

    Raises:
        AssertionError: if a clause does not hold.
    """
    work = [(args, CLAUSES) for args in examples]
    work += [(args, CLAUSES_AT_EDGES) for args in edges]
    for args, clauses in work:
        case = Case(fn, jax.tree.map(jnp.asarray, args), differentiable, exact, shared, hide)
        for clause in clauses:
            _prove(clause, case)


def _prove(clause: Callable[[Case], None], case: Case) -> None:
    try:
        clause(case)
    except Exception as error:
        kind = "" if isinstance(error, AssertionError) else f"raised {type(error).__name__}: "
        title = f"{case.name}: {clause.__name__.replace('_', ' ')}"
        raise AssertionError(f"{title}: {kind}{textwrap.shorten(str(error), 300)}") from error
