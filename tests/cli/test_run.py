import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lectures_jax import runtime
from lectures_jax.cli import main
from lectures_jax.cli.configuration import out_of_range
from lectures_jax.cli.experiments import experiment_files
from lectures_jax.cli.run import _load
from tests.cli.conftest import EXPERIMENT

NESTED = '''"""Nested settings count. CPU, 1 s."""
from dataclasses import dataclass, field
from pathlib import Path

@dataclass(frozen=True)
class Settings:
    """How it is counted."""

    steps: int = 3
    """how often"""
    count: int | None = None
    """where to begin"""

@dataclass(frozen=True)
class Config:
    training: Settings = field(default_factory=Settings)
    """of the counting"""
    seed: int = 0

def run(config: Config, out: Path) -> dict[str, float]:
    return {"total": config.training.steps, "seed": config.seed}
'''


def test_a_run_leaves_its_configuration_and_its_metrics(toy, capsys):
    file = toy('(out / "report.html").write_text("x")')
    assert main(["run", file, "--steps", "4", "--sizes", "7", "8"]) == 0
    config = json.loads(Path("runs/toy/config.json").read_text())
    assert config["config"] == {"steps": 4, "rate": 0.5, "sizes": [7, 8]}
    assert config["command"] == ["ljx", "run", file, "--steps", "4", "--sizes", "7", "8"]
    assert config["environment"]["packages"]["jax"]
    assert json.loads(Path("runs/toy/metrics.json").read_text()) == {"total": 2.0, "nan": None}
    shown = capsys.readouterr().out
    assert "total" in shown
    assert "report: runs/toy/report.html" in shown


def test_a_mesh_is_in_use_while_an_experiment_runs(toy):
    line = "from lectures_jax.train import mesh; assert mesh._in_use.get() is not None"
    assert main(["run", toy(line), "--mesh.data", "1"]) == 0
    assert main(["run", toy(line), "--out", "alone"]) == 1


def test_the_same_command_again_resumes(toy):
    file = toy()
    for _ in range(2):
        assert main(["run", file, "--out", "there"]) == 0
    assert Path("there/metrics.jsonl").read_text() == "row\nrow\n"


@pytest.mark.parametrize(
    ("again", "message"),
    [
        (["run", "toy.py", "--rate", "0.25"], "rate is 0.5 there and 0.25 here"),
        (["run", "other.py", "--out", "runs/toy"], 'experiment is "toy.py" there and "other.py"'),
    ],
)
def test_another_run_in_the_same_folder_is_refused(toy, capsys, error_line, again, message):
    toy(name="other.py")
    assert main(["run", toy()]) == 0
    capsys.readouterr()
    assert main(again) == 2
    assert message in error_line()


def test_fresh_deletes_what_a_run_wrote_and_nothing_else(toy):
    file = toy()
    main(["run", file])
    Path("runs/toy/checkpoints/7").mkdir(parents=True)
    Path("runs/toy/notes.txt").write_text("mine")
    assert main(["run", file, "--rate", "2", "--fresh"]) == 0
    assert Path("runs/toy/metrics.jsonl").read_text() == "row\n"
    assert not Path("runs/toy/checkpoints").exists()
    assert Path("runs/toy/notes.txt").read_text() == "mine"


def test_fresh_deletes_the_networks_that_a_run_trained_below(toy):
    file = toy()
    assert main(["run", file]) == 0
    out = Path("runs") / Path(file).stem
    part, own = out / "vae" / "seed-0", out / "mine" / "figures"
    for folder in (part / "checkpoints" / "00000014", own):
        folder.mkdir(parents=True)
    for kept in (part / "notes.txt", part / "numbers.json", own / "a.svg"):
        kept.touch()
    assert main(["run", file, "--fresh"]) == 0
    assert [path.name for path in part.iterdir()] == ["notes.txt"]
    assert (own / "a.svg").exists()


