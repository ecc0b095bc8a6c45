"""Training from the first batch to the last, and on from where it was interrupted."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import optax
from flax import nnx

from lectures_jax.runtime import StopRequest, stop_request
from lectures_jax.train.checkpoint import Checkpoints
from lectures_jax.train.diagnosis import NonFiniteError, explain
from lectures_jax.train.history import History, Row
from lectures_jax.train.progress import open_progress
from lectures_jax.train.run import Run
from lectures_jax.train.state import TrainState, init, rebuild
from lectures_jax.train.step import Augment, Step, make_step
from lectures_jax.train.stream import Stream
from lectures_jax.typing import Batch, Key, Objective

Evaluate = Callable[[Any], dict[str, float]]
"""`model -> metrics`."""


class Stopped(Exception):  # noqa: N818  (it reports a request that was met, not an error)
    """Training ended early on SIGTERM, after a checkpoint. The same call again resumes."""


def fit(
    key: Key,
    model: nnx.Module,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    batches: Iterable[Batch],
    *,
    steps: int | None = None,
    out: Path | None = None,
    ema_decay: float | None = None,
    accumulate: int = 1,
    augment: Augment | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int | None = None,
    best: str | None = None,
    save_every: int = 500,
    log_every: int = 50,
) -> tuple[Any, list[Row]]:
    """Trains a model, and returns it with what was measured on the way.

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
        objective: `(model, batch, key) -> (scalar to minimize, metrics)`.
        optimizer: an Optax transformation.
        batches: dictionaries of arrays, all of the same shapes. An iterator with `get_state` and
            `set_state`, as Grain's, resumes where it was; any other iterable is drawn from the
            beginning again, so it must give the same batches each time.
        steps: batches to train on in all; None uses all there are.
        out: folder for `metrics.jsonl`, `tensorboard/` and `checkpoints/`; None leaves no files.
        ema_decay: of moving averages of the parameters, which `evaluate` and the result then use;
            at the beginning the decay is lower, `(1 + n) / (10 + n)` after `n` steps.
        accumulate: batches whose gradients are averaged before the optimizer moves.
        augment: `(key, batch) -> batch` on whole batches, compiled into the step (see `make_step`).
        evaluate: `model -> metrics`, under names that training does not use; always at the end.
        evaluate_every: steps between evaluations; None evaluates at the end only.
        best: metric of `evaluate` to maximize: its best checkpoint is kept and returned.
        save_every: steps between checkpoints; the last step is always saved.
        log_every: steps between rows.

    Returns:
        The model, with averaged parameters where they are on, dropout off and batch norm on its
        running averages (see `rebuild`); and the rows, as in `metrics.jsonl`.

    Raises:
        NonFiniteError: if a loss, gradient or update was not finite, at the next row. Nothing was
            updated or saved since.
        Stopped: after SIGTERM and a checkpoint, if there is `out`.
        ValueError: if the batches end before `steps`, or `out` holds another model's run.
        OSError: if `out` cannot be written.
    """
    if accumulate < 1:
        raise ValueError(f"accumulate must be at least 1, got {accumulate}.")
    if accumulate > 1:
        optimizer = optax.MultiSteps(optimizer, accumulate).gradient_transformation()
    structure, state = init(key, model, optimizer, ema=ema_decay is not None)
    step = make_step(
        structure,
        objective,
        optimizer,
        ema_decay=ema_decay,
        augment=augment,
    )
    return drive(
        step,
        structure,
        state,
        batches,
        diagnose=partial(explain, structure, objective, augment),
        steps=steps,
        out=out,
        evaluate=evaluate,
        evaluate_every=evaluate_every,
        best=best,
        save_every=save_every,
        log_every=log_every,
    )


def drive(
    step: Step,
    structure: nnx.GraphDef,
    state: TrainState,
    batches: Iterable[Batch],
    *,
    diagnose: Callable[[TrainState, Row], NonFiniteError],
    steps: int | None,
    out: Path | None,
    evaluate: Evaluate | None,
    evaluate_every: int | None,
    best: str | None,
    save_every: int,
    log_every: int,
) -> tuple[Any, list[Row]]:
    """Repeats a step, whatever it does, with all that `fit` says of rows, files and resuming."""
    if best is not None and (evaluate is None or out is None):
        raise ValueError(f"best needs evaluate and out, got best={best!r} without.")
    every = {"evaluate_every": evaluate_every, "save_every": save_every, "log_every": log_every}
    for name, value in every.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    stream, done, store = Stream(batches), 0, None
    with ExitStack() as stack:
        # Entered first to be left last: a second SIGTERM must not break the save.
        stop = stack.enter_context(stop_request()) if out else StopRequest()
        if out is not None:
            store = stack.enter_context(closing(Checkpoints(out / "checkpoints", best=best)))
            state, done = _resume(store, state, stream, steps)
        run = Run(
            step=step,
            state=state,
            done=done,
            stream=stream,
            history=stack.enter_context(closing(History(out, step=done))),
            progress=stack.enter_context(closing(open_progress(steps, done))),
            store=store,
            measure=lambda state: evaluate(rebuild(structure, state)) if evaluate else {},
            diagnose=diagnose,
        )
        _train(run, steps, stop, every)
        if store and best and (found := store.restore_best(run.state)):
            run.state = found.state
    return rebuild(structure, run.state), run.history.rows


def _resume(
    store: Checkpoints, state: TrainState, stream: Stream, steps: int | None
) -> tuple[TrainState, int]:
    """Returns the state to go on from and its step, and moves the batches there."""
    found = store.restore(state)
    if found is None:
        return state, 0
    if steps is not None and found.step > steps:
        raise ValueError(f"out holds a run of {found.step} steps, which steps={steps} cannot undo.")
    if found.step != steps:
        stream.seek(found.step, found.position)
    return found.state, found.step


def _train(run: Run, steps: int | None, stop: StopRequest, every: dict[str, int | None]) -> None:
    """Steps through the batches, with a pause where something is due, and one at the end."""
    begin = run.done
    for batch in islice(run.stream, None if steps is None else steps - begin):
        run.advance(batch)
        if run.done == steps:
            break
        due = {name for name, n in every.items() if n is not None and run.done % n == 0}
        if due or stop.arrived:
            stopping = stop.arrived
            run.pause(measure="evaluate_every" in due, save="save_every" in due or stopping)
            if stopping:
                raise Stopped(f"stopped by SIGTERM after step {run.done}; run again to resume.")
    if steps is not None and run.done < steps:
        raise ValueError(f"batches must last for steps={steps}, got {run.done}.")
    if run.done > begin:
        run.pause(measure=True, save=True)
