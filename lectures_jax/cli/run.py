"""`ljx run`: an experiment's file, its fields as options, and a folder that remembers them."""

import dataclasses
import hashlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from lectures_jax.cli import folder
from lectures_jax.cli.configuration import as_json, is_default, parse
from lectures_jax.cli.expected import Bounds, read_expected, violations
from lectures_jax.cli.experiments import find_experiment
from lectures_jax.cli.failure import EXPERIMENT, tell


def run(name: str, options: Sequence[str]) -> int:
    """Runs an experiment in its folder, or resumes it.

    Args:
        name: path of a file that defines `Config`, a dataclass, and `run(config, out) ->
            dict[str, float]`; or the name of one of the course's, such as `yolo`.
        options: `--field value` for the fields of `Config`; `--out DIR`; `--fresh`; `--quick`,
            which starts from the fields of the experiment's `TINY`; `--mesh.data N` and
            `--mesh.fsdp N`, the devices that train.

    Returns:
        The exit code: 0; 1 if a default configuration missed what the experiment's `EXPECTED`
        demands; 75 if the run was stopped after a checkpoint; or that of its failure.
    """
    file = find_experiment(name)
    if "--quick" in options:  # before JAX is imported; programs that run twice compile for little
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    module = _load(file)
    source = file.read_text(encoding="utf-8")
    expected = read_expected(source)
    chosen = parse(module, file, options, name=name)
    config, out = chosen.config, chosen.out
    from lectures_jax import runtime

    runtime.open_standard_streams()
    runtime.keep_memory()  # before a device starts: its threads would have arenas of their own
    if getattr(module, "THREADED_CONVOLUTIONS", False):
        runtime.threaded_convolutions()
    several = chosen.distributed or any(
        value is not None for value in (chosen.coordinator, chosen.processes, chosen.process)
    )
    if several:
        runtime.join(chosen.coordinator, chosen.processes, chosen.process)
    mesh = _mesh(chosen.mesh_data, chosen.mesh_fsdp, several=several)
    digest = hashlib.sha256(source.encode()).hexdigest()
    described = {"experiment": file.name, "source": digest}
    with ExitStack() as stack:
        stack.enter_context(runtime.stop_request())

        def claim() -> None:
            claiming = folder.claim(out, **described, config=config, fresh=chosen.fresh)
            claimed = stack.enter_context(claiming)
            if claimed.new:
                description = {"config": as_json(config), "command": ["ljx", "run", name, *options]}
                description |= {"environment": runtime.environment()}
                runtime.write_json(out / "config.json", described | description)
            for note in claimed.notes:
                runtime.say(f"ljx: {note}")

        runtime.from_first(claim)
        if not runtime.is_first():  # whose reports nobody reads
            out = Path(stack.enter_context(TemporaryDirectory()))
        stack.enter_context(mesh)
        return _run(module, config, out, expected)


def _mesh(data: int | None, fsdp: int | None, *, several: bool) -> AbstractContextManager[None]:
    """The devices that every training uses: one, unless there are options or processes."""
    if data is None and fsdp is None and not several:
        return nullcontext()
    from lectures_jax.train import make_mesh, use_mesh

    return use_mesh(make_mesh(data=data, fsdp=1 if fsdp is None else fsdp))


def _run(module: ModuleType, config: Any, out: Path, expected: Bounds) -> int:
    """Runs an experiment in a folder that is ready for it, and returns the exit code."""
    from lectures_jax import runtime
    from lectures_jax.train import Stopped

    try:
        metrics = module.run(config, out)
        if not isinstance(metrics, Mapping):
            raise TypeError(f"run must return a dictionary of metrics, got {metrics!r}.")
        numbers = {str(name): float(value) for name, value in metrics.items()}
        runtime.write_json(out / "metrics.json", numbers)
    except Stopped as stopped:
        reason = str(stopped).partition(";")[0] or "stopped after a checkpoint"
        runtime.say(f"ljx: {reason} in {out}; run again to resume.")
        return 75
    except Exception as error:
        return tell(error, log=out / "error.log")
    missed = violations(expected, numbers) if is_default(config) else {}
    if not runtime.is_first():
        return 1 if missed else 0
    with runtime.optional_output():
        _show(numbers, out)
    for line in missed.values():
        runtime.say(f"ljx: {Path(str(module.__file__)).name}: {line}")
    return 1 if missed else 0


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(EXPERIMENT, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"EXPERIMENT: expected a name that ends with .py, got {file}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[EXPERIMENT] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ValueError(f"{file}: line {error.lineno}: {error.msg}.") from error
    if not dataclasses.is_dataclass(getattr(module, "Config", None)):
        raise ValueError(f"{file}: expected a dataclass `Config`, got none.")
    if not callable(getattr(module, "run", None)):
        raise ValueError(f"{file}: expected a function `run(config, out)`, got none.")
    return module


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
