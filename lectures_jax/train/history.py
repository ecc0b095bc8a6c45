"""The rows that training leaves: a list, a file of JSON lines, and TensorBoard's event files."""

import json
import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lectures_jax.runtime import atomic_write, sync
from lectures_jax.runtime.files import finite_or_none

_LOG = logging.getLogger(__name__)

Row = dict[str, int | float]
"""What was measured at one step: `step`, then scalars by name."""

RESERVED = ("step", "steps_per_second", "data_wait")
"""Names in a row that the loop measures itself."""


class History:
    """Rows in memory and, with a folder, on disk as they come.

    Attributes:
        rows: all of them, also those of an interrupted run that this one resumes.
    """

    def __init__(self, out: Path | None, *, step: int, last: Row | None = None):
        """Opens `out/metrics.jsonl` and cuts off what lies after `step`, which will come again.

        Args:
            out: folder of the run, or None.
            step: at which the run goes on.
            last: row of that step, for a run that ended before it was written.
        """
        self.rows: list[Row] = []
        self._path = self._file = self._events = None
        if out is None:
            return
        self._path = out / "metrics.jsonl"
        self.rows = [row for row in _read(self._path) if row["step"] <= step]
        if last and (not self.rows or self.rows[-1]["step"] < step):
            self.rows.append(last)
        self._rewrite()
        self._events = _event_writer(out / "tensorboard", step)

    def append(self, row: Row) -> None:
        """Adds a row and writes it out; a second row of the last step completes the first.

        Raises:
            OSError: if `metrics.jsonl` cannot be written. Event files that cannot are given up.
        """
        same = bool(self.rows) and self.rows[-1]["step"] == row["step"]
        self.rows.append(self.rows.pop() | row if same else row)
        try:
            if self._file and same:
                self._rewrite()
            elif self._file:
                self._file.write(_line(row))
                self._file.flush()
        except OSError as error:
            raise OSError(f"{error.strerror}: {self._path} cannot be written.") from error
        try:
            self._add_events(row)
        except OSError as error:
            _LOG.warning("%s: no more event files for TensorBoard.", error.strerror)
            _close_events(self._events)
            self._events = None

    def sync(self) -> None:
        """Waits until the rows are on the disk, before a checkpoint that counts on them."""
        if self._path:
            sync(self._path)

    def close(self) -> None:
        """Closes the files."""
        with suppress(OSError):  # what is in their buffers could not be written before
            if self._file:
                self._file.close()
        if self._events:
            _close_events(self._events)

    def _add_events(self, row: Row) -> None:
        if self._events:
            for name, value in row.items():
                if name != "step" and math.isfinite(value):
                    self._events.add_scalar(name, value, int(row["step"]))
            self._events.flush()

    def _rewrite(self) -> None:
        if self._file:
            self._file.close()
        if self._path:
            with atomic_write(self._path) as scratch:
                scratch.write_text("".join(map(_line, self.rows)), encoding="utf-8")
            self._file = self._path.open("a", encoding="utf-8")


def with_evaluation(row: Row, evaluation: Row) -> Row:
    """Returns a row with what an evaluation measured; a name of training's gets a prefix.

    Args:
        row: of training.
        evaluation: by the names that `evaluate` gave.
    """
    return row | {f"evaluation_{k}" if k in row else k: v for k, v in evaluation.items()}


def numbers(row: Mapping[str, Any]) -> Row:
    """Returns a row as it was before JSON, which holds null for what is not finite.

    Args:
        row: as JSON gives it back.
    """
    return {name: math.nan if value is None else value for name, value in row.items()}


def _line(row: Row) -> str:
    return json.dumps(finite_or_none(row)) + "\n"


def _read(path: Path) -> list[Row]:
    """Reads rows up to the first line that is not one: a killed process leaves a torn last line."""
    rows: list[Row] = []
    if not path.is_file():
        return rows
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            break
        if not all(value is None or isinstance(value, (int, float)) for value in row.values()):
            break
        rows.append(numbers(row))
    return rows


def _close_events(events: Any) -> None:
    """Closes a writer, also one that cannot write: its own close would fail again at exit."""
    writer = events.file_writer.event_writer
    with suppress(OSError):
        events.close()
    writer._closed = True


def _event_writer(folder: Path, step: int):
    """Opens TensorBoard's writer, which hides older events after `step`; None if missing."""
    if find_spec("tensorboardX") is None:
        _LOG.warning("tensorboardX is not installed: no event files in %s.", folder)
        return None
    from tensorboardX import SummaryWriter

    # Its thread ends when it cannot write; a queue without a limit does not wait for it then.
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None, max_queue=0)
