"""The only training loop: rows, checkpoints, signals and evaluations around any learner."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import jax
import numpy as np
from flax import nnx

from lectures_jax.runtime import (
    StopRequest,
    current_request,
    folder_lock,
    from_first,
    is_first,
    stop_request,
)
from lectures_jax.train.arguments import check_run
from lectures_jax.train.checkpoint import Checkpoints, Restored
from lectures_jax.train.evaluation import Untried, first_batch_only, scalars
from lectures_jax.train.history import History, Row
from lectures_jax.train.learner import Learner
from lectures_jax.train.mesh import Vote, begin, gather, place_everywhere
from lectures_jax.train.progress import open_progress
from lectures_jax.train.session import Schedule, Session
from lectures_jax.train.state import TrainState, frozen, rebuild
from lectures_jax.train.stopping import Stopped, check
from lectures_jax.train.stream import Stream
from lectures_jax.typing import Batch, Key, is_typed_key

Evaluate = Callable[[Any], dict[str, Any]]
"""`model -> metrics`."""

Model = TypeVar("Model", bound=nnx.Module)


class RunOptions(TypedDict, total=False):
    """The options that `fit` and `fit_adversarial` hand on to `run`, which explains them."""

    fixed: Any
    steps: int | None
    out: Path | str | None
    evaluate: Evaluate | None
    evaluate_every: int | None
    best: str | None
    save_every: int
    log_every: int


def run(
    key: Key,
    model: Model | Callable[[], Model],
    learner: Learner,
    batches: Iterable[Batch],
    *,
    fixed: Any = None,
    steps: int | None = None,
    out: Path | str | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int | None = None,
    best: str | None = None,
    save_every: int = 500,
    log_every: int = 50,
) -> tuple[Model, list[Row]]:
    """Trains a model by a learner, and returns it with what was measured on the way.

    With `out`, the same call again resumes from the newest sound checkpoint, and ends with the same
    parameters, bit for bit, as if nothing had interrupted it. SIGINT, SIGTERM and SIGHUP finish the
    current step and save; a second one ends the process. A run that has reached `steps` is only
    read back, and says so; with more `steps` it goes on from that state, and a learning rate that
    follows a schedule has from there on the value of the schedule that it is given now: one that
    had fallen to 0 over the shorter run rises again, as at a warm restart, and falls once more.

    The host waits for the device where it logs, evaluates or saves, and nowhere else. There it adds
    a row: `step`, the means of the metrics since the row before, `steps_per_second`, `data_wait`
    (the share of the time that went into waiting for batches) and, where due, what `evaluate`
    returned. A step that is evaluated is on the disk before, if it is due to be saved; an error in
    `evaluate` saves it, too, and the run resumes with that evaluation.

    Args:
        key: source of the run's random numbers.
        model: an `nnx` module, left as it is; or a function that makes one, which a mesh then has
            on no device as a whole (see `use_mesh`).
        learner: the kind of training, such as `descent(objective, optimizer)`.
        batches: dictionaries of arrays, all of the same shapes. An iterator with `get_state` and
            `set_state`, as Grain's, resumes where it was; any other iterable is drawn from the
            beginning again, so it must give the same batches each time.
        fixed: arrays that the step reads and never changes, such as a teacher or a loss network:
            any tree, or an `nnx` module, whose dropout is off and whose batch norm is on its
            running averages. It is an argument of the compiled step: neither donated,
            averaged or saved, nor a constant of the program.
        steps: batches to train on in all; None uses all there are.
        out: folder for `metrics.jsonl`, `tensorboard/` and `checkpoints/`, which belongs to one
            process at a time; None leaves no files.
        evaluate: `model -> metrics`; always at the end. Before the first step it is tried out, with
            one batch in each `train.evaluate`. Metrics with axes are left out, and a name that
            training uses gets the prefix `evaluation_`.
        evaluate_every: steps between evaluations; None evaluates at the end only.
        best: metric of `evaluate`, by the name that it gives it, to maximize: its best checkpoint
            is kept and returned.
        save_every: steps between checkpoints; the last step is always saved.
        log_every: steps between rows.

    Returns:
        The model, with averaged parameters where the learner keeps them, dropout off and batch norm
        on its running averages (see `rebuild`); and the rows, as in `metrics.jsonl`.

    Raises:
        NonFiniteError: if a loss, gradient or update was not finite, at the next row. Nothing was
            updated or saved since.
        Stopped: after a signal and a checkpoint, if there is `out`.
        ValueError: if an argument is of another kind, the batches end before `steps`, or `out`
            holds another model's run or belongs to a process that runs.
        OSError: if `out` cannot be written.
    """
    check_run(key, model, batches, steps=steps, evaluate=evaluate, out=out)
    if best is not None and (evaluate is None or out is None):
        raise ValueError(f"best needs evaluate and out, got best={best!r} without.")
    schedule = Schedule(evaluate_every=evaluate_every, save_every=save_every, log_every=log_every)
    structure, state = begin(learner, key, model)
    out = None if out is None else _folder_of_all(out)
    with ExitStack() as stack:
        # Entered first to be left last: the handlers stay until the last save is complete.
        stop = stack.enter_context(stop_request()) if out is not None else current_request()
        checkpoints = _open_folder(stack, out, key, best) if out is not None else None
        restored = _restore(checkpoints, state, steps) if checkpoints else None
        done = restored.step if restored else 0
        session = Session(
            structure=structure,
            learner=learner,
            state=restored.state if restored else state,
            fixed=place_everywhere(frozen(fixed)),
            step=done,
            stream=Stream(batches),
            history=History(out if is_first() else None, step=done, last=restored and restored.row),
            progress=open_progress(steps, done),
            checkpoints=checkpoints,
            evaluate=partial(_evaluate, structure, evaluate, best) if evaluate else None,
        )
        stack.enter_context(closing(session.history))
        stack.enter_context(closing(session.progress))
        if restored:
            _resume(session, restored, steps, key)
        _run_loop(session, schedule, steps, stop)
        if checkpoints and best and (chosen := checkpoints.restore_best(session.state)):
            session.state = chosen.state
    return rebuild(structure, gather(session.state)), from_first(lambda: session.history.rows)


def _evaluate(structure: nnx.GraphDef, evaluate: Evaluate, best: str | None, state: Any) -> Row:
    row = scalars(evaluate(rebuild(structure, gather(state))))
    if best is not None and best not in row:
        raise ValueError(f"best must be one of {sorted(row)}, got {best!r}.")
    return row


def _open_folder(stack: ExitStack, out: Path, key: Key, best: str | None) -> Checkpoints:
    """Makes a run's folder this process's own, and opens the checkpoints there."""
    try:
        from_first(lambda: _claim(stack, out))
        checkpoints = Checkpoints(out / "checkpoints", best=best, key=_fingerprint(key))
    except OSError as error:
        raise OSError(f"out must be a writable folder, got {out}: {error}") from error
    stack.enter_context(_naming(checkpoints, out))
    return stack.enter_context(closing(checkpoints))


def _folder_of_all(out: Path | str) -> Path:
    """Where several processes write together, the first one says where."""
    return Path(from_first(lambda: str(out)))


def _claim(stack: ExitStack, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    stack.enter_context(folder_lock(out))


def _fingerprint(key: Key) -> str:
    data = np.asarray(jax.random.key_data(key) if is_typed_key(key) else key)
    return hashlib.sha256(data.tobytes()).hexdigest()


@contextmanager
def _naming(checkpoints: Checkpoints, out: Path) -> Iterator[None]:
    """Adds to an error which checkpoint is there."""
    try:
        yield
    except Exception as error:
        if checkpoints.newest is not None and not isinstance(error, Stopped):
            error.add_note(f"The checkpoint of step {checkpoints.newest} is in {out}.")
        raise


def _restore(checkpoints: Checkpoints, state: TrainState, steps: int | None) -> Restored | None:
    restored = checkpoints.restore(state)
    if restored and steps is not None and restored.step > steps:
        raise ValueError(
            f"out holds a run of {restored.step} steps, which steps={steps} cannot undo."
        )
    return restored


def _resume(session: Session, restored: Restored, steps: int | None, key: Key) -> None:
    """Moves the batches to where the run goes on, and says where that is."""
    done = restored.step
    session.saved, session.evaluated = done, done if restored.evaluated else -1
    if done == steps:
        session.progress.note(
            done, "finished earlier, read back; another out, or --fresh of ljx run, to redo"
        )
    else:
        session.progress.note(done, f"resuming at step {done}")
        session.stream.seek(done, restored.position)
    if restored.key != _fingerprint(key):
        session.progress.note(done, "the run began with another key, which it keeps")


def _run_loop(session: Session, schedule: Schedule, steps: int | None, stop: StopRequest) -> None:
    """Steps through the batches, with a flush where something is due, and one at the end."""
    check(stop)
    vote = Vote()
    if session.step == 0:
        _try_out(session)
    elif session.step == steps or "evaluate" in schedule.due(session.step):
        session.flush(evaluate=True, save=False)  # if the run before did not get to it
    for batch in islice(session.stream, None if steps is None else steps - session.step):
        session.advance(batch)
        if session.step == steps:
            break
        if asked := vote(stop.arrived):
            session.flush(evaluate=False, save=True)
            raise Stopped(_stopped(session, asked))
        if due := schedule.due(session.step):
            session.flush(evaluate="evaluate" in due, save="save" in due)
    short = steps is not None and session.step < steps
    asked = vote(stop.arrived, last=True)
    session.flush(evaluate=not (short or asked), save=True)
    if short or not session.step:
        raise ValueError(f"batches must last for steps={steps or 1}, got {session.step}.")
    if asked and session.evaluate and session.evaluated != session.step:
        raise Stopped(_stopped(session, asked))


def _stopped(session: Session, asked: str) -> str:
    return f"stopped by {asked} after step {session.step}; run again to resume."


def _try_out(session: Session) -> None:
    """Evaluates on little before the first step, so that what is wrong there costs no training."""
    if session.evaluate:
        with first_batch_only(), suppress(Untried):
            session.evaluate(session.state)
