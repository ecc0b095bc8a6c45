"""Training loses nothing: errors, signals, other processes, and what it says about earlier runs."""

import errno
import json
import math
import os
import secrets
import signal
import subprocess
import sys
import threading
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from lectures_jax import runtime, train
from lectures_jax.train.history import History
from lectures_jax.train.progress import open_progress
from tests.train.nets import Affine, Net, arrays, assert_same, points, squared

pytestmark = pytest.mark.usefixtures("heard")


def fit(batches, *, key=1, **options):
    return train.fit(
        jax.random.key(key), Net(rngs=nnx.Rngs(0)), squared, optax.adam(0.01), batches, **options
    )


def checkpoints(out):
    return sorted(int(path.name) for path in (out / "checkpoints").iterdir())


def without_times(rows):
    return [
        {k: v for k, v in r.items() if k not in ("steps_per_second", "data_wait")} for r in rows
    ]


class Fails:
    """An evaluation that fails at its n-th call, and works otherwise."""

    def __init__(self, at):
        self.at, self.calls = at, 0

    def __call__(self, model):
        self.calls += 1
        if self.calls == self.at:
            raise InterruptedError("no memory")
        return {"loss": float(model.norm.mean[...].sum()), "calls": 0}


@pytest.mark.parametrize(("at", "step"), [(2, 3), (3, 6), (4, 7)])
def test_an_evaluation_that_fails_costs_no_step_and_is_done_on_resuming(tmp_path, at, step):
    options = {"steps": 7, "evaluate_every": 3, "save_every": 4}
    expected, rows = fit(points(7), evaluate=Fails(0), **options)
    with pytest.raises(InterruptedError) as caught:
        fit(points(7), out=tmp_path, evaluate=Fails(at), **options)
    assert caught.value.__notes__ == [f"The checkpoint of step {step} is in {tmp_path}."]
    assert max(checkpoints(tmp_path)) == step
    drawn = []
    model, again = fit(
        (drawn.append(1) or batch for batch in points(7)),
        out=tmp_path,
        evaluate=Fails(0),
        **options,
    )
    assert len(drawn) == (7 if step < 7 else 0)
    assert_same(arrays(model), arrays(expected))
    assert without_times(again) == without_times(rows)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == again


def test_an_evaluation_is_preceded_by_the_checkpoint_of_its_step(tmp_path):
    seen = []

    def evaluate(model):
        if (tmp_path / "checkpoints").is_dir():
            seen.append(checkpoints(tmp_path))
        return {}

    fit(points(4), out=tmp_path, evaluate=evaluate, evaluate_every=2, save_every=2)
    assert seen == [[], [2], [2, 4]]


def test_batches_that_end_early_cost_no_step(tmp_path):
    with pytest.raises(ValueError, match="must last for steps=9, got 5") as caught:
        fit(points(5), steps=9, out=tmp_path)
    assert caught.value.__notes__ == [f"The checkpoint of step 5 is in {tmp_path}."]
    model, _ = fit(points(9), steps=9, out=tmp_path)
    assert_same(arrays(model), arrays(fit(points(9), steps=9)[0]))


def test_no_batch_at_all_is_an_error():
    with pytest.raises(ValueError, match="batches must last for steps=1, got 0"):
        fit([])


def test_a_row_that_was_not_written_any_more_comes_from_the_checkpoint(tmp_path):
    _, rows = fit(points(4), steps=4, out=tmp_path, evaluate=lambda m: {"loss": 3.0}, log_every=2)
    (tmp_path / "metrics.jsonl").write_text("")
    _, again = fit(points(4), steps=4, out=tmp_path, evaluate=lambda m: {"loss": 3.0}, log_every=2)
    assert again == rows[-1:]


def signaled(batches, number, *, at):
    for count, batch in enumerate(batches, 1):
        if count == at:
            signal.raise_signal(number)
        yield batch


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_each_signal_saves_and_resumes(tmp_path, name, capfd):
    number, before = signal.Signals[name], signal.getsignal(signal.Signals[name])
    fit_it = partial(fit, steps=8, evaluate=lambda m: {"loss": 1.0}, evaluate_every=5)
    with pytest.raises(train.Stopped, match=f"stopped by {name} after step 5; run again to resume"):
        fit_it(signaled(points(8), number, at=5), out=tmp_path)
    assert f"{name}: the run stops where it resumes without loss" in capfd.readouterr().err
    assert signal.getsignal(number) is before
    assert checkpoints(tmp_path) == [5]
    model, rows = fit_it(points(8), out=tmp_path)
    expected, at_once = fit_it(points(8))
    assert_same(arrays(model), arrays(expected))
    assert [(r["step"], r.get("evaluation_loss")) for r in rows] == [(5, 1.0), (8, 1.0)]
    assert [r["step"] for r in at_once] == [5, 8]


