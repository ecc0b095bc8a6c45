"""A training in progress: the part of `fit` that holds state."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import jax
import jax.numpy as jnp

from lectures_jax.train.checkpoint import Checkpoints
from lectures_jax.train.diagnosis import NonFiniteError
from lectures_jax.train.history import History, Row
from lectures_jax.train.progress import Bar, Lines
from lectures_jax.train.state import TrainState
from lectures_jax.train.step import Step
from lectures_jax.train.stream import Stream
from lectures_jax.typing import Batch, Metrics


@dataclass
class Run:
    """What the loop reads and writes.

    Attributes:
        step: the compiled step.
        state: after `done` steps; consumed by the next one.
        done: steps since the beginning of training, known without asking the device.
        stream: where batches come from.
        history: where rows go.
        progress: what is shown.
        store: where checkpoints go, or None.
        measure: evaluates a state.
        diagnose: explains a state that failed, from the metrics of the step.
    """

    step: Step
    state: TrainState
    done: int
    stream: Stream
    history: History
    progress: Bar | Lines
    store: Checkpoints | None
    measure: Callable[[TrainState], dict[str, float]]
    diagnose: Callable[[TrainState, Row], NonFiniteError]
    _metrics: list[Metrics] = field(default_factory=list)
    _since: float = field(default_factory=perf_counter)
    _measured: int = -1
    _saved: int = -1

    def advance(self, batch: Batch) -> None:
        """Starts a step and does not wait for it."""
        first = self.state.suspect is None
        if first:
            self.state = self.state._replace(suspect=jax.tree.map(jnp.zeros_like, batch))
        self.state, metrics = self.step(self.state, batch)
        self.done += 1
        self._metrics.append(metrics)
        if first:  # the call has compiled the step, which says nothing about speed
            self._restart_clock()
        self.progress.advance()

    def pause(self, *, measure: bool, save: bool) -> None:
        """Waits for the device, writes a row and, where asked, evaluates and saves, once a step.

        Raises:
            NonFiniteError: if a step since the last pause failed; nothing is written then.
        """
        row = self._row()
        measure &= self._measured != self.done
        save &= self._saved != self.done
        if measure:
            row |= self._evaluation(row)
            self._measured = self.done
        if len(row) > 1:
            self.history.append(row)
            self.progress.show(row, evaluated=measure)
        better = measure and self.store is not None and self.store.improves(row)
        if self.store and (save or better):
            self.store.save(self.done, self.state, row, self.stream.position)
            self._saved = self.done
        self._metrics = []
        self._restart_clock()

    def _restart_clock(self) -> None:
        self._since, self.stream.waited = perf_counter(), 0.0

    def _row(self) -> Row:
        values, failed, good = jax.device_get((self._metrics, self.state.failed, self.state.step))
        # compiled functions return their dictionaries sorted; the loss comes first for people
        values = [{"loss": found.pop("loss"), **found} for found in values]
        if failed:
            raise self.diagnose(self.state, values[int(good) - self.done + len(values)])
        row: Row = {"step": self.done}
        if values:
            row |= {name: _mean([float(v[name]) for v in values]) for name in values[0]}
            seconds = perf_counter() - self._since
            row["steps_per_second"] = len(values) / seconds
            row["data_wait"] = self.stream.waited / seconds
        return row

    def _evaluation(self, row: Row) -> dict[str, float]:
        metrics = {name: float(value) for name, value in self.measure(self.state).items()}
        if taken := metrics.keys() & row.keys():
            raise ValueError(f"evaluate's names must differ from training's, got {sorted(taken)}.")
        return metrics


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
