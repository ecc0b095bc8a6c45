import json
import os
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lectures_jax.cli import doctor, main

EXPERIMENT = '''"""A toy counts. CPU, 1 s; total 3."""
import json
from dataclasses import dataclass
from pathlib import Path

@dataclass(frozen=True)
class Config:
    steps: int = 3  # how often, in counts
    rate: float = 0.5
    """Size of a count, in units."""
    sizes: tuple[int, ...] = (1, 2)

def run(config: Config, out: Path) -> dict[str, float]:
    with (out / "metrics.jsonl").open("a") as file:
        file.write("row\\n")
    BODY
    return {"total": config.steps * config.rate, "nan": float("nan")}
'''


@pytest.fixture(autouse=True)
def _workplace(tmp_path, monkeypatch):
    """Commands work in an empty folder; what they set in the environment is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.delitem(os.environ, "LJX_TRACEBACK", raising=False)


@pytest.fixture
def toy(tmp_path):
    """Writes an experiment whose `run` executes a line."""

    def write(line="pass", name="toy.py"):
        (tmp_path / name).write_text(EXPERIMENT.replace("BODY", line))
        return name

    return write


def error_line(capsys) -> str:
    """What was said on standard error, which must be one line."""
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


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
def test_another_run_in_the_same_folder_is_refused(toy, capsys, again, message):
    toy(name="other.py")
    assert main(["run", toy()]) == 0
    capsys.readouterr()
    assert main(again) == 2
    assert message in error_line(capsys)


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
def test_fresh_refuses_a_folder_that_is_no_run(toy, capsys, name):
    Path("mine").mkdir()
    Path("mine", name).write_text("{}")
    assert main(["run", toy(), "--out", "mine", "--fresh"]) == 2
    assert "config.json" in error_line(capsys)
    assert Path("mine", name).read_text() == "{}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stps", "3"], "toy.py: Unrecognized options: --stps, 3 (expected --steps INT)."),
        (["--steps", "many"], "'many' (expected --steps INT)."),
        (["--steps"], "Missing value for argument '--steps'"),
        (["--out", "toy.py"], "--out: expected a folder, got the file toy.py."),
    ],
)
def test_a_bad_option_is_told_in_one_line(toy, capsys, options, message):
    assert main(["run", toy(), *options]) == 2
    assert message in error_line(capsys)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: COMMAND"),
        (["trian"], "invalid choice: 'trian'"),
        (["run"], "required: FILE"),
        (["run", "nowhere.py"], "expected the Python file of an experiment, got nowhere.py"),
        (["predict", "a", "b", "--score", "2"], "expected a number in [0, 1], got '2'"),
        (["predict", "a", "b"], "expected a finished detector's model.safetensors, got a"),
    ],
)
def test_bad_arguments_are_told_in_one_line(capsys, argv, message):
    assert main(argv) == 2
    assert message in error_line(capsys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "expected a dataclass `Config`, got none"),
        ("def run(:", "line 1: invalid syntax"),
        (EXPERIMENT.replace("def run", "def walk"), "expected a function `run(config, out)`"),
        (EXPERIMENT.replace("rate: float", "fresh: float"), "must not have the field 'fresh'"),
    ],
)
def test_a_file_that_is_no_experiment_is_told(capsys, text, message):
    Path("bad.py").write_text(text)
    assert main(["run", "bad.py"]) == 2
    assert message in error_line(capsys)


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
def test_each_way_to_fail_has_its_exit_code_and_one_line(toy, capsys, line, code, message):
    assert main(["run", toy(line)]) == code
    assert message in error_line(capsys)
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


def test_list_reads_docstrings_and_the_course_table(tmp_path, capsys, monkeypatch):
    (tmp_path / "experiments/ch1_toys").mkdir(parents=True)
    (tmp_path / "experiments/ch1_toys/toy.py").write_text(EXPERIMENT)
    (tmp_path / "experiments/ch1_toys/plain.py").write_text('"""Draws 1.5 lines."""')
    (tmp_path / "experiments/README.md").write_text(
        "| Lecture | Experiment |\n|---|---|\n| [Counting](x.md) | [toy](ch1_toys/toy.py) |\n"
    )
    monkeypatch.chdir(tmp_path / "experiments/ch1_toys")
    assert main(["list"]) == 0
    _, plain, toy, *_ = capsys.readouterr().out.splitlines()
    assert plain.split("  ")[0] == "ch1_toys/plain.py"
    assert "Draws 1.5 lines" in plain
    assert [cell for cell in toy.split("  ") if cell] == [
        "ch1_toys/toy.py", "Counting", "CPU, 1 s", "total 3", "A toy counts",
    ]  # fmt: skip


def test_doctor_finds_nothing_wrong_here(capsys):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "jaxlib" in said
    assert "device" in said


def test_doctor_names_each_problem(capsys, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    def installed(name):
        return {"jaxlib": "0.9.0", "flax": "0.12.1"}.get(name, "99.0")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(doctor, "version", installed)
    assert main(["doctor"]) == 1
    problems = capsys.readouterr().err.splitlines()
    for words in ("jax and jaxlib", "flax must be", "jaxlib must be", "must be writable"):
        assert any(words in problem for problem in problems)
    assert len(problems) == 4


def test_compiled_programs_are_kept_where_the_user_wants(tmp_path):
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    os.environ["XDG_CACHE_HOME"] = str(tmp_path)
    main(["list"])
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "lectures_jax/xla")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = "mine"
    main(["list"])
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "mine"


Detections = namedtuple("Detections", "boxes scores labels valid")


class Detector:
    """Finds one box, whatever it is shown."""

    def predict(self, images, *, score_threshold, iou_threshold, class_agnostic):
        assert images.shape == (1, 64, 64, 3)
        assert (score_threshold, class_agnostic) == (0.25, True)
        boxes = np.array([[[8, 24, 40, 80], [0, 0, 9, 9]]], np.float32)
        scores, labels = np.array([[0.875, 0]], np.float32), np.array([[1, -1]], np.int32)
        return Detections(boxes, scores, labels, np.array([[True, False]]))


@pytest.fixture
def detector(monkeypatch):
    from lectures_jax.models import yolo

    monkeypatch.setattr(
        yolo, "load", lambda path: (Detector(), ("cat", "dog"), (64, 64)), raising=False
    )
    Path("run").mkdir()
    Path("run/model.safetensors").touch()
    Path("pictures").mkdir()
    # Twice as wide as high: on the canvas of 64 it is 64×32, 16 below the top.
    Image.new("RGB", (128, 64), "grey").save("pictures/12.png")


def test_predictions_are_in_pixels_of_the_picture_and_in_coco_format(detector, capsys):
    assert main(["predict", "run", "pictures/12.png", "--score", "0.25"]) == 0
    assert json.loads(Path("run/predictions/predictions.json").read_text()) == [
        {
            "image_id": 12,
            "file_name": "12.png",
            "category_id": 1,
            "category_name": "dog",
            "bbox": [16.0, 16.0, 64.0, 48.0],  # ((24 - 16)·2 = 16; the bottom, 128, is cut at 64
            "score": 0.875,
        }
    ]
    assert "12.png: 1 dog" in capsys.readouterr().out
    drawn = Image.open("run/predictions/12.png")
    assert drawn.size == (384, 192)
    assert drawn.getpixel((3 * 16, 3 * 40)) != (128, 128, 128)


def test_an_unreadable_picture_is_told_and_the_others_are_done(detector, capsys):
    Path("pictures/broken.jpg").write_bytes(b"no picture")
    Path("pictures/notes.txt").touch()
    argv = ["predict", "run", "pictures", "--out", "found", "--score", "0.25"]
    assert main(argv) == 2
    assert "pictures/broken.jpg" in error_line(capsys)
    assert sorted(os.listdir("found")) == ["12.png", "predictions.json"]


def test_pictures_are_never_overwritten(detector, capsys):
    assert main(["predict", "run", "pictures", "--out", "pictures", "--score", "0.25"]) == 2
    assert "another folder" in error_line(capsys)


def ljx(*argv):
    return subprocess.run(
        [sys.executable, "-m", "lectures_jax", *argv], capture_output=True, text=True, timeout=120
    )


def test_a_stopped_run_says_so_with_exit_code_75(toy):
    done = ljx("run", toy("from lectures_jax import train; raise train.Stopped"))
    assert done.returncode == 75
    assert done.stderr == "ljx: stopped after a checkpoint in runs/toy; run again to resume.\n"


def test_a_wrong_call_of_jax_is_a_failure_and_not_bad_input(toy):
    done = ljx("run", toy("import jax.numpy as jnp; jnp.zeros(3).reshape(2, 2)"))
    assert done.returncode == 1
    assert "reshape" in done.stderr


def test_importing_the_command_line_imports_nothing_heavy():
    code = "import lectures_jax.cli, sys; print({'jax', 'numpy', 'tyro'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n"