def test_fresh_does_not_follow_a_link_out_of_the_folder(toy):
    file = toy()
    main(["run", file])
    Path("elsewhere").mkdir()
    Path("elsewhere/kept").touch()
    Path("runs/toy/checkpoints").symlink_to(Path("elsewhere").resolve())
    assert main(["run", file, "--fresh"]) == 0
    assert Path("elsewhere/kept").exists()


@pytest.mark.parametrize("name", ["metrics.json", "config.json"])
def test_fresh_refuses_a_folder_that_is_no_run(toy, error_line, name):
    Path("mine").mkdir()
    Path("mine", name).write_text("{}")
    assert main(["run", toy(), "--out", "mine", "--fresh"]) == 2
    assert "config.json" in error_line()
    assert Path("mine", name).read_text() == "{}"


def test_a_run_goes_on_with_more_steps_and_remembers_them(toy, capsys):
    file = toy()
    for steps in ("3", "5", "7"):
        assert main(["run", file, "--steps", steps]) == 0
    assert "steps raised from 5 to 7: training goes on" in capsys.readouterr().err
    assert json.loads(Path("runs/toy/config.json").read_text())["config"]["steps"] == 7
    assert main(["run", file, "--steps", "9", "--rate", "2"]) == 2
    assert Path("runs/toy/metrics.jsonl").read_text() == "row\n" * 3


DEFAULT = '''"""Steps that depend on the data. CPU, 1 s."""
from dataclasses import dataclass
from pathlib import Path

@dataclass(frozen=True)
class Config:
    steps: int | None = None
    """how many; None: 4"""
    start: Path | None = None
    """what is read"""
    seed: int = 0

def run(config: Config, out: Path) -> dict[str, float]:
    (out / "net" / "checkpoints" / f"{config.steps or 4:08d}").mkdir(parents=True)
    (out / "net" / "checkpoints" / "5.partial").mkdir(exist_ok=True)
    return {"steps": config.steps or 4}
'''


def test_a_run_of_the_default_steps_goes_on_with_more(toy, capsys, error_line):
    file = toy()
    Path(file).write_text(DEFAULT)
    assert main(["run", file]) == 0
    capsys.readouterr()
    assert main(["run", file, "--steps", "3"]) == 2
    assert "steps is null there and 3 here" in error_line()
    assert main(["run", file, "--steps", "6"]) == 0
    assert "steps raised from the default to 6: training goes on" in capsys.readouterr().err
    assert main(["run", file]) == 2
    assert "steps is 6 there and null here" in error_line()


def test_fresh_does_not_delete_what_the_run_reads(toy, capsys, error_line):
    file = toy()
    Path(file).write_text(DEFAULT)
    assert main(["run", file]) == 0
    capsys.readouterr()
    assert main(["run", file, "--start", "runs/../runs/toy/net", "--fresh"]) == 2
    assert "--fresh: expected to read nothing that it deletes, got runs/" in error_line()
    assert Path("runs/toy/net/checkpoints/00000004").is_dir()


def test_an_edited_experiment_is_read_back_with_a_warning(toy, capsys):
    main(["run", toy()])
    main(["run", toy()])
    assert "changed" not in capsys.readouterr().err
    main(["run", toy("1 + 1")])
    assert "runs/toy: toy.py has changed since this run began" in capsys.readouterr().err
    main(["run", toy("1 + 1"), "--fresh"])
    main(["run", toy("1 + 1")])
    assert "changed" not in capsys.readouterr().err


@pytest.mark.parametrize("failure", ["1 / 0", "open('nowhere')", "raise KeyboardInterrupt"])
def test_a_first_attempt_that_failed_does_not_occupy_the_folder(toy, failure, error_line):
    assert main(["run", toy(failure), "--rate", "2"]) != 0
    error_line()
    assert main(["run", toy(), "--rate", "3"]) == 0
    assert json.loads(Path("runs/toy/config.json").read_text())["config"]["rate"] == 3
    assert Path("runs/toy/metrics.jsonl").read_text() == "row\n"
    assert not Path("runs/toy/error.log").exists()


