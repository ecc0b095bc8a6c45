"""The only training loop: rows, checkpoints, signals and evaluations around any learner."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict

from flax import nnx

from lectures_jax.runtime import StopRequest, stop_request
from lectures_jax.train.checkpoint import Checkpoints
from lectures_jax.train.history import History, Row
from lectures_jax.train.learner import Learner
from lectures_jax.train.progress import open_progress
from lectures_jax.train.session import Schedule, Session
from lectures_jax.train.state import TrainState, rebuild
from lectures_jax.train.stream import Stream
from lectures_jax.typing import Batch, Key

Evaluate = Callable[[Any], dict[str, Any]]
"""`model -> metrics`."""


class Stopped(Exception):  # noqa: N818  (it reports a request that was met, not an error)
    """Training ended early on SIGTERM, after a checkpoint. The same call again resumes."""


class RunOptions(TypedDict, total=False):
    """The options that `fit` and `fit_adversarial` hand on to `run`, which explains them."""

    fixed: Any
    steps: int | None
    out: Path | None
    evaluate: Evaluate | None
    evaluate_every: int | None
    best: str | None
    save_every: int
    log_every: int


def run(
    key: Key,
    model: nnx.Module,
    learner: Learner,
    batches: Iterable[Batch],
    *,
    fixed: Any = None,
    steps: int | None = None,
    out: Path | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int | None = None,
    best: str | None = None,
    save_every: int = 500,
    log_every: int = 50,
) -> tuple[Any, list[Row]]:
    """Trains a model by a learner, and returns it with what was measured on the way.

    With `out`, the same call again resumes from the newest sound checkpoint, and ends with the same
    parameters, bit for bit, as if nothing had interrupted it. SIGTERM finishes the current step and
    saves. A run that has reached `steps` is only read back.

    The host waits for the device where it logs, evaluates or saves, and nowhere else. There it adds
    a row: `step`, the means of the metrics since the row before, `steps_per_second`, `data_wait`
    (the share of the time that went into waiting for batches) and, where due, what `evaluate`
    returned.

    Args:
        key: source of the run's random numbers.
        model: an `nnx` module, left as it is.
        learner: the kind of training, such as `descent(objective, optimizer)`.
        batches: dictionaries of arrays, all of the same shapes. An iterator with `get_state` and
            `set_state`, as Grain's, resumes where it was; any other iterable is drawn from the
            beginning again, so it must give the same batches each time.
        fixed: arrays that the step reads and never changes, such as a teacher or a loss network:
            any tree, or an `nnx` module. It is an argument of the compiled step: neither donated,
            averaged or saved, nor a constant of the program.
        steps: batches to train on in all; None uses all there are.
        out: folder for `metrics.jsonl`, `tensorboard/` and `checkpoints/`; None leaves no files.
        evaluate: `model -> metrics`, under names that training does not use; always at the end.
        evaluate_every: steps between evaluations; None evaluates at the end only.
        best: metric of `evaluate` to maximize: its best checkpoint is kept and returned.
        save_every: steps between checkpoints; the last step is always saved.
        log_every: steps between rows.

    Returns:
        The model, with averaged parameters where the learner keeps them, dropout off and batch norm
        on its running averages (see `rebuild`); and the rows, as in `metrics.jsonl`.

    Raises:
        NonFiniteError: if a loss, gradient or update was not finite, at the next row. Nothing was
            updated or saved since.
        Stopped: after SIGTERM and a checkpoint, if there is `out`.
        ValueError: if the batches end before `steps`, or `out` holds another model's run.
        OSError: if `out` cannot be written.
    """
    if best is not None and (evaluate is None or out is None):
        raise ValueError(f"best needs evaluate and out, got best={best!r} without.")
    schedule = Schedule(evaluate_every=evaluate_every, save_every=save_every, log_every=log_every)
    structure, state = learner.init(key, model)
    stream, done, checkpoints = Stream(batches), 0, None
    with ExitStack() as stack:
        # Entered first to be left last: a second SIGTERM must not break the save.
        stop = stack.enter_context(stop_request()) if out else StopRequest()
        if out is not None:
            checkpoints = stack.enter_context(closing(Checkpoints(out / "checkpoints", best=best)))
            state, done = _resume(checkpoints, state, stream, steps)
        session = Session(
            structure=structure,
            learner=learner,
            state=state,
            fixed=fixed,
            step=done,
            stream=stream,
            history=stack.enter_context(closing(History(out, step=done))),
            progress=stack.enter_context(closing(open_progress(steps, done))),
            checkpoints=checkpoints,
            evaluate=partial(_evaluate, structure, evaluate),
        )
        _run_loop(session, schedule, steps, stop)
        if checkpoints and best and (restored := checkpoints.restore_best(session.state)):
            session.state = restored.state
    return rebuild(structure, session.state), session.history.rows


def _evaluate(
    structure: nnx.GraphDef, evaluate: Evaluate | None, state: TrainState
) -> dict[str, Any]:
    return evaluate(rebuild(structure, state)) if evaluate else {}


def _resume(
    checkpoints: Checkpoints, state: TrainState, stream: Stream, steps: int | None
) -> tuple[TrainState, int]:
    """Returns the state to go on from and its step, and moves the batches there."""
    restored = checkpoints.restore(state)
    if restored is None:
        return state, 0
    if steps is not None and restored.step > steps:
        raise ValueError(
            f"out holds a run of {restored.step} steps, which steps={steps} cannot undo."
        )
    if restored.step != steps:
        stream.seek(restored.step, restored.position)
    return restored.state, restored.step


def _run_loop(session: Session, schedule: Schedule, steps: int | None, stop: StopRequest) -> None:
    """Steps through the batches, with a flush where something is due, and one at the end."""
    begin = session.step
    for batch in islice(session.stream, None if steps is None else steps - begin):
        session.advance(batch)
        if session.step == steps:
            break
        due = schedule.due(session.step)
        if due or stop.arrived:
            stopping = stop.arrived
            session.flush(evaluate="evaluate" in due, save="save" in due or stopping)
            if stopping:
                raise Stopped(f"stopped by SIGTERM after step {session.step}; run again to resume.")
    if steps is not None and session.step < steps:
        raise ValueError(f"batches must last for steps={steps}, got {session.step}.")
    if session.step > begin:
        session.flush(evaluate=True, save=True)
