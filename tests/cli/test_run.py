import io
import json
import os
import sys
from pathlib import Path

import pytest

from lectures_jax.cli import main
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
    assert main(["run", "nested.py", "--steps", "6"]) == 2
    assert "another run: steps is 5 there and 6 here" in error_line()


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