def test_a_run_that_failed_after_a_checkpoint_keeps_its_folder(toy, capsys, error_line):
    main(["run", toy('(out / "part/checkpoints/00000007").mkdir(parents=True); 1 / 0')])
    capsys.readouterr()
    assert main(["run", toy(), "--rate", "3"]) == 2
    assert "holds another run: rate is 0.5 there and 3.0 here" in error_line()


def test_two_runs_at_once_in_one_folder_are_refused(toy, error_line):
    Path("runs/toy").mkdir(parents=True)
    codes = []
    with runtime.folder_lock(Path("runs/toy")):
        thread = threading.Thread(target=lambda: codes.append(main(["run", toy()])))
        thread.start()
        thread.join()
    assert codes == [2]
    assert "a folder without a run in progress, got runs/toy" in error_line()
    assert main(["run", toy()]) == 0


@pytest.mark.parametrize("name", ["config.json", "error.log"])
def test_a_link_in_the_folder_is_never_written_through(toy, name):
    Path("runs/toy").mkdir(parents=True)
    Path("kept").write_text("kept")
    Path("runs/toy", name).symlink_to(Path("kept").resolve())
    main(["run", toy("1 / 0")])
    assert Path("kept").read_text() == "kept"


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '{"experiment": "toy.py"}', "\0"])
def test_a_description_that_is_none_is_refused_in_one_line(toy, error_line, text):
    Path("runs/toy").mkdir(parents=True)
    Path("runs/toy/config.json").write_text(text)
    assert main(["run", toy()]) == 2
    assert "config.json: expected what a run of ljx wrote" in error_line()


FIELDS = """
    batch_size: int = 8
    image_size: tuple[int, int] | None = None
    evaluated: int = 5
    evaluator_images: int = 5
    ema_decay: float | None = None
    learning_rate: float = 0.1
    seed: int = 0
    sides: tuple[int, ...] = (3, 5)
    data: str = "digits"
    root: Path | None = None
"""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "--steps: expected at least 1, got 0."),
        (["--steps", "-5"], "--steps: expected at least 1, got -5."),
        (["--batch-size", "0"], "--batch-size: expected at least 1, got 0."),
        (["--evaluated", "0"], "--evaluated: expected at least 1, got 0."),
        (["--evaluator-images", "0"], "--evaluator-images: expected at least 1, got 0."),
        (["--image-size", "0", "0"], "--image-size: expected at least 1, got 0 0."),
        (["--image-size", "64"], "--image-size: got '64' (expected --image-size {None}|{INT INT})"),
        (["--seed", "-1"], "--seed: expected at least 0, got -1."),
        (["--ema-decay", "1"], "--ema-decay: expected in [0, 1), got 1.0."),
        (["--ema-decay", "nan"], "--ema-decay: expected in [0, 1), got nan."),
        (["--learning-rate", "nan"], "--learning-rate: expected a positive number, got nan."),
        (["--learning-rate", "0"], "--learning-rate: expected a positive number, got 0.0."),
        (["--sides"], "--sides: expected at least one value, got none."),
        (["--root", "x"], "--root: expected --data with the kind of the files in x beside it"),
        (["--mesh.data", "99"], "the devices, got 99 · 1."),
        (["--mesh.fsdp", "0"], "data and fsdp must be at least 1"),
        (["--process", "0"], "coordinator, processes and process must be given together"),
        (["--coordinator", "x:1", "--processes", "2", "--process", "2"], "one of 2 from 0, got 2."),
    ],
)
def test_a_number_out_of_range_is_named_by_its_field_before_anything_runs(
    error_line, options, message
):
    text = EXPERIMENT.replace('    """Size of a count, in units."""\n', FIELDS)
    Path("toy.py").write_text(text)
    assert main(["run", "toy.py", *options]) == 2
    assert message in error_line()
    assert not Path("runs").exists()


