"""`ljx run`: an experiment's file, its fields as options, and a folder that remembers them."""

import dataclasses
import importlib.util
import io
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from lectures_jax.cli import folder
from lectures_jax.cli.failure import EXPERIMENT, tell


def run(file: Path, options: Sequence[str]) -> int:
    """Runs an experiment in its folder, or resumes it.

    Args:
        file: defines `Config`, a dataclass, and `run(config, out) -> dict[str, float]`.
        options: `--field value` for the fields of `Config`; `--out DIR`; `--fresh`.

    Returns:
        The exit code: 0, 75 if the run was stopped after a checkpoint, or that of its failure.
    """
    module = _load(file)
    chosen = _parse(module, file, options)
    config, out = chosen.config, chosen.out
    from lectures_jax import runtime
    from lectures_jax.train import Stopped

    runtime.keep_memory()  # before a device starts: its threads would have arenas of their own
    if getattr(module, "THREADED_CONVOLUTIONS", False):
        runtime.threaded_convolutions()
    if folder.claim(out, experiment=file.name, config=config, fresh=chosen.fresh):
        _describe(out, file, config, options)
    try:
        metrics = module.run(config, out)
        if not isinstance(metrics, Mapping):
            raise TypeError(f"run must return a dictionary of metrics, got {metrics!r}.")
        numbers = {str(name): float(value) for name, value in metrics.items()}
    except Stopped:
        print(f"ljx: stopped after a checkpoint in {out}; run again to resume.", file=sys.stderr)
        return 75
    except Exception as error:
        return tell(error, log=out / "error.log")
    runtime.write_json(out / "metrics.json", numbers)
    _show(numbers, out)
    return 0


def _load(file: Path) -> ModuleType:
    if not file.is_file():
        raise ValueError(f"FILE: expected the Python file of an experiment, got {file}.")
    spec = importlib.util.spec_from_file_location(EXPERIMENT, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"FILE: expected a name that ends with .py, got {file}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[EXPERIMENT] = module  # dataclasses look their module up by name
    sys.path.insert(0, str(file.parent.resolve()))  # as for a script: it may import its neighbors
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ValueError(f"{file}: line {error.lineno}: {error.msg}.") from error
    if not dataclasses.is_dataclass(getattr(module, "Config", None)):
        raise ValueError(f"{file}: expected a dataclass `Config`, got none.")
    if not callable(getattr(module, "run", None)):
        raise ValueError(f"{file}: expected a function `run(config, out)`, got none.")
    return module


def _parse(module: ModuleType, file: Path, options: Sequence[str]) -> Any:
    """The options as an object with `config`, `out` and `fresh`."""
    import tyro

    fields = {field.name for field in dataclasses.fields(module.Config)}
    if taken := fields & {"out", "fresh"}:
        raise ValueError(f"{file}: `Config` must not have the field {taken.pop()!r}: ljx uses it.")
    out_help = tyro.conf.arg(metavar="DIR", help="folder of the run")
    fresh_help = tyro.conf.arg(help="delete what an earlier run wrote to DIR, and start anew")
    schema = dataclasses.make_dataclass(
        "Options",
        [
            ("config", Annotated[module.Config, tyro.conf.arg(name="")]),
            ("out", Annotated[Path, out_help], Path("runs") / file.stem),
            ("fresh", Annotated[bool, fresh_help, tyro.conf.FlagCreatePairsOff], False),
        ],
    )
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(
                schema, args=options, prog=f"ljx run {file}", description=module.__doc__
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ValueError(f"{file.name}: {_first_line(said.getvalue())}") from None


def _first_line(box: str) -> str:
    """What a box of tyro's says before its advice, in one line, with the usage of the option.

    The box has a title, the message, a rule, and advice; without UTF-8 it is drawn in hyphens, with
    a rule under the title.
    """
    lines = [line for line in (line.strip("│╰╯ ") for line in box.splitlines()) if line]
    rules = [i for i, line in enumerate(lines) if not line.strip("-─")]
    first = 1 if box.startswith("╭") else 2
    end = next((i for i in rules if i >= first), len(lines))
    usage = [line for line in lines[end:] if re.match("--[a-z]", line)]
    hint = f" (expected {usage[0]})" if usage else ""
    return " ".join(lines[first:end]).rstrip(".") + hint + "."


def _describe(out: Path, file: Path, config: Any, options: Sequence[str]) -> None:
    from lectures_jax import runtime

    content = {
        "experiment": file.name,
        "config": folder.as_json(config),
        "command": ["ljx", "run", str(file), *options],
        "environment": runtime.environment(),
    }
    runtime.write_json(out / "config.json", content)


def _show(numbers: Mapping[str, float], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # names may hold brackets, which are markup in a string

    table = Table(title=Text(str(out)))
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in numbers.items():
        table.add_row(Text(name), f"{value:.4g}")
    Console().print(table)
    if (out / "report.html").is_file():
        print(f"report: {out / 'report.html'}")
