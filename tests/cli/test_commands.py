import os
import tempfile

import pytest

from lectures_jax.cli import doctor, main
from tests.cli.conftest import EXPERIMENT


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: COMMAND"),
        (["trian"], "invalid choice: 'trian'"),
        (["run"], "required: EXPERIMENT"),
        (["run", "nowhere.py"], "expected the Python file of an experiment, got nowhere.py"),
        (["predict", "a", "b", "--score", "2"], "expected a number in [0, 1], got '2'"),
        (["predict", "a", "--count", "0"], "expected a positive number, got '0'"),
        (["predict", "a", "b"], "expected a finished run's model.safetensors, got a"),
    ],
)
def test_bad_arguments_are_named_in_one_line(error_line, argv, message):
    assert main(argv) == 2
    assert message in error_line()


BOUNDS = {"a b": (0.5, None), "c": (1, 1)}


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of three experiments; the working directory is a folder inside of it."""
    root = tmp_path / "experiments"
    for name, text in {
        "ch1_toys/toy": EXPERIMENT.replace("BODY", "pass"),
        "ch1_toys/plain": '"""Draws 1.5 lines."""',
        "ch2_more/plain": f'"""Draws more. CPU, 5 min."""\nEXPECTED = {BOUNDS}',
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.py").write_text(text)
    (root / "README.md").write_text(
        "| Section | Experiment |\n|---|---|\n| [Counting](x.md) | [toy](ch1_toys/toy.py) |\n"
    )
    monkeypatch.chdir(root / "ch1_toys")
    return root


def test_list_reads_docstrings_bounds_and_the_course_table(course, capsys):
    assert main(["list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ch1_toys/plain",
        "    Draws 1.5 lines.",
        "ch1_toys/toy  Counting",
        "    A toy counts. CPU, 1 s.",
        "    total 3",
        "ch2_more/plain",
        "    Draws more. CPU, 5 min.",
        "    a b ≥ 0.5, c = 1",
        "",
        "ljx run EXPERIMENT --help",
    ]


@pytest.mark.parametrize(("columns", "widest"), [("80", 80), ("120", 120), ("300", 120)])
def test_a_line_of_the_list_is_as_long_as_the_terminal_is_wide(
    monkeypatch, capsys, columns, widest
):
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert widest - 20 < max(map(len, lines)) <= widest


@pytest.mark.parametrize("name", ["toy", "ch1_toys/toy", "toy.py", "experiments/ch1_toys/toy.py"])
def test_an_experiment_is_run_by_its_name_from_anywhere(course, monkeypatch, name):
    (course.parent / "elsewhere").mkdir()
    monkeypatch.chdir(course.parent / "elsewhere")
    assert main(["run", name]) == 0
    assert (course.parent / "elsewhere/runs/toy/metrics.json").is_file()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("plain.txt", "got plain.txt; there are ch1_toys/plain, toy, ch2_more/plain."),
        ("plain", "expected one experiment, got plain; there are ch1_toys/plain, ch2_more/plain."),
        ("oys/toy", "expected the Python file of an experiment, got oys/toy; there are"),
        ("", "expected the Python file of an experiment, got ; there are"),
    ],
)
def test_a_name_of_no_experiment_or_of_several_is_refused(
    course, monkeypatch, error_line, name, message
):
    monkeypatch.chdir(course.parent)
    assert main(["run", name]) == 2
    assert message in error_line()


def test_without_a_course_nearby_the_installed_one_is_listed_and_run(capsys):
    assert main(["list"]) == 0
    assert "ch3_vision/yolo  3.12 " in capsys.readouterr().out
    assert main(["run", "ch3_vision/yolo", "--help"]) == 0
    assert "--anchor-iou" in capsys.readouterr().out


def test_doctor_finds_nothing_wrong_here(capsys):
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "jaxlib" in shown
    assert "device" in shown


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


def test_importing_the_command_line_imports_nothing_heavy(python):
    code = "import lectures_jax.cli, sys; print({'jax', 'numpy', 'tyro'} & set(sys.modules))"
    assert python("-c", code).stdout == "set()\n"


def test_an_experiment_that_gives_up_in_words_has_failed(course, capsys):
    file = course / "ch1_toys" / "idle.py"
    file.write_text(EXPERIMENT.replace("BODY", 'raise SystemExit("no data here")'))
    assert main(["run", str(file)]) == 1
    assert "ljx: no data here" in capsys.readouterr().err