@pytest.mark.filterwarnings("ignore")  # of the type checker, on importing recipes
def test_the_defaults_of_all_experiments_are_in_range(root):
    for file in experiment_files(root / "experiments"):
        config = _load(file).Config()
        assert out_of_range(config) is None, file


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_in_the_report_lets_it_be_finished(heard, toy, capfd, name):
    before = signal.getsignal(signal.Signals[name])
    assert main(["run", toy(f"import signal; signal.raise_signal(signal.{name})")]) == 0
    assert Path("runs/toy/metrics.json").is_file()
    assert f"{name}: the run stops where it resumes" in capfd.readouterr().err
    assert signal.getsignal(signal.Signals[name]) is before


def test_a_stopped_run_names_the_signal_and_the_step(toy, error_line):
    line = (
        'from lectures_jax import train; raise train.Stopped("stopped by SIGINT after step 3; x")'
    )
    assert main(["run", toy(line)]) == 75
    assert error_line() == (
        "ljx: stopped by SIGINT after step 3 in runs/toy; run again to resume.\n"
    )


@pytest.mark.parametrize("closed", ["2>&-", "1>&-", "1>&- 2>&-", "| true", "2>&1 | true"])
def test_output_that_nobody_reads_ends_no_run(toy, closed):
    line = "from lectures_jax import runtime; runtime.say('x' * 100_000)"
    command = f"{sys.executable} -m lectures_jax run {toy(line)} {closed}"
    shell = ["bash", "-o", "pipefail", "-c", command]
    done = subprocess.run(shell, check=False, timeout=60, capture_output=True)
    assert done.returncode == 0
    assert Path("runs/toy/metrics.json").is_file()


def test_an_error_says_which_checkpoint_is_there(toy, error_line):
    note = "error = ValueError('bad'); error.add_note('The checkpoint of step 3 is in x.')"
    assert main(["run", toy(f"{note}; raise error")]) == 2
    assert error_line() == "ljx: bad The checkpoint of step 3 is in x.\n"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stps", "3"], "toy.py: Unrecognized options: --stps, 3 (expected --steps INT)."),
        (["--steps", "many"], "'many' (expected --steps INT)."),
        (["--steps"], "Missing value for argument '--steps'"),
        (["--out", "toy.py"], "--out: expected a folder, got the file toy.py."),
    ],
)
def test_a_bad_option_is_named_in_one_line(
    toy, error_line, monkeypatch, options, message, encoding
):
    # Without UTF-8 the parser draws its messages otherwise.
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert main(["run", toy(), *options]) == 2
    assert message in error_line()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "expected a dataclass `Config`, got none"),
        ("def run(:", "line 1: invalid syntax"),
        (EXPERIMENT.replace("def run", "def walk"), "expected a function `run(config, out)`"),
        (EXPERIMENT.replace("rate: float", "fresh: float"), "must not have the field 'fresh'"),
        (EXPERIMENT.replace("steps: int = 3", "steps: int"), "missing 1 required positional"),
        (NESTED.replace("count: int", "seed: int"), "a name of its own, got seed twice"),
        (EXPERIMENT + "\nEXPECTED = {'total': 3}\n", "EXPECTED must be a literal such as"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused(error_line, text, message):
    Path("bad.py").write_text(text)
    assert main(["run", "bad.py"]) == 2
    assert message in error_line()


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ('raise ValueError("rate must be positive")', 2, "ljx: rate must be positive\n"),
        ('open("nowhere/a.xml")', 2, "nowhere/a.xml: No such file or directory."),
        ('json.loads("{")', 1, "JSONDecodeError"),
        ('raise RuntimeError("a\\nb")', 1, "RuntimeError: a b (traceback in runs/toy/error.log)"),
        ('raise OSError("No space left: x")', 1, "ljx: No space left: x (traceback in "),
        ("return 3", 1, "TypeError: run must return a dictionary of metrics, got 3"),
        ("import sklearn.nothing", 1, "pip install 'lectures_jax[experiments]'"),
        ("raise KeyboardInterrupt", 130, "interrupted"),
    ],
)
def test_each_way_to_fail_has_its_exit_code_and_one_line(toy, error_line, line, code, message):
    assert main(["run", toy(line)]) == code
    assert message in error_line()
    assert not Path("runs/toy/metrics.json").exists()
    if code == 1:
        assert "Traceback" in Path("runs/toy/error.log").read_text()


