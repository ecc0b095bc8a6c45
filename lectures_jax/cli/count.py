"""`ljx count`: what each layer of a network costs, and what it sees."""

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from lectures_jax.train.state import evaluation_view

MODELS = Path(__file__).resolve().parents[1] / "models"
HEADER = ("layer", "kind", "output", "parameters", "FLOPs", "bytes", "sees")


class Row(NamedTuple):
    """One layer, for one example.

    Attributes:
        layer: where it is in the model.
        kind: its class.
        output: its shape.
        parameters: numbers that are learnt.
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
    parameters = sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))
    flops, size = sum(row.flops for row in rows), sum(row.size for row in rows)
    total = Row("total", "", (), parameters, flops, size, None)
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
    except TypeError as error:
        raise ValueError(f"MODEL: {expression!r}: {error}.") from error
    return network(*arguments, **options, rngs=nnx.Rngs(0))


def ledger(model: nnx.Module, shape: Sequence[int]) -> list[Row]:
    """Returns the layers that hold parameters, in the order in which they are called.

    What a layer sees is found by trial, for images: all kernels become ones, and one row after
    the other of an empty image is set to one. With positive weights nothing cancels, so a value
    changes exactly if it depends on that row.

    Args:
        model: an `nnx` module, as it is made: biases of zero, batch norm's averages untouched.
        shape: of one input; three sizes are those of an image.
    """
    structure, params, others = nnx.split(evaluation_view(model), nnx.Param, ...)
    params = jax.tree.map(lambda p: jnp.ones_like(p) if p.ndim > 1 else p, params)
    positive = nnx.merge(structure, params, others)
    paths = {
        id(layer): ".".join(map(str, path))
        for path, layer in nnx.iter_modules(positive)
        if any(isinstance(value, nnx.Param) for value in vars(layer).values())
    }
    layers = [layer for _, layer in nnx.iter_modules(positive) if id(layer) in paths]
    picture = len(shape) == 3
    probes = np.zeros((shape[0] + 1 if picture else 1, *shape), np.float32)
    if picture:
        probes[np.arange(shape[0]), np.arange(shape[0])] = 1
    called: list[tuple[Any, tuple[int, ...]]] = []

    @jax.jit
    def outputs(x: Array) -> list[tuple[Array, Array]]:
        """Of each call the first example, for its shape, and which probes its middle row saw."""
        with recorded(layers) as calls:
            positive(x)
        called.extend((layer, inputs) for layer, inputs, _ in calls)
        return [(y[0], _changed(y)) for _, _, y in calls]

    found = jax.device_get(outputs(probes))
    return [
        Row(
            paths[id(layer)],
            type(layer).__name__,
            y.shape,
            sum(v[...].size for v in vars(layer).values() if isinstance(v, nnx.Param)),
            _flops(layer, inputs[1:], y.shape),
            y.nbytes,
            int(changed.sum()) if picture else None,
        )
        for (layer, inputs), (y, changed) in zip(called, found, strict=True)
    ]


def _changed(y: Array) -> Array:
    """Whether the middle row of each example differs from that of the last, the empty image."""
    middle = y[:, y.shape[1] // 2] if y.ndim == 4 else y
    return jnp.any(middle[:-1] != middle[-1:], axis=tuple(range(1, middle.ndim)))


@contextmanager
def recorded(layers: Sequence[nnx.Module]) -> Iterator[list[tuple[Any, tuple[int, ...], Array]]]:
    """Gives a list that grows by (layer, input shape, output) when one of the layers is called."""
    calls: list[tuple[Any, tuple[int, ...], Array]] = []
    wanted = {id(layer) for layer in layers}

    def wrap(call: Callable) -> Callable:
        def wrapped(self, x, *args, **kwargs):
            y = call(self, x, *args, **kwargs)
            if id(self) in wanted:
                calls.append((self, x.shape, y))
            return y

        return wrapped

    with ExitStack() as stack:
        for kind in {type(layer) for layer in layers}:
            stack.enter_context(mock.patch.object(kind, "__call__", wrap(kind.__call__)))
        yield calls


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
            if isinstance(node, ast.ClassDef) and "nnx.Module" in map(ast.unparse, node.bases)
        }
    if name not in known:
        raise ValueError(f"MODEL: expected one of {', '.join(sorted(known))}, got {name!r}.")
    return importlib.import_module(f"lectures_jax.models.{known[name]}")


def _value(node: ast.expr, module: Any) -> Any:
    """A literal, or a constant of the network's file."""
    if isinstance(node, ast.Name) and hasattr(module, node.id):
        return getattr(module, node.id)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise ValueError(f"MODEL: expected a literal, got {ast.unparse(node)!r}.") from error


def _cells(row: Row) -> tuple[str, ...]:
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
