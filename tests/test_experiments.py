"""Every experiment has a configuration, says what it costs and scores, and runs two steps."""

import ast
import dataclasses
import importlib.util
import inspect
import math
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "experiments").glob("*/[!_]*.py"))  # _*.py is what several share
PROMISE = r"\. [^.]*(CPU|GPU|TPU)[^.]*, \d+ (s|min|h); .*\d\.?$"


def load(path: Path):
    name = f"experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # as `ljx run` does: neighbors may be imported
    spec.loader.exec_module(module)
    return module


def test_there_are_experiments():
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_runs_two_steps(path, tmp_path):
    module = load(path)
    config = module.Config(**module.TINY)
    assert dataclasses.is_dataclass(config)
    assert module.Config.__dataclass_params__.frozen
    numbers = module.run(config, tmp_path)
    assert numbers
    assert all(math.isfinite(value) for value in numbers.values())
    assert (tmp_path / "report.html").stat().st_size > 10_000


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
def test_run_takes_a_configuration_and_a_folder(path):
    assert list(inspect.signature(load(path).run).parameters) == ["config", "out"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_first_line_says_device_time_and_score(path):
    first = load(path).__doc__.splitlines()[0]
    assert re.search(PROMISE, first), f"expected `... DEVICE, TIME; SCORE.`, got {first!r}"


@pytest.mark.parametrize("line", ["Solves XOR.", "XOR. CPU; accuracy 1.", "XOR. CPU, 5 s."])
def test_a_line_that_leaves_one_out_is_noticed(line):
    assert re.search(PROMISE, "Solves XOR. CPU, 5 s; accuracy 1.")
    assert not re.search(PROMISE, line)
