"""A training in progress: what the loop reads and writes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import jax
from flax import nnx

from lectures_jax.train.arguments import check_batch
from lectures_jax.train.checkpoint import Checkpoints
from lectures_jax.train.diagnosis import explain
from lectures_jax.train.evaluation import mean_row
from lectures_jax.train.history import RESERVED, History, Row, with_evaluation
from lectures_jax.train.learner import Learner, guarded
from lectures_jax.train.mesh import gather, outputs, place_batch, undivided, zeros_like
from lectures_jax.train.progress import Bar, Lines
from lectures_jax.train.state import TrainState
from lectures_jax.train.stream import Stream
from lectures_jax.typing import Batch, Metrics


@dataclass(frozen=True)
class Schedule:
    """After how many steps something is due, None for never.

    Attributes:
        evaluate_every: an evaluation.
        save_every: a checkpoint.
        log_every: a row.
    """

    evaluate_every: int | None
    save_every: int | None
    log_every: int | None

    def __post_init__(self):
        for name, value in vars(self).items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")

    def due(self, step: int) -> set[str]:
        """Returns which of "evaluate", "save" and "log" are due after a step."""
        every = {name.removesuffix("_every"): n for name, n in vars(self).items()}
        return {name for name, n in every.items() if n is not None and step % n == 0}


@dataclass
class Session:
    """What the loop reads and writes.

    Attributes:
        structure: of the model.
        learner: whose step is taken.
        state: after `step` steps; consumed by the next one.
        fixed: arrays that the step only reads.
        step: steps since the beginning of training, known without asking the device.
        stream: where batches come from.
        history: where rows go.
        progress: what is shown.
        checkpoints: where states are saved, or None.
        evaluate: `state -> metrics`, or None.
        saved: step of the last checkpoint.
        evaluated: step of the last evaluation.
        failed_batch: on the device, the batch of the first step that failed; zeros until then.
    """

    structure: nnx.GraphDef
    learner: Learner
    state: TrainState
    fixed: Any
    step: int
    stream: Stream
    history: History
    progress: Bar | Lines
    checkpoints: Checkpoints | None
    evaluate: Callable[[TrainState], Row] | None
    saved: int = -1
    evaluated: int = -1
    failed_batch: Batch | None = None
    _metrics: list[Metrics] = field(default_factory=list)
    _since: float = field(default_factory=perf_counter)
    _compiled: Any = None

    def __post_init__(self):
        self._flushed = self.step

    def advance(self, batch: Batch) -> None:
        """Starts a step and does not wait for it."""
        first = self.failed_batch is None
        if first:
            check_batch(batch)
            if remark := undivided(batch):
                self.progress.note(self.step, remark)
        batch = place_batch(batch)
        if first:
            self.failed_batch = zeros_like(batch, self.state)
            options = outputs(self.state, batch)
            self._compiled = jax.jit(self._advance, donate_argnums=(0, 1), **options)
        self.state, self.failed_batch, metrics = self._compiled(
            self.state, self.failed_batch, batch, self.fixed
        )
        self.step += 1
        self._metrics.append(metrics)
        if first:  # the call has compiled the step, which says nothing about speed
            self._restart_clock()
        self.progress.advance()

    def _advance(
        self, state: TrainState, failed_batch: Batch, batch: Batch, fixed: Any
    ) -> tuple[TrainState, Batch, Metrics]:
        """Takes a guarded step, and keeps its batch if it is the first that failed."""
        _check_shapes(failed_batch, batch)
        new, metrics = guarded(self.structure, self.learner, state, batch, fixed)
        if taken := [name for name in RESERVED if name in metrics]:
            raise ValueError(f"objective must give its metrics other names than {taken[0]!r}.")
        first = new.failed & ~state.failed
        return new, jax.lax.cond(first, lambda: batch, lambda: failed_batch), metrics

    def flush(self, *, evaluate: bool, save: bool) -> None:
        """Waits for the device, writes a row and, where asked, evaluates and saves, once a step.

        Raises:
            NonFiniteError: if a step since the last flush failed; nothing is written then.
        """
        row, rows = self._row(), self.history.rows
        if rows and rows[-1]["step"] == self.step:  # a second flush at this step
            row = rows[-1] | row
        if save:
            self._save(row)
        evaluate = evaluate and self.evaluate is not None and self.evaluated != self.step
        if evaluate:
            row = with_evaluation(row, self._evaluation(row))
        if len(row) > 1 and row not in rows[-1:]:
            self.history.append(row)
            self.progress.show(row, evaluated=evaluate)
        self._metrics, self._flushed = [], self.step
        self._restart_clock()

    def _save(self, row: Row, evaluation: Row | None = None) -> None:
        """Starts to save the state of this step, once."""
        if self.checkpoints and self.saved != self.step:
            self.history.sync()
            self.checkpoints.save(
                self.step, self.state, row, self.stream.position, evaluation=evaluation
            )
            self.saved = self.step

    def _evaluation(self, row: Row) -> Row:
        """Evaluates a step that is saved before, if it is due, or if the evaluation fails."""
        if self.checkpoints:
            self.checkpoints.wait()
        try:
            evaluation = self.evaluate(self.state) if self.evaluate else {}
        except BaseException:
            self._save(row)
            self.history.append(row)
            raise
        self.evaluated = self.step
        if self.checkpoints and self.saved == self.step:
            self.checkpoints.add_evaluation(self.step, evaluation)
        elif self.checkpoints and self.checkpoints.improves(evaluation):
            self._save(row, evaluation)
        return evaluation

    def _restart_clock(self) -> None:
        self._since, self.stream.waited = perf_counter(), 0.0

    def _row(self) -> Row:
        metrics, failed, good = jax.device_get((self._metrics, self.state.failed, self.state.step))
        # compiled functions return their dictionaries sorted; the loss comes first for people
        metrics = [{"loss": of_step.pop("loss"), **of_step} for of_step in metrics]
        if failed:
            # The state rests at the last good step: its number points at the one after it.
            failure = metrics[int(good) - self._flushed]
            arrays = gather((self.state, self.failed_batch, self.fixed))
            raise explain(self.structure, self.learner, *arrays, failure)
        row: Row = {"step": self.step}
        if metrics:
            row |= mean_row(metrics)
            seconds = perf_counter() - self._since
            row["steps_per_second"] = len(metrics) / seconds
            row["data_wait"] = self.stream.waited / seconds
        return row


def _check_shapes(first: Batch, batch: Batch) -> None:
    """Refuses at trace time a batch unlike the first, which would also compile the step again."""
    expected, got = (jax.tree.map(lambda x: str(jax.typeof(x)), b) for b in (first, batch))
    if expected != got:
        raise ValueError(f"every batch must be like the first, {expected}, got {got}.")
