"""The folder of a run: whose it is, and what is kept there."""

import dataclasses
import json
import os
import reprlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lectures_jax.cli.configuration import as_json, flatten

WRITTEN = (
    "config.json",
    "metrics.json",
    "metrics.jsonl",
    "error.log",
    "report.html",
    "model.safetensors",
    "checkpoints",
    "figures",
    "tensorboard",
    "predictions",
    "numbers.json",
)
"""What a run and `ljx predict` leave in its folder, and `--fresh` deletes; other files stay."""
TRAINED = {"checkpoints", "metrics.jsonl", "numbers.json"}
"""By one of these a folder below is known as that of a network which the run trained."""
RESULTS = ("metrics.json", "report.html", "model.safetensors")


class Claimed(NamedTuple):
    """A folder that belongs to a run.

    Attributes:
        new: whether the run has to be described there: it is new, or has more steps now.
        notes: lines about what an earlier run left, for the user.
    """

    new: bool
    notes: list[str]


@contextmanager
def claim(
    out: Path, *, experiment: str, source: str, config: Any, fresh: bool
) -> Iterator[Claimed]:
    """Keeps the folder for a run in this block, and makes it ready.

    What an earlier run left without a checkpoint or result, because it failed, is taken over. A run
    may go on with more steps than before.

    Args:
        out: the folder, which may not exist yet.
        experiment: name of the experiment's file.
        source: hash of the experiment's file.
        config: the run's configuration, a dataclass.
        fresh: deletes what an earlier run wrote.

    Raises:
        ValueError: if the folder belongs to another run, another process works there, or `fresh`
            meets a folder that is no run, or one that the configuration names as input.
        OSError: if the folder cannot be written.
    """
    from lectures_jax.runtime import folder_lock

    if out.exists() and not out.is_dir():
        raise ValueError(f"--out: expected a folder, got the file {out}.")
    if _read(out) is None and fresh and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"--fresh: expected the folder of a run, got {out} without config.json.")
    if fresh and (inside := _read_from(out, config)):
        raise ValueError(f"--fresh: expected to read nothing that it deletes, got {inside}.")
    out.mkdir(parents=True, exist_ok=True)
    now = {"experiment": experiment, "source": source, "config": as_json(config)}
    with folder_lock(out):
        before = _read(out)
        if before is None or fresh or not _has_results(out):
            if before is not None:
                _clear(out)
            yield Claimed(True, [])
        else:
            claimed = _compare(out, before, now)
            (out / "error.log").unlink(missing_ok=True)
            yield claimed


def _read(out: Path) -> dict[str, Any] | None:
    """What an earlier run wrote about itself, or None if there was none."""
    from lectures_jax.runtime import read_json

    path = out / "config.json"
    if not path.is_file():
        return None
    expected = "what a run of ljx wrote"
    content = read_json(path, expected=expected)
    if not content.get("experiment") or not isinstance(content.get("config"), dict):
        raise ValueError(f"{path}: expected {expected}, got {reprlib.repr(content)}.")
    return content


def _read_from(out: Path, config: Any) -> Path | None:
    """The first file or folder in the run's own that its configuration names."""
    values = flatten(dataclasses.asdict(config)).values()
    paths = (value for value in values if isinstance(value, Path))
    return next((path for path in paths if path.resolve().is_relative_to(out.resolve())), None)


def _has_results(out: Path) -> bool:
    finished = any((out / name).exists() for name in RESULTS)
    return finished or any(out.glob("**/checkpoints/[0-9]*"))


def _compare(out: Path, before: dict[str, Any], now: dict[str, Any]) -> Claimed:
    """Returns what the earlier run differs in, if that is no reason to refuse it."""
    pairs = {"the experiment": (before["experiment"], now["experiment"])}
    old, new = flatten(before["config"]), flatten(now["config"])
    pairs |= {name: (old.get(name), new.get(name)) for name in old | new}
    different = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    notes = []
    steps = different.pop("steps", None)
    if steps is not None and not _is_longer(out, *steps):
        different["steps"] = steps
    for name, (there, here) in different.items():
        raise ValueError(
            f"{out} holds another run: {name} is {json.dumps(there)} there and "
            f"{json.dumps(here)} here; choose another --out, or --fresh to start anew."
        )
    if steps is not None:
        first = "the default" if steps[0] is None else steps[0]
        notes.append(
            f"{out}: steps raised from {first} to {steps[1]}: training goes on from what is there. "
            f"A learning rate that falls over the run has the values of one of {steps[1]} steps: "
            "higher again than at the end of the shorter run."
        )
    if before.get("source") != now["source"]:
        notes.append(
            f"{out}: {now['experiment']} has changed since this run began, and what is trained is "
            "read back as it is; --fresh to redo."
        )
    return Claimed(steps is not None, notes)


def _is_longer(out: Path, before: Any, steps: Any) -> bool:
    """Whether a run of so many steps goes beyond the earlier one.

    Where the earlier steps were left to a default that depends on the data, its newest checkpoint
    says how many they were, or how far it came.
    """
    if before is None:
        folders = out.glob("**/checkpoints/*")
        taken = [int(path.name) for path in folders if path.name.isdecimal()]
        return bool(taken) and type(steps) is int and max(taken) <= steps
    return type(before) is type(steps) is int and before < steps


def _clear(out: Path) -> None:
    """Deletes what a run wrote, also into the folders of the networks that it trained."""
    for folder, _, _ in os.walk(out, topdown=False):
        entries = {path.name: path for path in Path(folder).iterdir()}
        if Path(folder) != out and not TRAINED & entries.keys():
            continue
        for path in (entries[name] for name in WRITTEN if name in entries):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
