"""An experiment's `Config`: its fields as options, their ranges, as JSON, and the defaults."""

import dataclasses
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from lectures_jax.runtime.files import finite_or_none

COUNTS = "batch_size|epochs|evaluated|examples|image_size|images|samples|scenes|seeds|sets|steps"
RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    rf"(\w+_)?({COUNTS})": ("at least 1", lambda x: x >= 1),
    r"(\w+_)?seed": ("at least 0", lambda x: x >= 0),
    r"(\w+_)?learning_rate": ("a positive number", lambda x: 0 < x < float("inf")),
    r"ema_decay": ("in [0, 1)", lambda x: 0 <= x < 1),
}
"""What a number must be, by the field's name; NaN is in no range."""
OWN = {
    *("out", "fresh", "quick", "mesh_data", "mesh_fsdp"),
    *("coordinator", "processes", "process", "distributed"),
}
"""Options of the command itself, which no field may be called."""


def parse(module: ModuleType, file: Path, options: Sequence[str], *, name: str) -> Any:
    """Returns an object with `config` and the command's own options, from those of a command.

    The fields of a nested dataclass are options like those of `Config` itself, without a prefix.

    Args:
        module: the experiment.
        file: where it is.
        options: `--field value`, and those of `ljx run` itself.
        name: what the user called the experiment.

    Raises:
        ValueError: if `Config` has a field that is taken, or an option is wrong or out of range.
        SystemExit: after `--help`.
    """
    import tyro

    if taken := default_fields(module.Config, file).keys() & OWN:
        raise ValueError(f"{file}: `Config` must not have the field {taken.pop()!r}: ljx uses it.")
    errors = io.StringIO()
    try:
        with redirect_stderr(errors):
            chosen = tyro.cli(
                _schema(module, file, quick="--quick" in options),
                args=options,
                prog=f"ljx run {name}",
                description=module.__doc__,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ValueError(f"{file.name}: {_first_line(errors.getvalue())}") from None
    if problem := out_of_range(chosen.config):
        raise ValueError(f"{file.name}: {problem}")
    return chosen


def _schema(module: ModuleType, file: Path, *, quick: bool) -> type:
    """A dataclass of the fields of `Config` and the options of the command itself."""
    import tyro

    out_help = tyro.conf.arg(metavar="DIR", help="folder of the run")
    fresh_help = tyro.conf.arg(help="delete what an earlier run wrote to DIR, and start anew")
    quick_help = tyro.conf.arg(help="two steps of everything, the smallest sizes: does it run?")
    data_help = tyro.conf.arg(
        name="mesh.data", help="groups of devices, each with all parameters; None: of all devices"
    )
    fsdp_help = tyro.conf.arg(
        name="mesh.fsdp", help="devices of a group, over which parameters are split"
    )
    coordinator_help = tyro.conf.arg(
        metavar="HOST:PORT", help="of the first of several processes that run this command together"
    )
    distributed_help = tyro.conf.arg(
        help="one of several processes, as Slurm, Open MPI, Kubernetes or Cloud TPU says"
    )
    start = module.Config(**_tiny(module, file)) if quick else module.Config()
    folder = Path("runs") / (f"{file.stem}_quick" if quick else file.stem)
    return dataclasses.make_dataclass(
        "Options",
        [
            (
                "config",
                Annotated[module.Config, tyro.conf.arg(name="")],
                dataclasses.field(default_factory=lambda: start),
            ),
            ("out", Annotated[Path, out_help], folder),
            ("fresh", Annotated[bool, fresh_help, tyro.conf.FlagCreatePairsOff], False),
            ("quick", Annotated[bool, quick_help, tyro.conf.FlagCreatePairsOff], False),
            ("mesh_data", Annotated[int | None, data_help], None),
            ("mesh_fsdp", Annotated[int | None, fsdp_help], None),
            ("coordinator", Annotated[str | None, coordinator_help], None),
            ("processes", Annotated[int | None, tyro.conf.arg(help="how many run")], None),
            ("process", Annotated[int | None, tyro.conf.arg(help="which one, from 0")], None),
            ("distributed", Annotated[bool, distributed_help, tyro.conf.FlagCreatePairsOff], False),
        ],
    )


def _tiny(module: ModuleType, file: Path) -> dict[str, Any]:
    """The smallest sizes that an experiment declares."""
    tiny = getattr(module, "TINY", None)
    if not isinstance(tiny, dict):
        raise ValueError(f"{file}: --quick: expected a dictionary `TINY` of fields, got none.")
    return tiny


def out_of_range(config: Any) -> str | None:
    """Returns a line about the first field that cannot be meant, or None.

    Args:
        config: a dataclass whose fields all have defaults.
    """
    fields, defaults = (flatten(dataclasses.asdict(c)) for c in (config, type(config)()))
    for name, value in fields.items():
        if defaults[name] and value in ((), []):
            return f"--{name.replace('_', '-')}: expected at least one value, got none."
        for pattern, (wanted, holds) in RANGES.items():
            parts = value if isinstance(value, (tuple, list)) else [value]
            numbers = [x for x in parts if type(x) in (int, float)]
            if re.fullmatch(pattern, name) and not all(map(holds, numbers)):
                shown = " ".join(map(str, parts))
                return f"--{name.replace('_', '-')}: expected {wanted}, got {shown}."
    built_in = "root" in defaults and defaults["root"] is None and "data" in defaults
    if built_in and fields["root"] is not None and fields["data"] == defaults["data"]:
        return (
            f"--root: expected --data with the kind of the files in {fields['root']} beside it, "
            f"got {fields['data']}, which reads none."
        )
    return None


def default_fields(config_class: Any, file: Path) -> dict[str, Any]:
    """Returns the fields of a `Config` and of the dataclasses nested in it, with their defaults.

    Args:
        config_class: a dataclass.
        file: of the experiment, for the message.

    Raises:
        ValueError: if a field has no default, or two have one name.
    """
    try:
        return flatten(dataclasses.asdict(config_class()))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: `Config`: {error}") from error


def is_default(config: Any) -> bool:
    """Returns whether every field but the seeds has its default.

    Args:
        config: a dataclass whose fields all have defaults.
    """
    fields, defaults = (flatten(dataclasses.asdict(c)) for c in (config, type(config)()))
    return fields | {"seed": 0} == defaults | {"seed": 0}


def as_json(config: Any) -> dict[str, Any]:
    """Returns the fields of a configuration as JSON gives them back.

    Args:
        config: a dataclass.
    """
    return json.loads(json.dumps(finite_or_none(dataclasses.asdict(config)), default=str))


def flatten(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of nested dictionaries as one, under the names that the options have.

    Args:
        fields: of a configuration.

    Raises:
        ValueError: if two fields have one name.
    """
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        nested = flatten(value) if isinstance(value, Mapping) else {name: value}
        if twice := sorted(flat.keys() & nested.keys()):
            raise ValueError(f"each field must have a name of its own, got {twice[0]} twice.")
        flat |= nested
    return flat


def _first_line(box: str) -> str:
    """The message in a box of tyro's, without the advice, in one line, with the option's usage.

    The box has a title, the message, a rule, and advice; without UTF-8 it is drawn in hyphens, with
    a rule under the title.
    """
    lines = [line for line in (line.strip("│╰╯ ") for line in box.splitlines()) if line]
    rules = [i for i, line in enumerate(lines) if not line.strip("-─")]
    first = 1 if box.startswith("╭") else 2
    end = next((i for i in rules if i >= first), len(lines))
    usage = [line for line in lines[end:] if re.match("--[a-z]", line)]
    text = re.sub(r"\[/?bold\]", "", " ".join(lines[first:end])).rstrip(".")
    union = re.match(r"Error parsing (\S+): no type matching .* instantiated from \[(.*?)\]", text)
    if union:  # which lists what each of its types says
        text = f"Error parsing {union[1]}: got {union[2]}"
    hint = f" (expected {usage[0]})" if usage else ""
    return text + hint + "."