def test_a_signal_before_the_first_step_is_heeded_there(tmp_path):
    def untouchable():
        pytest.fail("a batch was drawn")
        yield

    with runtime.stop_request():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(train.Stopped, match="stopped by SIGINT; run again to resume"):
            fit(untouchable(), steps=4, out=tmp_path)
    assert not checkpoints(tmp_path)


def test_a_signal_in_an_evaluation_is_heeded_between_its_batches(tmp_path):
    held_out = list(points(3))

    def evaluate(model):
        if model.norm.mean[...].any():  # not in the trial
            signal.raise_signal(signal.SIGINT)
        return train.evaluate(model, squared, held_out)

    with pytest.raises(train.Stopped, match="stopped by SIGINT"):
        fit(points(4), steps=4, out=tmp_path, evaluate=evaluate)
    assert checkpoints(tmp_path) == [4]
    _, rows = fit(points(4), steps=4, out=tmp_path, evaluate=lambda m: {"score": 1.0})
    assert rows[-1]["score"] == 1.0


def test_a_training_without_a_folder_heeds_the_signal_of_what_surrounds_it():
    with runtime.stop_request(), pytest.raises(train.Stopped, match="after step 2"):
        fit(signaled(points(8), signal.SIGTERM, at=2))


def in_process(code, *argv, **options):
    command = [sys.executable, "-c", code, *map(str, argv)]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, **options
    )


def test_a_second_signal_ends_the_process_but_an_echo_of_the_first_does_not():
    code = """
import os, signal, sys, time
from lectures_jax.runtime.signals import stop_request
with stop_request() as stop:
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGINT)
    print(stop.arrived, flush=True)
    time.sleep(0.4)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
"""
    done = in_process(code)
    assert done.stdout == "SIGINT\n"
    assert done.returncode == -signal.SIGTERM


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with runtime.stop_request() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.arrived
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_folder_has_one_run_at_a_time_and_a_killed_one_gives_it_back(tmp_path, root):
    code = """
import sys, time
from pathlib import Path
from lectures_jax.runtime.lock import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "locked\n"
            with pytest.raises(ValueError, match=f"without a run in progress.*process {other.pid}"):
                fit(points(2), out=tmp_path)
            assert not (tmp_path / "metrics.jsonl").exists()
        finally:
            other.kill()
    fit(points(2), out=tmp_path)
    with runtime.folder_lock(tmp_path), runtime.folder_lock(tmp_path):
        fit(points(2), out=tmp_path)  # the same thread may


def test_a_thread_is_another_run(tmp_path):
    refused = []

    def other():
        try:
            with runtime.folder_lock(tmp_path):
                pass
        except ValueError as error:
            refused.append(str(error))

    with runtime.folder_lock(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert f"process {os.getpid()} runs" in refused[0]


def test_a_run_that_goes_on_or_is_read_back_says_so(tmp_path, capsys):
    fit(points(4), steps=4, out=tmp_path)
    capsys.readouterr()
    fit(points(6), steps=6, out=str(tmp_path))
    assert capsys.readouterr().err.splitlines()[0] == "step 4/6  resuming at step 4"
    fit(points(6), steps=6, out=tmp_path, key=2)
    finished, key = capsys.readouterr().err.splitlines()
    assert finished.startswith("step 6/6  finished earlier, read back; ")
    assert "--fresh" in finished
    assert key == "step 6/6  the run began with another key, which it keeps"


def test_numbers_that_are_not_finite_are_null_in_the_file_and_nan_again_when_read(tmp_path):
    def objective(model, batch, key):
        loss, _ = squared(model, batch, key)
        return loss, {"ratio": loss * np.float32("nan")}

    def fit_it():
        return train.fit(
            *(jax.random.key(0), Affine(rngs=nnx.Rngs(0)), objective, optax.sgd(0.1), points(2)),
            **{"out": tmp_path, "steps": 2, "evaluate": lambda m: {"score": math.inf}},
        )

    fit_it()
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()

    def refuse(name):
        pytest.fail(f"{name} is no JSON")

    row = json.loads(line, parse_constant=refuse)
    assert row["ratio"] is row["score"] is None
    _, (again,) = fit_it()
    assert math.isnan(again["ratio"])
    assert math.isnan(again["score"])


@pytest.mark.parametrize("line", ["[" * 100_000, '{"step": "x"}', '{"step": 1, "a": []}', "3"])
def test_a_line_that_is_no_row_ends_the_rows(tmp_path, line):
    fit(points(3), steps=3, out=tmp_path, log_every=1)
    path = tmp_path / "metrics.jsonl"
    first, second, _ = path.read_text().splitlines()
    path.write_text(f"{first}\n{line}\n{second}\n")
    _, rows = fit(points(3), steps=3, out=tmp_path)
    assert [row["step"] for row in rows] == [1, 3], "and the last is the checkpoint's"


class Full:
    """A file, and a writer of event files, on a full disk."""

    def write(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    add_scalar = write
    file_writer = SimpleNamespace(event_writer=SimpleNamespace())

    def close(self):
        self.write()


def test_rows_that_cannot_be_written_name_the_cause_and_event_files_are_given_up(tmp_path, caplog):
    history = History(tmp_path, step=0)
    history._events.close()
    history._events = Full()
    history.append({"step": 1, "loss": 1.0})
    history.append({"step": 2, "loss": 1.0})
    assert caplog.messages == ["No space left on device: no more event files for TensorBoard."]
    history._file.close()
    history._file = Full()
    with pytest.raises(OSError, match=r"^No space left on device: .*metrics.jsonl cannot be writ"):
        history.append({"step": 3, "loss": 1.0})
    history.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_writer_of_event_files_that_has_died_is_not_waited_for(tmp_path):
    code = """
