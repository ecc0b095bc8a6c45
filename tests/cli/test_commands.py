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
        (["run"], "required: FILE"),
        (["run", "nowhere.py"], "expected the Python file of an experiment, got nowhere.py"),
        (["predict", "a", "b", "--score", "2"], "expected a number in [0, 1], got '2'"),
        (["predict", "a", "b"], "expected a finished detector's model.safetensors, got a"),
    ],
)
def test_bad_arguments_are_told_in_one_line(error_line, argv, message):
    assert main(argv) == 2
    assert message in error_line()


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


def test_importing_the_command_line_imports_nothing_heavy(python):
    code = "import lectures_jax.cli, sys; print({'jax', 'numpy', 'tyro'} & set(sys.modules))"
    assert python("-c", code).stdout == "set()\n"
