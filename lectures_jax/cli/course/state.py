"""What is known about one experiment of a course that runs, read from its folder."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lectures_jax.cli.course.processes import Job
from lectures_jax.cli.expected import violations
from lectures_jax.cli.table import Summary
from lectures_jax.runtime import read_json


@dataclass(frozen=True)
class Place:
    """Where an experiment of the course is, and how it is run.

    Attributes:
        name: as the course's table names it, such as "ch3_vision/yolo.py".
        file: the experiment.
        folder: of its run.
        log: what it prints.
        quick: whether it runs at its smallest sizes.
        summary: what its file says.
    """

    name: str
    file: Path
    folder: Path
    log: Path
    quick: bool
    summary: Summary

    def job(self, *, fresh: bool) -> Job:
        """The command that runs it, or goes on with it.

        Args:
            fresh: deletes what an earlier run left, as is done where the file has changed since.
        """
        command = [sys.executable, "-m", "lectures_jax", "run", str(self.file)]
        command += ["--out", str(self.folder)] + ["--quick"] * self.quick
        outdated = (self.folder / "config.json").is_file() and not self._current()
        return Job(self.name, command + ["--fresh"] * (fresh or outdated), self.log)

    def done(self) -> bool:
        """Whether it has results of the file as it is, at the sizes that are asked for."""
        return (self.folder / "metrics.json").is_file() and self._current()

    def numbers(self) -> dict[str, Any]:
        """Its results; None stands for a number that is not finite."""
        return read_json(self.folder / "metrics.json") if self.done() else {}

    def missed(self) -> set[str]:
        """The numbers that are not within their bounds; those of a quick run are not checked."""
        if self.quick or not self.done():
            return set()
        numbers = {k: float("nan") if v is None else v for k, v in self.numbers().items()}
        return set(violations(self.summary.expected, numbers))

    def failure(self) -> str:
        """The last line of what it printed."""
        if not self.log.is_file():
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _current(self) -> bool:
        config = self.folder / "config.json"
        if not config.is_file():
            return False
        run = read_json(config)
        digest = hashlib.sha256(self.file.read_text(encoding="utf-8").encode()).hexdigest()
        return run.get("source") == digest and ("--quick" in run.get("command", [])) == self.quick


def read_seconds(file: Path) -> dict[str, float]:
    """Returns how long each experiment has run, by name.

    Args:
        file: that `write_json` wrote, or none yet.
    """
    return {k: float(v) for k, v in read_json(file).items()} if file.is_file() else {}
