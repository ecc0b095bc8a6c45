"""Every experiment has a configuration, says what it costs and scores, and runs two steps."""

import ast
import dataclasses
import importlib.util
import inspect
import math
import os
import re
import sys
from pathlib import Path
from types import CodeType

import jax
import jaxtyping
import numpy as np
import pytest

from lectures_jax import runtime
from lectures_jax.cli import main
from lectures_jax.cli.configuration import default_fields, is_default
from lectures_jax.cli.expected import read_expected
from lectures_jax.recipes.evaluator import evaluator
from lectures_jax.report.excerpt import excerpts
from lectures_jax.train.session import Session
from tests.lowering import lower_for_accelerators
from tests.test_course import HEADER, NONE, TABLE, codes, resolve
from tests.tracing import codes_of, traced

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "experiments").rglob("*.py"))
COST = r"\. [^.]*(CPU|GPU|TPU)[^.]*, \d+ (s|min|h)(; .*\d)?\.?$"


def load(path: Path):
    name = f"experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def test_there_are_experiments_and_nothing_else_beside_them():
    assert FILES
    assert not [path for path in FILES if path.name.startswith("_")]
    assert {path.parent.parent for path in FILES} == {ROOT / "experiments"}
    stems = [path.stem for path in FILES]
    assert len(stems) == len(set(stems)), "`ljx run STEM` would not know which one is meant"


def imported(source: str) -> set[str]:
    """The first part of each module that a source imports, also inside of functions."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0] if not node.level else ".")
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_imports_no_other_experiment_and_leaves_the_path_alone(path):
    source = path.read_text()
    neighbors = {file.stem for file in FILES} | {"experiments", "."}
    assert not imported(source) & neighbors
    assert "sys.path" not in source
    assert "importlib" not in source


def test_an_import_of_a_neighbor_is_noticed():
    source = "import yolo.a\nfrom vae import b\nfrom . import c\nimport numpy as np"
    assert imported(source) == {"yolo", "vae", ".", "numpy"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_bounds_are_declared_and_not_checked_by_itself(path):
    source = path.read_text()
    expected = read_expected(source)
    assert expected
    for low, high in expected.values():
        assert (low, high) != (None, None)
        assert low is None or high is None or low <= high
    assert "== Config(" not in source


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of the course's table that name an experiment, as cells by column."""
    name = path.relative_to(ROOT / "experiments").as_posix()
    rows = [dict(zip(HEADER, row, strict=True)) for row in TABLE[2:]]
    return [row for row in rows if codes(row["experiment"]) == [name]]  # and not with an option


def not_called(names: list[str], called: set[CodeType]) -> list[str]:
    return [name for name in names if not codes_of(resolve(name)) & called]


@pytest.fixture
def run_quickly(tmp_path, monkeypatch):
    """Gives a function that runs an experiment as `ljx run --quick` does, its folder, and a list.

    The list grows by one entry with each step of training, of which the first of each network is
    lowered for accelerators, too. The folder is kept for `ljx course` where LECTURES_JAX_COURSE
    says so.
    """
    steps, lowered = [], set()
    advance = Session.advance

    def advance_and_lower(session, batch):
        advance(session, batch)
        steps.append(1)
        if session.structure not in lowered:
            lowered.add(session.structure)
            lower_for_accelerators(session, batch)

    monkeypatch.setattr(Session, "advance", advance_and_lower)
    monkeypatch.setattr(os, "environ", os.environ | {"LJX_TRACEBACK": "1"})
    # As for a user: the checks of types, which the tests of each layer have, take an eighth.
    jaxtyping.config.update("jaxtyping_disable", True)
    for name in ("threaded_convolutions", "keep_memory"):  # which are for a process of its own
        monkeypatch.setattr(runtime, name, lambda: None)
    kept = os.environ.get("LECTURES_JAX_COURSE")

    def call(path: Path, *options: str) -> tuple[dict[str, float], Path, list[int]]:
        folder = Path(kept) / path.stem if kept else tmp_path / "run"
        if "--fresh" in options:
            evaluator.cache_clear()  # as in another process
        steps.clear()
        assert main(["run", str(path), "--quick", "--out", str(folder), *options]) == 0
        return runtime.read_json(folder / "metrics.json"), folder, steps

    yield call
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_runs_two_steps_and_takes_none_when_it_is_run_again(path, run_quickly, tmp_path):
    config = load(path).Config
    assert dataclasses.is_dataclass(config)
    assert config.__dataclass_params__.frozen
    rows = rows_of(path)
    beside = sorted({name for row in rows for name in codes(row["function"])})
    values = [resolve(name) for name in beside]
    with traced(values) as called:
        numbers, folder, steps = run_quickly(path, "--fresh")
    if not_called(beside, called):  # or compiled by an earlier test, and called without Python
        jax.clear_caches()
        with traced(values) as called:
            numbers, folder, steps = run_quickly(path, "--fresh")
    assert not_called(beside, called) == []
    assert set(read_expected(path.read_text())) <= set(numbers)
    assert all(math.isfinite(value) for value in numbers.values())  # None would not be a number
    assert (folder / "report.html").stat().st_size > 10_000

    shown = excerpts(folder / "report.html", tmp_path / "excerpts")
    figures = sorted({title for row in rows for title in row["figure"].split("; ")} - {NONE})
    assert [title for title in figures if title not in shown or not shown[title].figures] == []

    if steps:  # of a training that can be resumed
        again, _, steps = run_quickly(path)
        assert again == numbers
        assert not steps


