"""`ljx count`: what each layer of a network costs, and what it sees.

Flax's `nnx.tabulate` lists the modules of a network with their shapes and parameters. This table
has what that one lacks: FLOPs by the course's formulas, and each layer's receptive field.
"""

import ast
import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from lectures_jax.nn.capture import Call, capture_calls
from lectures_jax.nn.parameters import count_parameters
from lectures_jax.train.state import evaluation_view

MODELS = Path(__file__).resolve().parents[1] / "models"
HEADER = ("layer", "kind", "output", "parameters", "FLOPs", "bytes", "sees")


class LayerCost(NamedTuple):
    """One layer, for one example.

    Attributes:
        layer: where it is in the model.
        kind: its class.
        output: its shape.
        parameters: numbers that are trained.
        flops: additions and multiplications, a multiply-add counting as two.
        size: of its output, in bytes.
        sees: rows of the image that its middle row depends on; None without images.
    """

    layer: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    flops: int
    size: int
    sees: int | None


def count(expression: str, shape: Sequence[int]) -> int:
    """Prints the ledger of a network, and XLA's own count beside the sum.

    Args:
        expression: how it is made, as in `Mlp((784, 256, 10))`: a class of `lectures_jax.models`
            with literals, or with constants of its file.
        shape: of one input.

    Returns:
        The exit code 0.
    """
    if min(shape) < 1:
        raise ValueError(f"--input: expected positive sizes, got {list(shape)}.")
    model = build(expression)
    rows = ledger(model, shape)
    flops, size = sum(row.flops for row in rows), sum(row.size for row in rows)
    total = LayerCost("total", "", (), count_parameters(model), flops, size, None)
    print(_table([HEADER, *map(_cells, rows), _cells(total)]))
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    analysis = jax.jit(evaluation_view(model)).lower(x).cost_analysis() or {}
    print(
        f"\nXLA counts {int(analysis.get('flops', 0)):,} FLOPs: with activations, without padding."
    )
    return 0


def build(expression: str) -> nnx.Module:
    """Makes the network that an expression describes, with random parameters."""
    try:
        tree = ast.parse(expression, mode="eval").body
    except SyntaxError:
        tree = None
    call = ast.Call(tree, [], []) if isinstance(tree, ast.Name) else tree
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError(f"MODEL: expected CLASS(arguments), got {expression!r}.")
    module = _module_of(call.func.id)
    network = getattr(module, call.func.id)
    arguments = [_value(node, module) for node in call.args]
    options = {k.arg: _value(k.value, module) for k in call.keywords if k.arg}
    try:
        inspect.signature(network.__init__).bind(None, *arguments, **options, rngs=None)
        return network(*arguments, **options, rngs=nnx.Rngs(0))
    except TypeError as error:
        reason = str(error).rstrip(".")
        raise ValueError(f"MODEL: {expression!r}: {reason}.") from error


def ledger(model: nnx.Module, shape: Sequence[int]) -> list[LayerCost]:
    """Returns the layers that hold parameters, in the order in which they are called.

    What a layer sees is measured, for images: all kernels become ones, and one row after the other
    of an empty image is set to one. With positive weights nothing cancels, so a value changes
    exactly if it depends on that row.

    Args:
        model: an `nnx` module, as it is made: biases of zero, batch norm's averages untouched.
        shape: of one input; three sizes are those of an image.
    """
    structure, params, others = nnx.split(evaluation_view(model), nnx.Param, ...)
    params = jax.tree.map(lambda p: jnp.ones_like(p) if p.ndim > 1 else p, params)
    is_image = len(shape) == 3
    probes = np.zeros((shape[0] + 1 if is_image else 1, *shape), np.float32)
    if is_image:
        probes[np.arange(shape[0]), np.arange(shape[0])] = 1
    costs: list[LayerCost] = []

    @jax.jit
    def outputs(x: Array) -> list[Array]:
        """Of each layer's call, which probes its middle row saw."""
        calls: list[Call] = []
        capture_calls(nnx.merge(structure, params, others), calls.append)(x)
        calls = [call for call in calls if _parameters(call.module)]
        costs.extend(map(_cost, calls))
        return [_changed(call.output) for call in calls]

    changed = jax.device_get(outputs(probes))
    if not is_image:
        return costs
    return [cost._replace(sees=int(c.sum())) for cost, c in zip(costs, changed, strict=True)]


def _parameters(layer: nnx.Module) -> int:
    """Numbers of a layer itself, without those of layers inside of it."""
    return sum(v[...].size for v in vars(layer).values() if isinstance(v, nnx.Param))


def _cost(call: Call) -> LayerCost:
    """Of one example; what the layer sees is not known yet."""
    layer: Any = call.module
    y = call.output
    return LayerCost(
        call.path,
        type(layer).__name__,
        y.shape[1:],
        _parameters(layer),
        _flops(layer, call.inputs[0].shape[1:], y.shape[1:]),
        y.size // len(y) * y.dtype.itemsize,
        None,
    )


def _changed(y: Array) -> Array:
    """Whether the middle row of each example differs from that of the last, the empty image."""
    middle = y[:, y.shape[1] // 2] if y.ndim == 4 else y
    return jnp.any(middle[:-1] != middle[-1:], axis=tuple(range(1, middle.ndim)))


def _flops(layer: Any, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> int:
    """By the formulas of `ops.count_linear` and `ops.count_conv`; a scale and shift elsewhere."""
    values = int(np.prod(outputs))
    kernel = getattr(layer, "kernel", None)
    if kernel is None:
        return 2 * values
    # A transposed convolution uses its kernel once per input pixel, the others per output.
    pixels = np.prod((inputs if isinstance(layer, nnx.ConvTranspose) else outputs)[:-1], dtype=int)
    bias = values if getattr(layer, "bias", None) is not None else 0
    return int(2 * kernel[...].size * pixels) + bias


def _module_of(name: str) -> Any:
    """The file in `models` that defines a class."""
    known = {}
    for file in sorted(MODELS.glob("*.py")):
        body = ast.parse(file.read_text(encoding="utf-8")).body
        known |= {
            node.name: file.stem
            for node in body
            if isinstance(node, ast.ClassDef) and _takes_rngs(node) and _takes_one_input(node)
        }
    if name not in known:
        raise ValueError(f"MODEL: expected one of {', '.join(sorted(known))}, got {name!r}.")
    return importlib.import_module(f"lectures_jax.models.{known[name]}")


def _takes_rngs(node: ast.ClassDef) -> bool:
    """Whether a class makes its own parameters, as networks and blocks do."""
    constructors = (f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__")
    return any(argument.arg == "rngs" for f in constructors for argument in f.args.kwonlyargs)


def _takes_one_input(node: ast.ClassDef) -> bool:
    """Whether a class is called with one array; one that inherits its call is, as classifiers."""
    calls = [f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__call__"]
    return all(len(f.args.args) - len(f.args.defaults) == 2 for f in calls)  # itself and the array


def _value(node: ast.expr, module: Any) -> Any:
    """A literal, or a constant of the network's file."""
    if isinstance(node, ast.Name) and hasattr(module, node.id):
        return getattr(module, node.id)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise ValueError(f"MODEL: expected a literal, got {ast.unparse(node)!r}.") from error


def _cells(row: LayerCost) -> tuple[str, ...]:
    sees = "" if row.sees is None else str(row.sees)
    shape = "×".join(map(str, row.output))
    return (row.layer, row.kind, shape, *(f"{n:,}" for n in row[3:6]), sees)


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
    return "\n".join(lines)
