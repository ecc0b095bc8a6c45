"""Checkpoints that are checked: Orbax writes them, a manifest of hashes proves them."""

import logging
import os
import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lectures_jax.runtime import from_first, is_first, on_any, sync
from lectures_jax.train import arrays
from lectures_jax.train.history import Row, with_evaluation
from lectures_jax.train.manifest import (
    Damaged,
    Manifest,
    Progress,
    read_checkpoint_files,
    write_checkpoint_files,
    write_manifest,
)
from lectures_jax.train.retention import Retention
from lectures_jax.train.state import TrainState

_LOG = logging.getLogger(__name__)


class Restored(NamedTuple):
    """A checkpoint that was read.

    Attributes:
        state: of the run.
        step: of the state.
        position: of the batches.
        row: what was measured at that step.
        evaluated: whether `evaluate` was among that.
        key: hash of the key that the run began with.
    """

    state: TrainState
    step: int
    position: Any
    row: Row
    evaluated: bool
    key: str


class Checkpoints:
    """A folder of checkpoints, one folder per step: the two newest and the best.

    A step's folder appears under its name only when it is whole: written by Orbax beside it, hashed
    file by file into `manifest.json`, then renamed. All but the copy from the device happens in a
    thread. What is no checkpoint's folder, or link, is neither read nor removed.

    Attributes:
        newest: step of the newest whole checkpoint, or None.
    """

    def __init__(self, folder: Path, *, best: str | None, key: str = ""):
        """Prepares the folder.

        Args:
            folder: made if missing; what an interrupted save left there is removed.
            best: metric of `evaluate` whose highest value marks the checkpoint to keep, or None.
            key: hash of the key that the run began with.

        Raises:
            OSError: if the folder cannot be made.
        """
        self._folder, self._key, self._kept = folder.absolute(), key, Retention(best)
        from_first(self._prepare)
        self.newest: int | None = None
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._pending: Future[None] | None = None
        self._manifest: Manifest | None = None
        self._hook, threading.excepthook = arrays.quiet_threads()

    def restore(self, like: TrainState) -> Restored | None:
        """Returns the newest sound checkpoint, or None if there are none at all.

        Each one that is damaged gets a warning that names the file.

        Args:
            like: a state of the same structure, for shapes, dtypes and devices.

        Raises:
            ValueError: if a checkpoint is of another model or optimizer.
            RuntimeError: if there are checkpoints and none is sound.
        """
        restored, steps = None, from_first(self._steps)
        for step in reversed(steps):
            if restored is None:
                restored = sound = self._read(step, like)
            else:
                sound = self._checked(step)
            if sound is not None:
                self._kept.add_older(step)
        if steps and restored is None:
            raise RuntimeError(
                f"no checkpoint in {self._folder} is sound; remove the folder to start again."
            )
        self.newest = restored and restored.step
        return restored

    def restore_best(self, like: TrainState) -> Restored | None:
        """Returns the sound checkpoint with the highest metric, or None."""
        self.wait()
        for step in self._kept.by_score():
            if (restored := self._read(step, like)) is not None:
                return restored
        return None

    def improves(self, evaluation: Row) -> bool:
        """Returns whether an evaluation's metric is above that of every checkpoint."""
        return self._kept.improves(evaluation)

    def save(
        self,
        step: int,
        state: TrainState,
        row: Row,
        position: Any,
        *,
        evaluation: Row | None = None,
    ) -> None:
        """Starts to save a state; waits for the save before it.

        Args:
            step: names the checkpoint; an older one of that step is replaced.
            state: copied from the device before this returns.
            row: what training measured at that step.
            position: of the batches, as JSON holds it.
            evaluation: what `evaluate` returned at that step, None if it has not been asked yet.

        Raises:
            OSError: if this save or the one before it cannot be written.
        """
        self.wait()
        self._kept.saved(step)
        self._kept.evaluated(step, evaluation)
        keep = self._kept.keep()
        progress = Progress(step, position, arrays.describe(state), self._key)
        manifest = Manifest(step, row, evaluation, {})
        scratch = self._folder / f"saving-{step:08d}"
        try:
            write = arrays.start_save(scratch, state)
        except Exception as error:  # whatever Orbax and TensorStore raise
            raise self._unwritable(step, error) from error
        self._pending = self._thread.submit(
            self._complete_save, scratch, write, progress, manifest, keep
        )

    def add_evaluation(self, step: int, evaluation: Row) -> None:
        """Adds an evaluation to the checkpoint of its step.

        Args:
            step: that was saved last.
            evaluation: what `evaluate` returned there.

        Raises:
            OSError: if it cannot be written.
        """
        self.wait()
        if self._manifest is None or self._manifest.step != step:
            raise ValueError(f"step must be that of the last checkpoint, got {step}.")
        manifest = self._manifest._replace(evaluation=evaluation)
        try:
            from_first(lambda: write_manifest(self._path(step), manifest))
        except OSError as error:
            raise self._unwritable(step, error) from error
        self._kept.evaluated(step, evaluation)
        self._remove_all_but(self._kept.keep())

    def wait(self) -> None:
        """Waits until the last save is complete.

        Raises:
            OSError: if it cannot be written.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        error = pending.exception()
        if on_any(error is not None):
            raise error or OSError("another process could not save its part of a checkpoint.")

    def close(self) -> None:
        """Waits and ends the thread."""
        pending, self._pending = self._pending, None
        try:
            if pending:
                pending.result()
        finally:
            self._thread.shutdown()
            threading.excepthook = self._hook

    def _complete_save(
        self,
        scratch: Path,
        write: Callable[[], object],
        progress: Progress,
        manifest: Manifest,
        keep: set[int],
    ) -> None:
        """Completes a save, and only then removes what it makes superfluous."""
        try:
            write()
            if is_first():
                manifest = self._publish(scratch, progress, manifest)
        except Exception as error:
            raise self._unwritable(manifest.step, error) from error
        self.newest, self._manifest = manifest.step, manifest
        self._remove_all_but(keep)

    def _publish(self, scratch: Path, progress: Progress, manifest: Manifest) -> Manifest:
        """Gives a folder whose arrays are written its name."""
        final = self._path(manifest.step)
        manifest = write_checkpoint_files(scratch, progress, manifest)
        if final.is_dir() and not final.is_symlink():
            shutil.rmtree(final)
        else:
            final.unlink(missing_ok=True)
        os.replace(scratch, final)
        sync(self._folder)
        return manifest

    def _unwritable(self, step: int, error: Exception) -> OSError:
        with suppress(OSError):  # what stopped the save may stop this
            if is_first():
                self._remove_unfinished()
        cause = arrays.cause(error)
        return OSError(f"{cause}: the checkpoint {self._path(step)} cannot be written.")

    def _prepare(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._remove_unfinished()

    def _remove_all_but(self, keep: set[int]) -> None:
        if not is_first():
            return
        for old in set(self._steps()) - keep:
            shutil.rmtree(self._path(old), ignore_errors=True)

    def _remove_unfinished(self) -> None:
        for leftover in self._folders(r"saving-\d{8,}(\.orbax-checkpoint-tmp.*)?"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _path(self, step: int) -> Path:
        return self._folder / f"{step:08d}"

    def _folders(self, pattern: str) -> list[Path]:
        named = [path for path in self._folder.iterdir() if re.fullmatch(pattern, path.name, re.A)]
        return sorted(path for path in named if path.is_dir() and not path.is_symlink())

    def _steps(self) -> list[int]:
        folders = self._folders(r"\d{8,18}")
        return [int(f.name) for f in folders if f == self._path(int(f.name))]

    def _checked(self, step: int) -> tuple[Manifest, Progress] | None:
        """Returns what is known about a sound checkpoint, and notes its score."""

        def read() -> tuple[Manifest, Progress] | None:
            try:
                return read_checkpoint_files(self._path(step), step)
            except Damaged as damage:
                _LOG.warning("checkpoint of step %d left out: %s.", step, damage)
                return None

        if (content := from_first(read)) is None:
            return None
        manifest, progress = Manifest(*content[0]), Progress(*content[1])
        self._kept.evaluated(step, manifest.evaluation)
        return manifest, progress

    def _read(self, step: int, like: TrainState) -> Restored | None:
        """Returns a checkpoint if it is sound, and warns otherwise."""
        if (checked := self._checked(step)) is None:
            return None
        manifest, progress = checked
        if different := arrays.difference(progress.tree, like):
            raise ValueError(
                f"{self._path(step)} does not fit the model and optimizer: {different}."
            )
        try:
            state = arrays.load(self._path(step), like)
            there = int(state.step)
        except Exception as error:  # whatever Orbax and TensorStore raise
            reason = " ".join(str(error).split())[:200]
            _LOG.warning("checkpoint of step %d left out: Orbax cannot read it: %s", step, reason)
            return None
        if there != step:
            _LOG.warning("checkpoint of step %d left out: its state is of step %d.", step, there)
            return None
        self._manifest = manifest
        row = with_evaluation(manifest.row, manifest.evaluation or {})
        evaluated = manifest.evaluation is not None
        return Restored(state, step, progress.position, row, evaluated, progress.key)
