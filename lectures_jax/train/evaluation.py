"""A model asked, and measured, over a whole set."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lectures_jax.train.state import evaluation_view
from lectures_jax.typing import Batch, Key, Metrics, Objective


def evaluate(model: Any, objective: Objective, batches: Iterable[Batch]) -> dict[str, float]:
    """Returns the objective's metrics, averaged over the examples of all batches.

    Dropout is off and batch norm uses its running averages. Batches may differ in size. Where a
    batch holds `present` [b], each of its examples is measured alone, and those that are not
    present (padding of the last batch) do not count.

    Args:
        model: an `nnx` module.
        objective: `(model, batch, key) -> (scalar, metrics)`, compiled once for one function: bind
            hyperparameters outside, not at each call. The key depends only on the batch's number,
            so that two evaluations draw the same numbers.
        batches: finitely many.

    Raises:
        ValueError: if there is no example.
    """
    structure, arrays = nnx.split(evaluation_view(model))
    total, sums = 0.0, None
    for number, batch in enumerate(batches):
        count, found = _measure(structure, objective, arrays, batch, number)
        total += count
        sums = found if sums is None else jax.tree.map(jnp.add, sums, found)
    sums, total = jax.device_get((sums, total))
    if sums is None or not total:
        raise ValueError("batches must hold at least one example, got none.")
    return {name: float(value / total) for name, value in sums.items()}


@partial(jax.jit, static_argnums=(0, 1))
def _measure(structure, objective, arrays, batch: Batch, number) -> tuple[Any, Metrics]:
    """Counts the examples of a batch and sums the metrics over them."""
    key = jax.random.fold_in(jax.random.key(0), number)

    def metrics_of(examples: Batch, key: Key) -> Metrics:
        loss, metrics = objective(nnx.merge(structure, arrays, copy=True), examples, key)
        return {**metrics, "loss": loss}

    size = len(jax.tree.leaves(batch)[0])
    if "present" not in batch:
        return jnp.float32(size), jax.tree.map(lambda x: x * size, metrics_of(batch, key))
    alone = jax.tree.map(lambda x: x[:, None], batch)
    each = jax.vmap(metrics_of)(alone, jax.random.split(key, size))
    present = batch["present"]
    sums = jax.tree.map(lambda x: jnp.sum(jnp.where(present, x, 0)), each)
    return jnp.sum(present, dtype=jnp.float32), sums


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
    structure, arrays = nnx.split(evaluation_view(model))
    size = min(batch_size, 1 << (len(inputs) - 1).bit_length())
    parts = []
    for start in range(0, len(inputs), size):
        rows = np.asarray(inputs[start : start + size])
        count = len(rows)
        filled = np.zeros((size, *rows.shape[1:]), rows.dtype)
        filled[:count] = rows
        answers = jax.device_get(_answer(structure, function, arrays, filled))
        parts.append(jax.tree.map(lambda x, count=count: x[:count], answers))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


@partial(jax.jit, static_argnums=(0, 1))
def _answer(structure, function, arrays, inputs: jax.Array) -> Any:
    return function(nnx.merge(structure, arrays), inputs)
