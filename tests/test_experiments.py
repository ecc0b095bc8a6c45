"""Every experiment has a configuration, says what it costs and scores, and runs two steps."""

import dataclasses
import importlib.util
import math
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "experiments").glob("*/*.py"))


def load(path: Path):
    name = f"experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_first_line_says_device_time_and_score(path):
    first = load(path).__doc__.splitlines()[0]
    assert re.search(r"CPU|GPU|TPU", first)
    assert re.search(r"\d+ (s|min)\b", first)
    assert re.search(r"\d\.\d|accuracy|mAP", first)
