"""Several commands at a time, each on its own cores, until all have ended or a signal came."""

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from lectures_jax.runtime import stop_request

POLL = 0.1
"""Seconds between two looks at the processes."""
STOPPED = 75
"""Exit code of a run that was stopped after a checkpoint."""


class Job(NamedTuple):
    """A command.

    Attributes:
        name: what it is called.
        command: program and arguments.
        log: file that gets what it prints.
    """

    name: str
    command: Sequence[str]
    log: Path


def run_jobs(
    jobs: Sequence[Job], *, workers: int, ended: Callable[[Job, int, float], None]
) -> bool:
    """Runs commands, so many at a time, and passes a stop on to them.

    A signal is sent on to the commands that run, which may save their state; no other is started.

    Args:
        jobs: in the order in which they start.
        workers: how many run at a time; the cores of this process are divided among them.
        ended: is called with each command, its exit code and its seconds.

    Returns:
        Whether all ran; False after a signal.
    """
    waiting, running, shares = list(jobs), {}, _shares(workers)
    with stop_request() as request:
        passed_on = False
        while running or (waiting and not request.arrived):
            for slot, cores in enumerate(shares):
                if waiting and slot not in running and not request.arrived:
                    job = waiting.pop(0)
                    running[slot] = job, _start(job, cores), monotonic()
            if request.arrived and not passed_on:
                passed_on = True
                for _, process, _ in running.values():
                    process.terminate()
            sleep(POLL)
            for slot, (job, process, since) in list(running.items()):
                if process.poll() is not None:
                    del running[slot]
                    ended(job, process.returncode, monotonic() - since)
    return not passed_on and not waiting


def _shares(workers: int) -> list[list[int]]:
    """The cores of this process, dealt out to the workers; none where cores have no numbers."""
    if not hasattr(os, "sched_getaffinity"):
        return [[] for _ in range(workers)]
    cores = sorted(os.sched_getaffinity(0))
    return [cores[i::workers] or cores for i in range(workers)]


def _start(job: Job, cores: Sequence[int]) -> subprocess.Popen:
    """Starts a command in a session of its own: a terminal's Ctrl-C reaches it through us alone."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("wb") as log:
        process = subprocess.Popen(
            job.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    if cores:
        os.sched_setaffinity(process.pid, cores)  # before it has started its threads
    return process
