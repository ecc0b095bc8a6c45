import json
import subprocess
import sys
from functools import partial

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lectures_jax import runtime, train
from lectures_jax.train.progress import Bar, _describe, open_progress
from tests.train.nets import Affine, Net, arrays, assert_same, points, squared


def fit(batches, *, model=None, **options):
    model = model or Affine(rngs=nnx.Rngs(0))
    return train.fit(jax.random.key(1), model, squared, optax.adam(0.05), batches, **options)


def test_a_line_is_fitted_and_the_caller_keeps_the_model():
    model = Affine(rngs=nnx.Rngs(0))
    before = arrays(model)
    fitted, history = fit(points(300), model=model, log_every=100)
    assert_same(before, arrays(model))
    np.testing.assert_allclose(fitted.linear.kernel[...], np.ones((3, 1)), atol=0.01)
    assert [row["step"] for row in history] == [100, 200, 300]
    assert history[-1]["loss"] < 1e-3 < history[0]["loss"]


def test_rows_hold_the_means_since_the_row_before():
    _, each = fit(points(6), log_every=1)
    _, pairs = fit(points(6), log_every=2)
    assert list(pairs[0]) == ["step", "loss", "bias", "grad_norm", "steps_per_second", "data_wait"]
    for row, a, b in zip(pairs, each[::2], each[1::2], strict=True):
        for name in ("loss", "bias", "grad_norm"):
            np.testing.assert_allclose(row[name], (a[name] + b[name]) / 2, rtol=1e-6)
        assert 0 <= row["data_wait"] < 1


def test_the_host_does_not_wait_between_rows(monkeypatch):
    reads, allowed = [], []
    kind, get = type(jnp.zeros(())), jax.device_get
    value = kind._value

    def watched(self):
        reads.append(bool(allowed))
        return value.fget(self)

    def device_get(tree):
        allowed.append(1)
        try:
            return get(tree)
        finally:
            allowed.pop()

    def batches():
        for number, batch in enumerate(points(20)):
            counts.append((number, len(reads)))
            yield batch

    counts = []
    monkeypatch.setattr(kind, "_value", property(watched))
    monkeypatch.setattr(kind, "block_until_ready", lambda self: pytest.fail("the host waits"))
    monkeypatch.setattr(jax, "device_get", device_get)
    fit(batches(), log_every=10, ema_decay=0.9, accumulate=2)
    after = dict(counts)
    assert after[9] == after[1], "between the first batches and the first row"
    assert after[19] == after[10], "between the first row and the second"
    assert after[10] > after[9], "a row reads the device"


def test_evaluation_sees_the_averaged_model_ready_for_use():
    seen = []

    def evaluate(model):
        seen.append(arrays(model))
        assert model.norm.use_running_average
        assert model.dropout.deterministic
        return {"seen": len(seen)}

    model, history = fit(
        points(10),
        model=Net(rngs=nnx.Rngs(0)),
        steps=10,
        ema_decay=0.9,
        log_every=5,
        evaluate=evaluate,
        evaluate_every=4,
    )
    assert [(row["step"], row.get("seen")) for row in history] == [
        (4, 2),
        (5, None),
        (8, 3),
        (10, 4),
    ], "the first call is the trial before the first step"
    assert_same(seen[-1], arrays(model))


def test_the_batches_may_be_longer_than_the_run_but_not_shorter():
    batches = points(10)
    fit(batches, steps=4)
    assert len(list(batches)) == 6
    with pytest.raises(ValueError, match="must last for steps=30, got 10"):
        fit(points(10), steps=30)


@pytest.mark.parametrize("options", [{}, {"evaluate": lambda model: {}}])
def test_the_best_checkpoint_needs_an_evaluation_and_a_folder(options):
    with pytest.raises(ValueError, match="best needs evaluate and out"):
        fit(points(1), best="score", **options)


