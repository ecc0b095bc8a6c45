"""A model measured over a whole set, and its answers to one."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from lectures_jax.runtime import current_request
from lectures_jax.train.learner import call_objective
from lectures_jax.train.mesh import share_evaluation
from lectures_jax.train.state import assemble, evaluation_view, frozen
from lectures_jax.train.stopping import check
from lectures_jax.typing import Batch, Key, Metrics, Objective, Ratio

_first_only: ContextVar[bool] = ContextVar("first_only", default=False)


class Untried(Exception):  # noqa: N818  (nothing is wrong)
    """An evaluation was not tried out, because its batches can be drawn only once."""


@contextmanager
def first_batch_only() -> Iterator[None]:
    """Lets each `evaluate` in the block stop after its first batch, to see whether it works."""
    token = _first_only.set(True)
    try:
        yield
    finally:
        _first_only.reset(token)


def evaluate(
    model: Any, objective: Objective, batches: Iterable[Batch], *, fixed: Any = None
) -> dict[str, Any]:
    """Returns the objective's metrics over the examples of all batches.

    Sums are added over the batches and divided once at the end: a metric that is an array (a mean
    over the examples of its batch: a number, a matrix, a histogram) counts each example once; a
    `Ratio` adds its two sums, so that a Dice over a set is one quotient and not a mean of them.
    Dropout is off and batch norm uses its running averages. Batches may differ in size; on a mesh
    the devices of this process share each of a size that they divide. Where a
    batch holds `present` [b], each of its examples is measured alone, and those that are not
    present (padding of the last batch) do not count.

    Args:
        model: an `nnx` module.
        objective: `(model, batch, key) -> (scalar, metrics)`, compiled once for one function: bind
            hyperparameters outside, not at each call. The key depends only on the batch's number,
            so that two evaluations draw the same numbers.
        batches: finitely many.
        fixed: what the objective takes as a fourth argument, None for three arguments.

    Returns:
        Floats by name, and NumPy arrays where a metric has axes; NaN where a `Ratio` counted none.

    Raises:
        ValueError: if there is no example.
        Stopped: between two batches of a run that was asked to end.
    """
    first_only = _first_only.get()
    if first_only and iter(batches) is batches:
        raise Untried
    structure, params, buffers = nnx.split(evaluation_view(model), nnx.Param, ...)
    count, sums, arrays = jnp.float32(0), None, (params, buffers, frozen(fixed))
    for number, batch in enumerate(islice(batches, 1 if first_only else None)):
        check(current_request())
        arrays, batch = share_evaluation(arrays, batch)
        size, added = _sums(structure, objective, *arrays, batch, number)
        count += size
        sums = added if sums is None else jax.tree.map(jnp.add, sums, added)
    sums, count = jax.device_get((sums, count))
    if sums is None or not count:
        raise ValueError("batches must hold at least one example, got none.")
    return {name: _number(ratio) for name, ratio in sums.items()}


@partial(jax.jit, static_argnums=(0, 1))
def _sums(
    structure: nnx.GraphDef,
    objective: Objective,
    params: Any,
    buffers: Any,
    fixed: Any,
    batch: Batch,
    number: Array | int,
) -> tuple[Array, dict[str, Ratio]]:
    """Counts the examples of a batch, and turns each metric into two sums over them."""
    key = jax.random.fold_in(jax.random.key(0), number)

    def metrics_of(examples: Batch, key: Key) -> Metrics:
        model = assemble(structure, params, buffers)
        loss, metrics = call_objective(objective, model, examples, key, fixed)
        return {**metrics, "loss": loss}

    size = len(jax.tree.leaves(batch)[0])
    if "present" not in batch:
        count = jnp.float32(size)
        return count, _as_ratios(metrics_of(batch, key), count)
    alone = jax.tree.map(lambda x: x[:, None], batch)
    each = jax.vmap(metrics_of)(alone, jax.random.split(key, size))
    present = jnp.asarray(batch["present"])

    def add(x: Array) -> Array:
        rows = present.reshape(-1, *[1] * (x.ndim - 1))
        return jnp.sum(jnp.where(rows, x, 0), axis=0)

    ratios = jax.vmap(lambda metrics: _as_ratios(metrics, jnp.float32(1)))(each)
    return jnp.sum(present, dtype=jnp.float32), jax.tree.map(add, ratios)


def _as_ratios(metrics: Metrics, count: Array) -> dict[str, Ratio]:
    sums = {
        name: x if isinstance(x, Ratio) else Ratio(jnp.asarray(x) * count, count)
        for name, x in metrics.items()
    }
    # Counts of pixels over many batches would leave the range of int32.
    return jax.tree.map(
        lambda x: jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32)), sums
    )


def _number(ratio: Ratio) -> Any:
    """The quotient of two sums, as a float where it has no axes."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.divide(ratio.numerator, ratio.denominator)
    return float(value) if value.ndim == 0 else value


def mean_row(metrics: Sequence[Metrics]) -> dict[str, float]:
    """Returns the means of the scalar metrics of several steps, each ratio from its sums.

    Args:
        metrics: of each step, under the same names; metrics with axes have no place in a row.
    """
    row = {}
    for name, first in metrics[0].items():
        values: list[Any] = [of_step[name] for of_step in metrics]
        if isinstance(first, Ratio):
            total = Ratio(*(np.sum(parts, axis=0) for parts in zip(*values, strict=True)))
            if np.ndim(total.numerator) == 0:
                row[name] = _number(total)
        elif np.ndim(first) == 0:
            row[name] = sum(map(float, values)) / len(values)
    return row


def scalars(metrics: Any) -> dict[str, float]:
    """Returns an evaluation's metrics as floats, without those that have axes.

    Args:
        metrics: numbers by name, as `evaluate` returns them.

    Raises:
        ValueError: if they are no dictionary of numbers.
    """
    if not isinstance(metrics, Mapping):
        raise ValueError(f"evaluate must return a dictionary of metrics, got {metrics!r}.")
    try:
        return {str(name): float(x) for name, x in metrics.items() if np.ndim(x) == 0}
    except (TypeError, ValueError):
        raise ValueError(f"evaluate must return numbers by name, got {metrics!r}.") from None


def _call(model: Any, inputs: jax.Array) -> Any:
    return model(inputs)


def predict(
    model: Any,
    inputs: np.ndarray | jax.Array,
    *,
    function: Callable[[Any, jax.Array], Any] = _call,
    batch_size: int = 500,
) -> Any:
    """Returns a model's answers to all examples, as NumPy arrays.

    Dropout is off and batch norm uses its running averages. The examples are asked in parts of one
    size, the last filled up with zeros, so that one program is compiled; fewer than `batch_size`
    are filled up to a power of two.

    Args:
        model: an `nnx` module.
        inputs: examples along the first axis.
        function: `(model, examples) -> arrays`, each row the answer to one example; by default the
            model's call. Compiled once for one function.
        batch_size: examples asked at once.

    Raises:
        ValueError: if there is no example, or `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    if not len(inputs):
        raise ValueError("inputs must hold at least one example, got none.")
    structure, params, buffers = nnx.split(evaluation_view(model), nnx.Param, ...)
    size = min(batch_size, 1 << (len(inputs) - 1).bit_length())
    parts = []
    for start in range(0, len(inputs), size):
        rows = np.asarray(inputs[start : start + size])
        count = len(rows)
        filled = np.zeros((size, *rows.shape[1:]), rows.dtype)
        filled[:count] = rows
        answers = jax.device_get(_answer(structure, function, params, buffers, filled))
        parts.append(jax.tree.map(lambda x, count=count: x[:count], answers))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


@partial(jax.jit, static_argnums=(0, 1))
def _answer(
    structure: nnx.GraphDef, function: Callable, params: Any, buffers: Any, inputs: jax.Array
) -> Any:
    return function(assemble(structure, params, buffers), inputs)
