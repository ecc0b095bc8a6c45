"""Checkpoints that are checked: Orbax writes them, a manifest of hashes proves them."""

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
from orbax.checkpoint import v1 as ocp

from lectures_jax.train.history import Row
from lectures_jax.train.state import TrainState

_MANIFEST = "manifest.json"
_PROGRESS = "progress.json"
_LOG = logging.getLogger(__name__)


class Restored(NamedTuple):
    """A checkpoint that was read: the state, its step, and the position of the batches."""

    state: TrainState
    step: int
    position: Any


class Checkpoints:
    """A folder of checkpoints, one folder per step: the two newest and the best.

    A step's folder appears under its name only when it is whole: written by Orbax beside it, hashed
    file by file into `manifest.json`, then renamed. All but the copy from the device happens in a
    thread.
    """

    def __init__(self, folder: Path, *, best: str | None):
        """Prepares the folder.

        Args:
            folder: made if missing; what an interrupted save left there is removed.
            best: metric whose highest value marks the checkpoint to keep, or None.

        Raises:
            OSError: if the folder cannot be made.
        """
        self._folder, self._best = folder.absolute(), best
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"out must be a writable folder, got {folder.parent}: {error}") from error
        for leftover in self._folder.glob("saving-*"):
            shutil.rmtree(leftover)
        self._sound: list[int] = []
        self._scores: dict[int, float] = {}
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._pending: Future[None] | None = None

    def restore(self, like: TrainState) -> Restored | None:
        """Returns the newest sound checkpoint, or None if there are none at all.

        Each one that is damaged gets a warning that names the file.

        Args:
            like: a state of the same structure, for shapes, dtypes and devices.

        Raises:
            ValueError: if a checkpoint is of another model or optimizer.
            RuntimeError: if there are checkpoints and none is sound.
        """
        steps = self._steps()
        self._sound = [step for step in steps if self._is_sound(step)]
        if steps and not self._sound:
            raise RuntimeError(
                f"no checkpoint in {self._folder} is sound; remove the folder to start again."
            )
        for step in self._sound:
            self._note(step, self._progress(step)["metrics"])
        return self._load(self._sound[-1], like) if self._sound else None

    def restore_best(self, like: TrainState) -> Restored | None:
        """Returns the sound checkpoint with the highest metric, or None."""
        self.wait()
        for step in sorted(self._scores, key=self._rank, reverse=True):
            if self._is_sound(step):
                return self._load(step, like)
        return None

    def improves(self, row: Row) -> bool:
        """Returns whether a row's metric is above that of every checkpoint.

        Raises:
            ValueError: if the row lacks the metric.
        """
        if self._best is None:
            return False
        if self._best not in row:
            raise ValueError(f"best must be one of {sorted(row)}, got {self._best!r}.")
        return not self._scores or _score(row[self._best]) > max(self._scores.values())

    def save(self, step: int, state: TrainState, row: Row, position: Any) -> None:
        """Starts to save a state; waits for the save before it.

        Args:
            step: names the checkpoint; an older one of that step is replaced.
            state: copied from the device before this returns.
            row: the metrics of that step.
            position: of the batches, as JSON holds it.

        Raises:
            OSError: if this save or the one before it cannot be written.
        """
        self.wait()
        self._note(step, row)
        keep = self._keep(step)
        progress = {"step": step, "metrics": row, "position": position, "tree": _shapes(state)}
        scratch = self._folder / f"saving-{step:08d}"
        try:
            response = ocp.save_checkpointables_async(
                str(scratch), {"state": state}, overwrite=True
            )
        except Exception as error:  # whatever Orbax and TensorStore raise
            raise self._unwritable(step, error) from error
        self._pending = self._thread.submit(
            self._complete_save, step, scratch, response.result, progress, keep
        )

    def wait(self) -> None:
        """Waits until the last save is whole.

        Raises:
            OSError: if it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def close(self) -> None:
        """Waits and ends the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def _complete_save(
        self,
        step: int,
        scratch: Path,
        write: Callable[[], object],
        progress: dict,
        keep: set[int],
    ) -> None:
        """Completes a save, and only then removes what it makes superfluous."""
        try:
            write()
            (scratch / _PROGRESS).write_text(json.dumps(progress))
            (scratch / _MANIFEST).write_text(json.dumps(_hashes(scratch), indent=1))
            final = self._path(step)
            if final.exists():
                shutil.rmtree(final)
            os.replace(scratch, final)
        except Exception as error:
            raise self._unwritable(step, error) from error
        for old in set(self._steps()) - keep:
            shutil.rmtree(self._path(old), ignore_errors=True)

    def _unwritable(self, step: int, error: Exception) -> OSError:
        return OSError(f"the checkpoint {self._path(step)} cannot be written: {error}")

    def _keep(self, step: int) -> set[int]:
        """Returns the steps to keep once `step` is saved: sound ones only, and at most three."""
        self._sound = [*[old for old in self._sound if old < step][-1:], step]
        keep = set(self._sound)
        if self._scores:
            keep.add(max(self._scores, key=self._rank))
        self._scores = {old: score for old, score in self._scores.items() if old in keep}
        return keep

    def _note(self, step: int, row: Row) -> None:
        if self._best in row:
            self._scores[step] = _score(row[self._best])

    def _rank(self, step: int) -> tuple[float, int]:
        return self._scores[step], -step

    def _path(self, step: int) -> Path:
        return self._folder / f"{step:08d}"

    def _steps(self) -> list[int]:
        return sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdigit())

    def _is_sound(self, step: int) -> bool:
        damage = _damage(self._path(step))
        if damage:
            _LOG.warning("checkpoint of step %d left out: %s.", step, damage)
        return damage is None

    def _progress(self, step: int) -> dict:
        return json.loads((self._path(step) / _PROGRESS).read_text())

    def _load(self, step: int, like: TrainState) -> Restored:
        progress = self._progress(step)
        here, there = _shapes(like), progress["tree"]
        for name in here | there:
            if here.get(name) != there.get(name):
                raise ValueError(
                    f"{self._path(step)} does not fit the model and optimizer: {name} is "
                    f"{there.get(name, 'absent')} there and {here.get(name, 'absent')} here."
                )
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
        )
        state = ocp.load_checkpointables(str(self._path(step)), {"state": target})["state"]
        return Restored(state, step, progress["position"])


def _score(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _shapes(state: TrainState) -> dict[str, str]:
    """Describes each array by its path, as in `params['conv']['kernel']: float32[3, 3, 3, 8]`."""
    leaves = jax.tree.leaves_with_path(state)
    return {jax.tree_util.keystr(path)[1:]: f"{x.dtype}{list(x.shape)}" for path, x in leaves}


def _hashes(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file below a folder but the manifest's."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / _MANIFEST:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            hashes[path.relative_to(folder).as_posix()] = digest
    return hashes


def _damage(folder: Path) -> str | None:
    """Returns what is wrong with a checkpoint, in words that name the file, or None."""
    manifest = folder / _MANIFEST
    try:
        expected = json.loads(manifest.read_text())
        actual = _hashes(folder)
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    except (OSError, ValueError) as error:
        return f"{manifest} is damaged ({error})"
    if not isinstance(expected, dict):
        return f"{manifest} is damaged"
    for name in sorted(expected.keys() | actual.keys()):
        if name not in actual:
            return f"{folder / name} is missing"
        if actual[name] != expected.get(name):
            return f"{folder / name} is damaged"
    return None
