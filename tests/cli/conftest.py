"""A place to work in, and a toy experiment."""

import os
import subprocess
import sys

import pytest

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


@pytest.fixture
def error_line(capsys):
    """Gives what was printed on standard error, which must be one line."""

    def read() -> str:
        text = capsys.readouterr().err
        assert text.count("\n") == 1
        return text

    return read


@pytest.fixture
def python():
    """Runs Python in a process of its own."""

    def call(*argv):
        return subprocess.run(
            [sys.executable, *argv], check=False, capture_output=True, text=True, timeout=120
        )

    return call