@pytest.mark.parametrize("name", ["accumulate", "log_every", "save_every", "evaluate_every"])
def test_intervals_start_at_one(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        fit(points(1), **{name: 0})


def test_a_name_that_training_uses_too_gets_a_prefix(tmp_path):
    held_out = list(points(3, seed=1))
    _, rows = fit(
        points(4),
        evaluate=lambda model: train.evaluate(model, squared, held_out),
        out=tmp_path,
        best="loss",
        evaluate_every=2,
    )
    assert rows[-1]["evaluation_loss"] != rows[-1]["loss"]
    assert rows[-1]["evaluation_bias"] != rows[-1]["bias"]
    assert rows[0]["evaluation_loss"] > rows[-1]["evaluation_loss"]
    kept = train.checkpoint.Checkpoints(tmp_path / "checkpoints", best="loss")
    _, state = train.init(jax.random.key(1), Affine(rngs=nnx.Rngs(0)), optax.adam(0.05))
    kept.restore(state)
    assert kept.restore_best(state).row == rows[0], "the highest loss of the evaluation"
    kept.close()


def untouchable():
    pytest.fail("a batch was drawn")
    yield


@pytest.mark.parametrize(
    ("evaluate", "message"),
    [
        (lambda m: {"accuracy": 0.0}, r"best must be one of \['accuracy'\], got 'score'"),
        (lambda m: 0.5, "evaluate must return a dictionary of metrics, got 0.5"),
        (lambda m: {"score": "high"}, "evaluate must return numbers by name, got {'score': 'high'"),
        (lambda m: m.nothing, "no attribute 'nothing'"),
    ],
)
def test_what_is_wrong_with_an_evaluation_shows_before_the_first_step(tmp_path, evaluate, message):
    with pytest.raises((ValueError, AttributeError), match=message):
        fit(untouchable(), out=tmp_path, evaluate=evaluate, best="score")


def test_the_trial_of_an_evaluation_takes_one_batch_and_leaves_iterators_alone():
    held_out, drawn = list(points(3, seed=1)), []

    def batches():
        for batch in held_out:
            drawn.append(1)
            yield batch

    class Loader:
        def __iter__(self):
            return batches()

    _, rows = fit(points(2), evaluate=lambda model: train.evaluate(model, squared, Loader()))
    assert len(drawn) == 1 + 3
    once = batches()
    _, again = fit(points(2), evaluate=lambda model: train.evaluate(model, squared, once))
    assert again[-1]["evaluation_loss"] == rows[-1]["evaluation_loss"]


def test_metrics_with_axes_have_no_place_in_a_row():
    _, rows = fit(points(2), evaluate=lambda model: {"matrix": np.eye(2), "score": np.float32(0.5)})
    assert rows[-1]["score"] == 0.5
    assert "matrix" not in rows[-1]


def poisoned(count, *, at):
    for number, batch in enumerate(points(count), 1):
        if number == at:
            batch["x"] = batch["x"] * np.float32(1e30)
        yield batch


def test_a_run_that_is_not_finite_names_step_metric_and_layer(tmp_path):
    fit_it = partial(fit, model=Net(rngs=nnx.Rngs(0)), out=tmp_path, save_every=4, log_every=10)
    with pytest.raises(train.NonFiniteError) as caught:
        fit_it(poisoned(20, at=7))
    message = str(caught.value)
    assert message.startswith("step 7: ")
    assert "is nan" in message
    assert "the first layer whose output is not finite is norm (BatchNorm)" in message
    assert "\n" not in message
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["00000004"]
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [4]
    _, history = fit_it(points(8))  # the good batches go on from the checkpoint
    assert [row["step"] for row in history] == [4, 8]


def test_a_batch_that_is_not_finite_is_named_first():
    batches = list(points(3))
    batches[1]["y"][0] = np.nan
    with pytest.raises(train.NonFiniteError, match=r"step 2: loss is nan; the batch's 'y' is not"):
        fit(batches)


def test_an_augmentation_that_is_not_finite_is_named_next():
    with pytest.raises(train.NonFiniteError, match=r"step 1: loss is nan; augment's 'x' is not"):
        fit(points(2), augment=lambda key, batch: {**batch, "x": batch["x"] / 0})


def test_a_loss_that_is_not_finite_over_finite_layers_is_reported_as_such():
    def objective(model, batch, key):
        loss = jnp.sum(jnp.sqrt(model(batch["x"]) * 0))  # the root's derivative at 0 is infinite
        return loss, {}

    with pytest.raises(
        train.NonFiniteError, match="step 1: grad_norm is nan; every layer's output"
    ):
        train.fit(jax.random.key(0), Affine(rngs=nnx.Rngs(0)), objective, optax.sgd(0.1), points(2))


def test_the_failed_batch_is_the_first_that_failed(monkeypatch):
    kept = []

    def explain(structure, learner, state, batch, fixed, metrics):
        kept.append((jax.device_get(batch), int(state.step)))
        return train.NonFiniteError("failed")

    monkeypatch.setattr("lectures_jax.train.session.explain", explain)
    good, bad, *later = points(4)
    bad["x"][1, 2] = later[1]["y"][0] = np.nan
    with pytest.raises(train.NonFiniteError):
        fit([good, bad, *later])
    ((batch, step),) = kept
    np.testing.assert_array_equal(batch["x"], bad["x"])
    assert step == 1


def test_a_batch_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"like the first, .*float32\[8,3\].*got.*float32\[5,3\]"):
        fit([*points(1), *points(1, size=5)])


