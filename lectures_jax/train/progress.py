"""How far training is: a bar on a terminal, plain lines elsewhere, on the standard error.

Where the standard error is closed, nothing is shown, and training goes on.
"""

import sys
from contextlib import suppress

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from lectures_jax.runtime import is_first, say
from lectures_jax.train.history import Row


def open_progress(total: int | None, done: int) -> "Lines | Bar":
    """Returns a bar if the standard error is a terminal, or plain lines, of the first process."""
    if not is_first():
        return Lines(total, shown=False)
    with suppress(OSError, ValueError):
        if sys.stderr is not None and sys.stderr.isatty():
            return Bar(total, done)
    return Lines(total)


class Lines:
    """One line per row, where they are shown."""

    def __init__(self, total: int | None, *, shown: bool = True):
        self._total, self._say = total, say if shown else lambda text: None

    def advance(self) -> None:
        """Counts a step: nothing to show."""

    def show(self, row: Row, *, evaluated: bool) -> None:
        """Prints a row, whether `evaluated` or not."""
        self._say(_describe(row, self._total))

    def note(self, step: int, text: str) -> None:
        """Prints a line about a step."""
        self._say(_about(step, self._total, text))

    def close(self) -> None:
        """Leaves the lines as they are."""


class _Console(Console):
    """Falls silent where the reader has gone; rich's own would end the process."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Bar:
    """A bar with steps per second, the loss and the time left; evaluations stay above it."""

    def __init__(self, total: int | None, done: int):
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=_Console(stderr=True),
        )
        self._task = self._progress.add_task("", total=total, completed=done)
        self._total = total
        self._progress.start()

    def advance(self) -> None:
        """Moves the bar by one step."""
        with suppress(OSError, ValueError):
            self._progress.advance(self._task)

    def show(self, row: Row, *, evaluated: bool) -> None:
        """Shows loss and speed beside the bar, and above it the whole row if it was `evaluated`."""
        short = {name: row[name] for name in ("loss", "steps_per_second") if name in row}
        with suppress(OSError, ValueError):
            self._progress.update(self._task, description=_values(short))
        if evaluated:
            self._print(_describe(row, self._total))

    def note(self, step: int, text: str) -> None:
        """Prints a line about a step above the bar."""
        self._print(_about(step, self._total, text))

    def close(self) -> None:
        """Ends the bar."""
        with suppress(OSError, ValueError):
            self._progress.stop()

    def _print(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._progress.console.print(text, highlight=False, markup=False)


def _describe(row: Row, total: int | None) -> str:
    """Returns a row as one line, with the time left where the end is known."""
    step, speed = int(row["step"]), row.get("steps_per_second")
    parts = [_about(step, total, _values(row))]
    if total and speed:
        minutes, seconds = divmod(round((total - step) / speed), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return "  ".join(parts)


def _about(step: int, total: int | None, text: str) -> str:
    return f"step {step}" + (f"/{total}" if total else "") + f"  {text}"


def _values(row: Row) -> str:
    hidden = ("step", "steps_per_second", "data_wait")
    parts = [f"{name} {value:.4g}" for name, value in row.items() if name not in hidden]
    if "steps_per_second" in row:
        parts.append(f"{row['steps_per_second']:.3g} steps/s")
    return "  ".join(parts)