import resource, sys
from pathlib import Path
from lectures_jax.train.arrays import quiet_threads
from lectures_jax.train.history import History
import threading
from contextlib import closing
_, threading.excepthook = quiet_threads()
history = History(Path(sys.argv[1]), step=0)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
with closing(history):
    for step in range(1, 20):
        history.append({"step": step} | {f"{step}-{n}": 1.0 for n in range(200)})
"""
    done = in_process(code, tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("OSError: File too large: ")
    assert "Exception in thread" not in done.stderr


def test_a_metric_named_step_is_refused_before_the_first_step():
    def objective(model, batch, key):
        return squared(model, batch, key)[0], {"step": 0.0}

    with pytest.raises(ValueError, match="objective must give its metrics other names than 'step'"):
        train.fit(jax.random.key(0), Affine(rngs=nnx.Rngs(0)), objective, optax.sgd(0.1), points(1))


class Closed:
    """A standard error that nobody reads."""

    def __init__(self, terminal):
        self.isatty = lambda: terminal
        self.encoding = "utf-8"

    def write(self, text):
        raise BrokenPipeError

    flush = fileno = write


@pytest.mark.parametrize("stream", [None, Closed(terminal=False), Closed(terminal=True)])
def test_progress_that_cannot_be_written_ends_no_run(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    progress = open_progress(4, 1)
    progress.advance()
    progress.show({"step": 2, "loss": 0.25}, evaluated=True)
    progress.note(2, "a note")
    progress.close()
    _, rows = fit(points(2))
    assert rows


def test_an_atomic_write_follows_no_link_and_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "target").write_text("kept")
    link = tmp_path / "numbers.json"
    link.symlink_to(tmp_path / "target")
    (tmp_path / ".numbers.json.planted").symlink_to(tmp_path / "target")
    with monkeypatch.context() as patch:
        patch.setattr(secrets, "token_hex", lambda n: "planted")
        with pytest.raises(FileExistsError):
            runtime.write_json(link, {"a": 1})
    runtime.write_json(link, {"a": math.nan})
    assert (tmp_path / "target").read_text() == "kept"
    assert not link.is_symlink()
    assert json.loads(link.read_text()) == {"a": None}
    with pytest.raises(LookupError), runtime.atomic_write(link) as scratch:
        {}[scratch.write_text("half")]
    assert json.loads(link.read_text()) == {"a": None}
    assert len(list(tmp_path.iterdir())) == 3
