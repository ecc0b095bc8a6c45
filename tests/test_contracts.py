"""Each public function of `ops` and `losses` has a row in the contract table and keeps it."""

import contextlib
import importlib
import inspect
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from lectures_jax import losses, ops
from lectures_jax.testing import check_op
from tests.contract import Contract

LAYERS = {"ops": ops, "losses": losses}


def rows(layer: str) -> Iterator[tuple[str, Contract | str]]:
    for path in sorted((Path(__file__).parent / layer).glob("test_*.py")):
        module = importlib.import_module(f"{__package__}.{layer}.{path.stem}")
        yield from getattr(module, "CONTRACT", {}).items()


TABLE = [(layer, name, row) for layer in LAYERS for name, row in rows(layer)]


def function(layer: str, name: str) -> Any:
    return getattr(LAYERS[layer], name.split()[0])


@pytest.mark.parametrize("layer", LAYERS)
def test_every_public_function_has_a_row_and_every_row_a_function(layer):
    public = LAYERS[layer].__all__
    functions = {name for name in public if not inspect.isclass(getattr(LAYERS[layer], name))}
    assert functions == {name.split()[0] for where, name, _ in TABLE if where == layer}


def test_no_two_rows_have_the_same_name():
    names = [(layer, name) for layer, name, _ in TABLE]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("layer", "name", "row"),
    [pytest.param(*row, id=".".join(row[:2])) for row in TABLE if isinstance(row[2], Contract)],
)
def test_contract_holds(layer, name, row):
    op = row.op or function(layer, name)
    with jax.numpy_dtype_promotion("strict"):
        check_op(
            op,
            *row.examples,
            edges=row.edges,
            differentiable=row.differentiable,
            exact=row.exact,
            shared=row.shared,
            hide=row.hide,
        )


@pytest.mark.parametrize(
    ("layer", "name", "row"),
    [pytest.param(*row, id=".".join(row[:2])) for row in TABLE if isinstance(row[2], Contract)],
)
def test_row_calls_the_function_it_names(layer, name, row):
    op = row.op
    while isinstance(op, partial):
        op = op.func
    is_lambda = getattr(op, "__name__", "") == "<lambda>"
    assert op is None or is_lambda or op is function(layer, name)


FIRST = {  # whose results have the dtype of one argument, as their docstrings say
    "x": {"solve_ddim", "solve_heun", "solve_dpm", "invert_diffusion", "ode_log_prob"},
    "x of a bound": {"variational_bound"},
    "target": {"fit_latent_map", "fit_rotation"},
    "what is chosen or split": {"nms", "diou_nms", "soft_nms", "yolo_decode", "yolo_encode"},
}


@pytest.mark.parametrize(
    ("layer", "name", "row"),
    [pytest.param(*row, id=".".join(row[:2])) for row in TABLE if isinstance(row[2], Contract)],
)
def test_arrays_of_two_precisions_give_the_wider_one(layer, name, row):
    """As JAX promotes, whichever of the arguments has 16 bits; or they are refused."""
    if any(name.split()[0] in names for names in FIRST.values()):
        return
    op = row.op or function(layer, name)
    for args in row.examples:
        floats = [n for n, arg in enumerate(args) if any(map(is_float, jax.tree.leaves(arg)))]
        if len(floats) < 2:
            continue
        for narrow in floats:
            specs = [
                jax.tree.map(lambda x: spec(x, jnp.bfloat16 if n == narrow else jnp.float32), arg)
                for n, arg in enumerate(args)
            ]
            with contextlib.suppress(ValueError):
                results = jax.tree.leaves(jax.eval_shape(op, *specs))
                wrong = [str(x.dtype) for x in results if is_float(x) and x.dtype != jnp.float32]
                assert not wrong, f"argument {narrow} in bfloat16 gives {wrong}"


def is_float(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def spec(x: Any, dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, dtype if is_float(x) else x.dtype)
