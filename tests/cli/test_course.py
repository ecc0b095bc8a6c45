"""`ljx course` on a course of small experiments: what runs, and what the page shows."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from lectures_jax.cli import main
from lectures_jax.cli.course.processes import Job, run_jobs

FILE = '''"""A toy. CPU, {seconds} s; total 3."""
from dataclasses import dataclass
from pathlib import Path

EXPECTED = {{"total": ({low}, None)}}
TINY = {{"steps": 1}}

@dataclass(frozen=True)
class Config:
    steps: int = 3

def run(config: Config, out: Path) -> dict[str, float]:
    if {fails}:
        raise ValueError("it fails")
    from lectures_jax import report
    from lectures_jax.report.page import Figure, Section
    import numpy as np
    with (out / "calls.txt").open("a") as file:
        file.write(f"{{config.steps}} ")
    figures = [Figure(np.full((8, 8), 0.5, np.float32), "Gray it is.")]
    report.page(out / "report.html", title="Toy", sections=[Section("A & B", figures=figures)])
    return {{"total": float(config.steps)}}
'''
TABLE = """
| section | function | experiment | test | figure | measured score |
|---|---|---|---|---|---|
| 1.1 Toys: the good | `ops.linear` | `ch1_toys/good.py` | `t` | A & B | 3.0 |
| 1.1 Toys: again | `ops.linear` | `ch1_toys/good.py` | `t` | | 4.0 |
| 1.2 More | `ops.linear` | `ch1_toys/other.py` | `t` | A & B | 5.0 |
"""


@pytest.fixture
def course(tmp_path):
    """Writes a course of two experiments, the second of which is given."""

    def write(*, low=2.0, fails=False, seconds=1):
        folder = tmp_path / "experiments" / "ch1_toys"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "good.py").write_text(FILE.format(seconds=1, low=2.0, fails=False))
        (folder / "other.py").write_text(FILE.format(seconds=seconds, low=low, fails=fails))
        (folder.parent / "README.md").write_text(TABLE)
        return tmp_path / "runs" / "course"

    return write


def calls(folder, name):
    return (folder / name / "calls.txt").read_text().split()


def test_it_runs_what_is_not_done_and_shows_each_row(course, capsys):
    out = course()
    assert main(["course"]) == 0
    assert "2 of 2 experiments to run" in capsys.readouterr().err
    page = (out / "index.html").read_text()
    assert "The good. Gray it is.<" in page
    assert page.count("Gray it is.<") == 2  # under the figure of two rows
    for text in ("1.1 Toys", "the good", "again", "1.2 More", "2 of 2", "total 3 (≥ 2)", "3.0"):
        assert text in page
    assert 'href="good/report.html#section-0"' in page
    assert "class=alert" not in page

    assert main(["course"]) == 0
    assert "0 of 2 experiments to run" in capsys.readouterr().err
    assert calls(out, "good") == calls(out, "other") == ["3"]

    course(seconds=2)  # the file has changed
    assert main(["course"]) == 0
    assert (calls(out, "good"), calls(out, "other")) == (["3"], ["3", "3"])


def test_a_missed_bound_and_a_failure_are_red(course, capsys):
    out = course(low=4.0)
    assert main(["course", "--workers", "1"]) == 1
    assert "ch1_toys/other.py: missed total" in capsys.readouterr().err
    page = (out / "index.html").read_text()
    assert "<strong class=alert>missed total</strong>" in page
    assert "<strong class=alert>total 3 (≥ 4)</strong>" in page

    course(fails=True)
    assert main(["course"]) == 1
    assert "failed (" in capsys.readouterr().err
    page = (out / "index.html").read_text()
    assert "no result: " in page
    assert "it fails" in page
    assert "1 of 2" in page


def test_quick_takes_long_experiments_at_their_smallest_sizes(course):
    course(seconds=21, low=4.0)
    assert main(["course", "--quick", "--out", "q"]) == 0  # the bound is not checked
    folder = course().parents[1] / "q"
    assert (calls(folder, "good"), calls(folder, "other")) == (["3"], ["1"])
    page = (folder / "index.html").read_text()
    assert "total 1 (quick)" in page
    assert "not measured" in page


def test_quick_needs_sizes(toy, error_line):
    assert main(["run", toy(), "--quick"]) == 2
    assert "--quick: expected a dictionary `TINY`" in error_line()


def test_what_a_quick_run_is_given_is_taken(course):
    course()
    assert main(["run", "good", "--quick", "--steps", "2"]) == 0
    with open("runs/good_quick/config.json") as file:
        assert json.load(file)["config"] == {"steps": 2}


@pytest.mark.parametrize(
    ("argv", "message"),
    [(["--workers", "0"], "expected a positive number, got '0'"), (["x"], "unrecognized")],
)
def test_bad_arguments_are_named(argv, message, error_line):
    assert main(["course", *argv]) == 2
    assert message in error_line()


def test_a_stop_is_passed_on_and_nothing_else_is_started(tmp_path, heard):
    waits = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75));"
    waits += "print('up', flush=True); time.sleep(60)"
    jobs = [Job(str(i), [sys.executable, "-c", waits], tmp_path / f"{i}.txt") for i in range(3)]
    codes = {}

    def stop():
        while not all(job.log.is_file() and job.log.read_text() for job in jobs[:2]):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    ended = lambda job, code, seconds: codes.update({job.name: code})
    assert not run_jobs(jobs, workers=2, ended=ended)
    assert codes == {"0": 75, "1": 75}


def test_each_worker_has_its_share_of_the_cores(tmp_path):
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("cores have no numbers on this system")
    mine = os.sched_getaffinity(0)
    # After a moment: the process begins with all cores.
    script = "import os, time; time.sleep(0.5); print(*sorted(os.sched_getaffinity(0)))"
    jobs = [Job(str(i), [sys.executable, "-c", script], tmp_path / f"{i}.txt") for i in range(2)]
    assert run_jobs(jobs, workers=2, ended=lambda *_: None)
    shares = [set(map(int, job.log.read_text().split())) for job in jobs]
    assert shares[0] | shares[1] == mine
    assert len(mine) == 1 or not shares[0] & shares[1]