def test_a_traceback_is_shown_on_demand(toy, capsys, monkeypatch):
    monkeypatch.setitem(os.environ, "LJX_TRACEBACK", "1")
    assert main(["run", toy("1 / 0")]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_help_shows_every_field_with_its_unit(toy, capsys):
    assert main(["run", toy(), "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("--steps INT how often, in counts (default: 3)", "in units", "--fresh", "DIR"):
        assert words in shown


def test_a_stopped_run_says_so_with_exit_code_75(toy, python):
    done = python(
        "-m", "lectures_jax", "run", toy("from lectures_jax import train; raise train.Stopped")
    )
    assert done.returncode == 75
    assert done.stderr == "ljx: stopped after a checkpoint in runs/toy; run again to resume.\n"


def test_a_wrong_call_of_jax_is_a_failure_and_not_bad_input(toy, python):
    wrong = "import jax; jax.jit(lambda: jax.lax.broadcast_shapes((3,), (2,)))()"
    done = python("-m", "lectures_jax", "run", toy(wrong))
    assert done.returncode == 1
    assert "ljx: ValueError: Incompatible" in done.stderr


def test_fields_of_nested_settings_are_options_without_a_prefix(toy, capsys):
    Path("nested.py").write_text(NESTED)
    assert main(["run", "nested.py", "--steps", "5"]) == 0
    assert json.loads(Path("runs/nested/metrics.json").read_text()) == {"total": 5, "seed": 0}
    assert main(["run", "nested.py", "--help"]) == 0
    assert "--count {None}|INT" in capsys.readouterr().out


def test_another_nested_setting_in_the_same_folder_is_refused_by_its_name(error_line):
    Path("nested.py").write_text(NESTED)
    assert main(["run", "nested.py", "--steps", "5"]) == 0
    assert main(["run", "nested.py", "--steps", "4"]) == 2
    assert "another run: steps is 5 there and 4 here" in error_line()


@pytest.mark.parametrize(
    ("bounds", "options", "code", "message"),
    [
        ("(2.5, 3)", [], 0, ""),
        ("(3.5, None)", [], 1, "ljx: nested.py: expected total ≥ 3.5, got 3.\n"),
        ("(None, 2)", [], 1, "ljx: nested.py: expected total ≤ 2, got 3.\n"),
        ("(1, 2)", ["--seed", "7"], 1, "ljx: nested.py: expected 1 ≤ total ≤ 2, got 3.\n"),
        ("(4, None)", ["--steps", "2"], 0, ""),
        ("(4, None), 'other': (0, None)", ["--count", "1"], 0, ""),
        ("(3, 3), 'other': (0, None)", [], 1, "expected other ≥ 0, got nothing.\n"),
    ],
)
def test_bounds_hold_for_the_default_configuration_of_any_seed(
    capsys, bounds, options, code, message
):
    Path("nested.py").write_text(f"{NESTED}\nEXPECTED = {{'total': {bounds}}}\n")
    assert main(["run", "nested.py", *options]) == code
    assert capsys.readouterr().err.endswith(message)
    assert Path("runs/nested/metrics.json").is_file()


def test_a_number_that_is_not_finite_is_within_no_bounds(toy, error_line):
    file = toy()
    with Path(file).open("a") as source:
        source.write("\nEXPECTED = {'nan': (None, 1)}\n")
    assert main(["run", file]) == 1
    assert "expected nan ≤ 1, got nan" in error_line()


def test_a_seed_may_lie_in_nested_settings():
    Path("nested.py").write_text(
        NESTED.replace("count: int | None = None", "seed: int = 0")
        .replace("    seed: int = 0\n\ndef", "\ndef")
        .replace("config.seed", "config.training.seed")
        + "EXPECTED = {'total': (4, None)}"
    )
    assert main(["run", "nested.py", "--seed", "1"]) == 1
