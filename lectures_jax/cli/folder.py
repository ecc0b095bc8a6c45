"""The folder of a run: whose it is, and what is kept there."""

import json
import shutil
from pathlib import Path
from typing import Any

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
)
"""What a run leaves in its folder, and `--fresh` deletes. Other files there are not touched."""


def claim(out: Path, *, experiment: str, config: Any, fresh: bool) -> bool:
    """Makes the folder ready for a run.

    Args:
        out: the folder, which may not exist yet.
        experiment: name of the experiment's file.
        config: the run's configuration, a dataclass.
        fresh: deletes what an earlier run wrote.

    Returns:
        True if this run is new there, False if it resumes one.

    Raises:
        ValueError: if the folder belongs to another run, or `fresh` meets a folder that is no run.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out: expected a folder, got the file {out}.")
    before = _read(out)
    if fresh:
        if before is None and out.is_dir() and any(out.iterdir()):
            raise ValueError(
                f"--fresh: expected the folder of a run, got {out} without config.json."
            )
        _clear(out)
    elif before is not None:
        _compare(out, before, {"experiment": experiment, "config": as_json(config)})
        (out / "error.log").unlink(missing_ok=True)
        return False
    out.mkdir(parents=True, exist_ok=True)
    return True


def _read(out: Path) -> dict[str, Any] | None:
    """What an earlier run wrote about itself, or None if there was none."""
    path = out / "config.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["experiment"] and isinstance(content["config"], dict):
            return content
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"{path}: expected what a run of ljx wrote, got something else.")


def _compare(out: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    pairs = {"the experiment": (before["experiment"], now["experiment"])}
    old, new = flatten(before["config"]), flatten(now["config"])
    for name in old | new:
        pairs[name] = (old.get(name), new.get(name))
    for name, (there, here) in pairs.items():
        if there != here:
            raise ValueError(
                f"{out} holds another run: {name} is {json.dumps(there)} there and "
                f"{json.dumps(here)} here; choose another --out, or --fresh to start anew."
            )


def _clear(out: Path) -> None:
    for path in map(out.joinpath, WRITTEN):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
