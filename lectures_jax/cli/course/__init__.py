"""`ljx course`: every experiment of the course, and one page with what each of them measured."""

import os
from pathlib import Path

from lectures_jax.cli.course.index import write_index
from lectures_jax.cli.course.processes import STOPPED, Job, run_jobs
from lectures_jax.cli.course.state import Place, read_seconds
from lectures_jax.cli.experiments import experiment_files, experiments_folder
from lectures_jax.cli.table import read_summary
from lectures_jax.runtime import say, write_json

QUICK = 20
"""Seconds of a default run that `--quick` takes as it is."""


def course(*, quick: bool, out: Path | None, workers: int | None, fresh: bool) -> int:
    """Runs each experiment by default in its own process, longest first, and writes `index.html`.

    Called again, it goes on with what is not done. An experiment whose file has changed since it
    ran is run anew.

    Args:
        quick: runs those that take longer than 20 seconds at the smallest sizes, which shows that
            they run; their bounds are not checked.
        out: folder of all runs and the page; by default `runs/course` or `runs/course_quick`.
        workers: how many run at a time, each on its share of the cores; by default two where there
            are two cores.
        fresh: runs everything anew.

    Returns:
        The exit code: 0; 1 if an experiment failed or missed a bound; 75 after a signal.

    Raises:
        ValueError: if there is no folder of experiments.
        OSError: if the folder cannot be written.
    """
    root = experiments_folder()
    out = out or Path("runs") / ("course_quick" if quick else "course")
    places = {place.name: place for place in _places(root, out, quick=quick)}
    longest = sorted(places.values(), key=lambda place: -place.summary.seconds)
    jobs = [place.job(fresh=fresh) for place in longest if fresh or not place.done()]
    seconds = read_seconds(out / "seconds.json")
    out.mkdir(parents=True, exist_ok=True)
    say(f"ljx: {len(jobs)} of {len(places)} experiments to run, in {out}.")

    def ended(job: Job, code: int, took: float) -> None:
        before = 0.0 if "--fresh" in job.command else seconds.get(job.name, 0.0)
        seconds[job.name] = before + took
        write_json(out / "seconds.json", seconds)
        say(f"ljx: {job.name}: {_outcome(places[job.name], code)}, {took:.0f} s.")
        write_index(root, places, seconds, out / "index.html")

    finished = run_jobs(jobs, workers=workers or min(2, os.cpu_count() or 1), ended=ended)
    write_index(root, places, seconds, out / "index.html")
    print(f"report: {out / 'index.html'}")
    if not finished:
        say(f"ljx: stopped in {out}; run again to go on.")
        return STOPPED
    return int(any(not place.done() or place.missed() for place in places.values()))


def _places(root: Path, out: Path, *, quick: bool) -> list[Place]:
    """The experiments in the order of the course."""
    places = []
    for file in experiment_files(root):
        summary = read_summary(file)
        name, log = file.relative_to(root).as_posix(), out / "logs" / f"{file.stem}.txt"
        smallest = quick and summary.seconds > QUICK
        places.append(Place(name, file, out / file.stem, log, smallest, summary))
    return places


def _outcome(place: Place, code: int) -> str:
    """How an experiment ended."""
    if code == STOPPED:
        return "stopped"
    if not place.done():
        return f"failed ({place.failure()})"
    missed = sorted(place.missed())
    return f"missed {', '.join(missed)}" if missed else "done"