def with_options() -> list[tuple[str, str]]:
    """Experiments with the options that a row of the course's table names beside them."""
    cells = [codes(row[HEADER.index("experiment")]) for row in TABLE[2:]]
    return sorted({(file, option) for file, *options in filter(None, cells) for option in options})


@pytest.mark.parametrize(("file", "option"), with_options())
def test_an_option_that_a_row_names_exists(file, option, capsys):
    assert main(["run", str(ROOT / "experiments" / file), "--help"]) == 0
    assert re.search(rf"{option}\b", capsys.readouterr().out)


def undocumented(source: str) -> list[str]:
    """The fields of `Config` that no text follows: `ljx run FILE --help` has nothing to say."""
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    (config,) = [node for node in classes if node.name == "Config"]
    return [
        node.target.id
        for node, following in zip(config.body, [*config.body[1:], None], strict=True)
        if isinstance(node, ast.AnnAssign)
        and not (
            isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        )
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_field_says_what_it_is(path):
    assert not undocumented(path.read_text())


def test_a_field_without_a_word_is_noticed():
    source = 'class Config:\n    steps: int = 1\n    """of training"""\n    seed: int = 0\n'
    assert undocumented(source) == ["seed"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_fields_have_defaults_and_distinct_names_and_one_is_a_seed(path):
    module = load(path)
    assert "seed" in default_fields(module.Config, path)
    assert is_default(module.Config())
    assert not is_default(module.Config(**module.TINY))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_run_takes_a_configuration_and_a_folder(path):
    assert list(inspect.signature(load(path).run).parameters) == ["config", "out"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_first_line_says_device_and_time(path):
    first = load(path).__doc__.splitlines()[0]
    assert re.search(COST, first), f"expected `... DEVICE, TIME.`, got {first!r}"


@pytest.mark.parametrize("line", ["Solves XOR. CPU, 5 s.", "Solves XOR. CPU, 5 s; accuracy 1."])
def test_a_line_with_both_is_accepted(line):
    assert re.search(COST, line)


@pytest.mark.parametrize("line", ["Solves XOR.", "XOR. CPU; accuracy 1.", "XOR. CPU, soon."])
def test_a_line_that_leaves_one_out_is_noticed(line):
    assert not re.search(COST, line)


def test_a_comparison_of_more_steps_trains_its_models_again(tmp_path, monkeypatch):
    module = load(ROOT / "experiments" / "ch4_generative" / "compare.py")
    trained = []

    def train(name, settings, *_):
        trained.append(settings.steps)
        return {"steps": settings.steps}, np.zeros((1, 8, 8, 1))

    monkeypatch.setattr(module, "train", train)
    for steps in (3, 3, 5, 5):
        config = module.Config(steps=steps, tiny=True)
        assert module.result("GAN", config, 0, None, None, tmp_path).numbers == {"steps": steps}
    assert trained == [3, 5]
