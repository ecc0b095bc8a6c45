"""Batches with a position that a checkpoint can hold."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from time import perf_counter
from typing import Any

from lectures_jax.typing import Batch


class Stream(Iterator[Batch]):
    """Batches, their position, and the time spent waiting for them.

    An iterator with `get_state` and `set_state`, such as Grain's, is moved to a position directly.
    From any other iterable the batches before it are drawn again and dropped, so it must give the
    same ones each time.

    Attributes:
        waited: seconds spent in `next` so far.
    """

    def __init__(self, batches: Iterable[Batch]):
        self._iterator = iter(batches)
        self.waited = 0.0

    def __next__(self) -> Batch:
        start = perf_counter()
        try:
            return next(self._iterator)
        finally:
            self.waited += perf_counter() - start

    @property
    def position(self) -> Any:
        """Where the iterator says it is, as JSON holds it; None for a plain iterable."""
        get_state = getattr(self._iterator, "get_state", None)
        if get_state is None:
            return None
        state = get_state()
        try:
            return json.loads(json.dumps(state))
        except TypeError as error:
            raise ValueError(f"batches.get_state() must be JSON, got {type(state)}.") from error

    def seek(self, step: int, position: Any) -> None:
        """Moves on to where `position` was read, `step` batches after the beginning."""
        set_state = getattr(self._iterator, "set_state", None)
        if position is not None and set_state is not None:
            set_state(position)
        else:
            next(islice(self._iterator, step, step), None)
