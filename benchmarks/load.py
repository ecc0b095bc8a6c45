"""How many of our cores other processes keep busy while something is measured."""

import os
import time
from pathlib import Path

STAT = Path("/proc/stat")
LIMIT = 0.15
"""Cores that others may keep busy; a row measured beside more is marked as loaded."""


class Meter:
    """Counts, from its making on, the processor time that is not this process's own.

    The time that a hypervisor gives to other machines counts as others'.
    """

    def __init__(self) -> None:
        self._start = time.perf_counter(), _busy_seconds(), _own_seconds()

    def others(self) -> float | None:
        """Returns the cores that others kept busy on average; None where Linux's counters lack."""
        wall, busy, own = self._start
        now = _busy_seconds()
        if busy is None or now is None:
            return None
        seconds = now - busy - (_own_seconds() - own)
        return max(seconds, 0.0) / (time.perf_counter() - wall)


def is_loaded(average: float, others: list[float | None]) -> bool:
    """Returns whether a measurement is to be marked.

    Args:
        average: processes that ran or waited to run in the last minute, our own among them.
        others: cores that other processes kept busy, before and during the measurement.
    """
    known = [cores for cores in others if cores is not None]
    if known:
        return max(known) > LIMIT
    return average > 1 + (os.cpu_count() or 1)


def _busy_seconds() -> float | None:
    """Seconds in which the cores of this process were neither idle nor waited for a disk."""
    if not STAT.exists() or not hasattr(os, "sched_getaffinity"):
        return None
    cores = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    ticks = 0
    for name, *counts in map(str.split, STAT.read_text().splitlines()):
        if name in cores:
            user, nice, system, _, _, irq, softirq, steal = map(int, counts[:8])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """Processor seconds of this process and of its children that have ended."""
    own = os.times()
    return own.user + own.system + own.children_user + own.children_system