def test_the_progress_is_plain_lines_where_there_is_no_terminal(capsys):
    fit(points(4), steps=4, log_every=2)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert not out
    assert [line.split("  ")[0] for line in lines] == ["step 2/4", "step 4/4"]
    assert "loss " in lines[0]
    assert " steps/s" in lines[0]
    assert lines[0].endswith(" left")
    assert "\x1b" not in err


def test_the_progress_is_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    bar = open_progress(4, 1)
    assert isinstance(bar, Bar)
    bar.advance()
    bar.show({"step": 2, "loss": 0.25, "steps_per_second": 8.0}, evaluated=False)
    bar.show({"step": 2, "loss": 0.25, "map50": 0.5, "steps_per_second": 8.0}, evaluated=True)
    bar.close()
    err = capsys.readouterr().err
    assert "2/4" in err
    assert "loss 0.25  8 steps/s" in err
    assert "step 2/4  loss 0.25  map50 0.5" in err


def test_a_row_says_how_long_it_will_take():
    row = {"step": 100, "loss": 1.0, "steps_per_second": 4.0, "data_wait": 0.1}
    assert _describe(row, 700) == "step 100/700  loss 1  4 steps/s  2:30 left"
    assert _describe(row, None) == "step 100  loss 1  4 steps/s"


def test_training_imports_no_extra():
    extras = "grain", "tensorboardX", "PIL", "matplotlib", "tyro"
    code = f"import sys; from lectures_jax import train; print(set({extras}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_folder_gets_rows_and_event_files(tmp_path):
    _, history = fit(points(4), out=tmp_path, log_every=2)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == history
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"grad_norm" in events.read_bytes()


def test_grain_batches_are_trained_on_as_they_come():
    source = [{"x": np.full(3, n, np.float32), "y": np.float32(n)} for n in range(1000)]
    batches = grain.MapDataset.source(source).shuffle(seed=1).repeat().batch(4).to_iter_dataset()
    _, history = fit(batches, steps=3, log_every=1)
    assert len(history) == 3


def test_the_environment_can_be_written_as_json():
    result = json.loads(json.dumps(runtime.environment()))
    assert result["packages"]["jax"] == jax.__version__
    assert result["backend"] == "cpu"
    assert len(result["devices"]) == len(jax.devices())
