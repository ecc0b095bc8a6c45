import io
import json
import os
import sys
from pathlib import Path

import pytest

from lectures_jax.cli import main
from tests.cli.conftest import EXPERIMENT


def test_a_run_leaves_its_configuration_and_its_metrics(toy, capsys):
    file = toy('(out / "report.html").write_text("x")')
    assert main(["run", file, "--steps", "4", "--sizes", "7", "8"]) == 0
    config = json.loads(Path("runs/toy/config.json").read_text())
    assert config["config"] == {"steps": 4, "rate": 0.5, "sizes": [7, 8]}
    assert config["command"] == ["ljx", "run", file, "--steps", "4", "--sizes", "7", "8"]
    assert config["environment"]["packages"]["jax"]
    assert json.loads(Path("runs/toy/metrics.json").read_text()) == {"total": 2.0, "nan": None}
    said = capsys.readouterr().out
    assert "total" in said
    assert "report: runs/toy/report.html" in said


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
def test_a_bad_option_is_told_in_one_line(toy, error_line, monkeypatch, options, message, encoding):
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
    ],
)
def test_a_file_that_is_no_experiment_is_told(error_line, text, message):
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
    said = " ".join(capsys.readouterr().out.split())
    for words in ("--steps INT how often, in counts (default: 3)", "in units", "--fresh", "DIR"):
        assert words in said


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
