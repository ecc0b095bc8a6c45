"""`ljx compare`: the curves, results and differing settings of several runs on one page."""

import json
import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lectures_jax.cli.configuration import flatten
from lectures_jax.runtime import read_json

MAX_BYTES = 2**26
"""Of a file of a run: a million rows."""


class Run(NamedTuple):
    """What a run left in its folder.

    Attributes:
        rows: of its training, with "step".
        results: numbers by name.
        settings: values by name.
    """

    rows: list[dict[str, Any]]
    results: dict[str, Any]
    settings: dict[str, Any]


def compare(run_dirs: Sequence[Path], out: Path) -> int:
    """Writes a page about several runs, finished or not.

    Args:
        run_dirs: folders of the runs.
        out: the `.html` file to write.

    Returns:
        The exit code 0.

    Raises:
        ValueError: if a folder is not that of a run, or no run has a number.
    """
    runs = {name: _read(folder) for name, folder in _named(run_dirs).items()}
    if not any(run.rows or run.results for run in runs.values()):
        raise ValueError("RUN_DIR: expected a run with metrics, got none.")
    from lectures_jax import report

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        sections = []
        if any(run.rows for run in runs.values()):
            rows = {name: run.rows for name, run in runs.items() if run.rows}
            sections.append(report.compared_curves(rows, Path(folder)))
        sections += [
            report.compared_results({name: run.results for name, run in runs.items()}),
            report.compared_settings({name: run.settings for name, run in runs.items()}),
        ]
        title = f"{len(runs)} runs compared" if len(runs) > 1 else f"The run {next(iter(runs))}"
        report.page(out, title=title, summary=", ".join(runs), sections=sections)
    print(f"{title}: {out}")
    return 0


def _named(run_dirs: Sequence[Path]) -> dict[str, Path]:
    """The folders by what tells them apart: their paths without what all have in common."""
    paths = list(dict.fromkeys(path.resolve() for path in run_dirs))
    if len(paths) == 1:
        return {paths[0].name: paths[0]}
    common = Path(os.path.commonpath(paths))
    return {str(path.relative_to(common)): path for path in paths}


def _read(folder: Path) -> Run:
    files = folder / "config.json", folder / "metrics.json"
    config, metrics = (read_json(file) if file.is_file() else None for file in files)
    rows = [row for line in _lines(folder / "metrics.jsonl") if (row := _row(line)) is not None]
    if config is None and metrics is None and not rows:
        raise ValueError(f"RUN_DIR: expected the folder of a run, got {folder}.")
    settings = (config or {}).get("config")
    described = flatten(settings) if isinstance(settings, dict) else {}
    return Run(rows, metrics or {}, described)


def _lines(path: Path) -> list[str]:
    if not path.is_file():  # nor a pipe, which would wait
        return []
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_BYTES:,} bytes, got {size:,}.")
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _row(line: str) -> dict[str, Any] | None:
    """A row of numbers; None for a line that is not one, as a killed process leaves."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or type(row.get("step")) is not int:
        return None
    return _numbers(row) | {"step": row["step"]}


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: math.nan if value is None else value
        for name, value in values.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }
