import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lectures_jax import train
from tests.train.nets import Net, arrays, assert_same, points, squared

STEPS = 80


@pytest.fixture(scope="module")
def launch(root):
    """Starts the worker; the processes share compiled programs."""
    settings = {
        "PYTHONPATH": str(root),
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

    def start(out):
        command = [sys.executable, "-m", "tests.train.worker", str(out), str(STEPS)]
        return subprocess.Popen(
            command,
            cwd=root,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="module")
def uninterrupted(launch, tmp_path_factory):
    """What the worker ends with when nothing disturbs it."""
    return run_to_the_end(launch, tmp_path_factory.mktemp("uninterrupted"))


def run_to_the_end(launch, out):
    worker = launch(out)
    _, errors = worker.communicate(timeout=120)
    assert worker.returncode == 0, errors
    with np.load(out / "result.npz") as result:
        return {name: result[name] for name in result.files}


def logged(out):
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def interrupt(launch, out, number, *, after):
    """Starts the worker and signals it some seconds after it began to train."""
    worker = launch(out)
    try:
        assert worker.stderr.readline().startswith("step ")
        time.sleep(after)
        worker.send_signal(number)
        output, errors = worker.communicate(timeout=60)
    finally:
        worker.kill()
    return worker.returncode, output, errors


def test_a_killed_run_ends_as_if_it_had_not_been(launch, uninterrupted, tmp_path):
    chance = random.Random(os.getpid())
    for number in range(3):
        code, _, errors = interrupt(launch, tmp_path, signal.SIGKILL, after=chance.uniform(0, 0.4))
        if number and code == 0:
            break  # the end came first
        assert code == -signal.SIGKILL, errors
    assert_same(run_to_the_end(launch, tmp_path), uninterrupted)
    steps = logged(tmp_path)
    assert steps == sorted(set(steps))
    assert not list((tmp_path / "checkpoints").glob("saving-*"))


def test_sigterm_finishes_the_step_saves_and_resumes(launch, uninterrupted, tmp_path):
    code, output, errors = interrupt(launch, tmp_path, signal.SIGTERM, after=0.2)
    assert code == 75, errors
    step = int(output.split("after step ")[1].split(";")[0])
    assert 5 <= step < STEPS
    assert max(path.name for path in (tmp_path / "checkpoints").iterdir()) == f"{step:08d}"
    resumed = run_to_the_end(launch, tmp_path)
    resumed["losses"], uninterrupted = None, {**uninterrupted, "losses": None}  # one row more
    assert_same(resumed, uninterrupted)


def fit(batches, *, rate=0.01, **options):
    return train.fit(
        jax.random.key(1), Net(rngs=nnx.Rngs(0)), squared, optax.adam(rate), batches, **options
    )


def grain_batches(*, until=None):
    """Endless shuffled batches of Grain's; raises once it was asked for `until` batches."""
    # A thousand rows: Grain shuffles fewer of them at a cost of milliseconds a row.
    source = [{"x": x, "y": y} for p in points(125) for x, y in zip(p["x"], p["y"], strict=True)]
    data = grain.MapDataset.source(source).shuffle(seed=3).repeat().batch(4)
    return Breaking(iter(data.to_iter_dataset()), until)


class Breaking:
    """An iterator that can be saved, and that breaks."""

    def __init__(self, iterator, until):
        self.get_state, self.set_state = iterator.get_state, iterator.set_state
        self._iterator, self._until, self.drawn = iterator, until, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.drawn == self._until:
            raise InterruptedError
        self.drawn += 1
        return next(self._iterator)


def test_grain_batches_resume_where_they_were_and_not_from_the_beginning(tmp_path):
    fit_it = partial(fit, steps=11, save_every=4, log_every=2, ema_decay=0.9)
    expected, rows = fit_it(grain_batches())
    with pytest.raises(InterruptedError):
        fit_it(grain_batches(until=7), out=tmp_path)
    batches = grain_batches()
    model, resumed = fit_it(batches, out=tmp_path)
    assert batches.drawn == 11 - 4
    assert_same(arrays(model), arrays(expected))
    assert [(row["step"], row["loss"]) for row in resumed] == [(r["step"], r["loss"]) for r in rows]


def test_a_finished_run_is_read_back_without_a_batch(tmp_path):
    model, history = fit(points(6), steps=6, out=tmp_path, ema_decay=0.9)

    def untouchable():
        pytest.fail("a batch was drawn")
        yield

    again, same = fit(untouchable(), steps=6, out=tmp_path, ema_decay=0.9)
    assert_same(arrays(model), arrays(again))
    assert same == history


def test_a_run_of_all_batches_that_is_finished_is_read_back(tmp_path):
    model, history = fit(points(6), out=tmp_path)
    again, same = fit(points(6), out=tmp_path)
    assert_same(arrays(model), arrays(again))
    assert same == history


def test_a_run_can_go_on_beyond_its_end_but_not_be_undone(tmp_path):
    fit(points(4), steps=4, out=tmp_path)
    longer, _ = fit(points(6), steps=6, out=tmp_path)
    at_once, _ = fit(points(6), steps=6)
    assert_same(arrays(longer), arrays(at_once))
    with pytest.raises(ValueError, match="a run of 6 steps, which steps=5 cannot undo"):
        fit(points(5), steps=5, out=tmp_path)


def test_a_longer_run_goes_on_at_the_same_state_by_its_own_schedule(tmp_path):
    short, long = (optax.cosine_decay_schedule(0.1, steps) for steps in (4, 8))
    options = {"ema_decay": 0.9, "log_every": 1}
    fit(points(4), rate=short, steps=4, out=tmp_path, **options)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    longer, _ = fit(points(8), rate=long, steps=8, out=tmp_path, **options)
    assert (tmp_path / "metrics.jsonl").read_bytes().startswith(before)
    assert long(4) > short(3) > short(4)  # the rate is higher again

    def both(count):
        return jnp.where(count < 4, short(count), long(count))

    at_once, _ = fit(points(8), rate=both, steps=8, **options)
    assert_same(arrays(longer), arrays(at_once))


def test_rows_after_the_checkpoint_and_a_torn_line_are_cut_off(tmp_path):
    with pytest.raises(InterruptedError):
        fit(grain_batches(until=7), steps=9, out=tmp_path, save_every=4, log_every=2)
    assert logged(tmp_path) == [2, 4, 6]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    fit(grain_batches(), steps=9, out=tmp_path, save_every=4, log_every=2)
    assert logged(tmp_path) == [2, 4, 6, 8, 9]


def test_the_best_checkpoint_is_kept_and_returned(tmp_path):
    scores = iter([0.0, 0.1, 0.7, float("nan"), 0.3])  # the first in the trial
    seen = []

    def evaluate(model):
        seen.append(arrays(model))
        return {"score": next(scores)}

    fit_it = partial(fit, steps=8, out=tmp_path, evaluate=evaluate, evaluate_every=2, best="score")
    model, history = fit_it(points(8), save_every=3)
    assert_same(arrays(model), seen[2])
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["00000004", "00000006", "00000008"]
    again, _ = fit_it(points(8))
    assert_same(arrays(again), seen[2])
    assert [row["score"] for row in history if row["step"] in (2, 4, 8)] == [0.1, 0.7, 0.3]


def test_a_resumed_run_compiles_its_step_once(tmp_path):
    compiled = []

    def listen(event, seconds, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(details.get("fun_name"))

    fit = partial(train.fit, jax.random.key(0), Net(rngs=nnx.Rngs(0)), squared, optax.sgd(0.05))
    fit(points(2), out=tmp_path, steps=2)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        fit(points(6), out=tmp_path, steps=6)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len([name for name in compiled if "_advance" in str(name)]) == 1, compiled
