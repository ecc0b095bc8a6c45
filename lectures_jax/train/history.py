"""The rows that training leaves: a list, a file of JSON lines, and TensorBoard's event files."""

import json
import logging
import math
from importlib.util import find_spec
from pathlib import Path

from lectures_jax.runtime import atomic_write

Row = dict[str, int | float]
"""What was measured at one step: `step`, then scalars by name."""


class History:
    """Rows in memory and, with a folder, on disk as they come.

    Attributes:
        rows: all of them, also those of an interrupted run that this one resumes.
    """

    def __init__(self, out: Path | None, *, step: int):
        """Opens `out/metrics.jsonl` and cuts off what lies after `step`, which will come again."""
        self.rows: list[Row] = []
        self._file = self._events = None
        if out is None:
            return
        path = out / "metrics.jsonl"
        self.rows = [row for row in _read(path) if row["step"] <= step]
        with atomic_write(path) as scratch:
            scratch.write_text("".join(map(_line, self.rows)))
        self._file = path.open("a")
        self._events = _event_writer(out / "tensorboard", step)

    def append(self, row: Row) -> None:
        """Adds a row and writes it out."""
        self.rows.append(row)
        if self._file:
            self._file.write(_line(row))
            self._file.flush()
        if self._events:
            for name, value in row.items():
                if name != "step" and math.isfinite(value):
                    self._events.add_scalar(name, value, int(row["step"]))
            self._events.flush()

    def close(self) -> None:
        """Closes the files."""
        if self._file:
            self._file.close()
        if self._events:
            self._events.close()


def _line(row: Row) -> str:
    return json.dumps(row) + "\n"


def _read(path: Path) -> list[Row]:
    """Reads rows up to the first line that is not one: a killed process leaves a torn last line."""
    rows: list[Row] = []
    if not path.exists():
        return rows
    for line in path.read_text(errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict) or "step" not in row:
            break
        rows.append(row)
    return rows


def _event_writer(folder: Path, step: int):
    """Opens TensorBoard's writer, which hides older events after `step`; None if missing."""
    if find_spec("tensorboardX") is None:
        logging.getLogger(__name__).warning(
            "tensorboardX is not installed: no event files in %s.", folder
        )
        return None
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
