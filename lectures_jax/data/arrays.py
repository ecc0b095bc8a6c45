"""Batches of arrays that are in memory."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from lectures_jax.data.order import Order
from lectures_jax.typing import Batch


class Batches(Iterator[Batch]):
    """Batches without end, as `batches` returns them; a checkpoint holds their position."""

    def __init__(
        self, examples: Mapping[str, np.ndarray | jax.Array], order: Order, batch_size: int
    ):
        self._examples, self._order, self._batch_size = examples, order, batch_size
        self._drawn = 0

    def __next__(self) -> Batch:
        rows = self._order.span(self._drawn * self._batch_size, self._batch_size)
        self._drawn += 1
        return {name: array[rows] for name, array in self._examples.items()}

    def get_state(self) -> dict[str, int]:
        """Returns the position, as JSON holds it."""
        return {"drawn": self._drawn}

    def set_state(self, state: Any) -> None:
        """Goes on from a position.

        Args:
            state: as `get_state` returned it.

        Raises:
            ValueError: if it is another iterator's.
        """
        match state:
            case {"drawn": int(drawn)} if drawn >= 0:
                self._drawn = drawn
            case _:
                raise ValueError(f"state must be as get_state returns it, got {state}.")


def batches(
    examples: Mapping[str, np.ndarray | jax.Array], *, batch_size: int, seed: int = 0
) -> Batches:
    """Returns batches of arrays without end, each epoch in another order, for training.

    Batches cross from one epoch to the next, so nothing is dropped. Their order depends on the seed
    alone.

    Args:
        examples: arrays whose rows belong together.
        batch_size: rows per batch.
        seed: for the order, at least 0.

    Returns:
        An iterator with `get_state` and `set_state`, so that a run resumes where it was.

    Raises:
        ValueError: if the arrays differ in length or are empty, `batch_size` is below 1 or `seed`
            below 0.
    """
    rows = _rows(examples, batch_size)
    # NumPy, because a look-up by rows would compile for JAX's arrays.
    arrays = {name: np.asarray(array) for name, array in examples.items()}
    return Batches(arrays, Order(rows, seed=seed), batch_size)


def in_batches(examples: Mapping[str, np.ndarray | jax.Array], *, batch_size: int) -> list[Batch]:
    """Returns arrays cut into batches, in their order, for evaluation; the last may be shorter.

    Args:
        examples: arrays whose rows belong together.
        batch_size: rows per batch.

    Raises:
        ValueError: if the arrays differ in length or are empty, or `batch_size` is below 1.
    """
    rows = _rows(examples, batch_size)
    return [
        {name: array[start : start + batch_size] for name, array in examples.items()}
        for start in range(0, rows, batch_size)
    ]


def _rows(examples: Mapping[str, np.ndarray | jax.Array], batch_size: int) -> int:
    """Returns how many rows the arrays have, if they have equally many and may be cut."""
    lengths = {name: len(array) for name, array in examples.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"examples must be arrays of one length, not empty, got {lengths}.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    return min(lengths.values())
