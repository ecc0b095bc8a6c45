"""`ljx compare`: runs that finished or were killed, on one page."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lectures_jax.cli import main


def make(folder, *, seed=0, rows=5, results=None):
    path = Path(folder)
    path.mkdir(parents=True)
    config = {"experiment": "a.py", "config": {"seed": seed, "training": {"steps": rows}}}
    (path / "config.json").write_text(json.dumps(config))
    lines = [json.dumps({"step": i, "loss": i / (seed + 2), "data_wait": 0.1}) for i in range(rows)]
    (path / "metrics.jsonl").write_text("\n".join(lines))
    if results:
        (path / "metrics.json").write_text(json.dumps(results))
    return path


def test_curves_results_and_differing_settings_are_on_the_page(capsys):
    make("runs/a", seed=3, results={"accuracy": 0.75, "loss": None})
    make("runs/b", seed=4, results={"accuracy": 0.5})
    assert main(["compare", "runs/a", "runs/b", "--out", "pages/c.html"]) == 0
    assert capsys.readouterr().out == "2 runs compared: pages/c.html\n"
    page = Path("pages/c.html").read_text()
    assert page.count("<svg") == 1  # of the loss, in which both are
    assert "<!-- a  0.8 -->" in page
    assert "<!-- b  0.6667 -->" in page
    assert ">0.7500</td>" in page
    assert ">–</td>" in page
    assert '<th scope="row">seed</th>' in page
    assert "steps" not in page.split("Settings</h2>")[1]


def test_a_running_a_killed_and_a_torn_run_are_read_as_far_as_they_go():
    make("a")
    with (make("b") / "metrics.jsonl").open("a") as file:
        file.write('\n{"step": 9, "loss": null}\n[1]\n{"step": "x"}\n{"step": 1')
    assert main(["compare", "a", "b"]) == 0
    page = Path("compare.html").read_text()
    assert "<!-- a  2 -->" in page
    assert "<!-- b  2 -->" in page  # the last that is a number


def test_a_single_run_and_one_without_rows_will_do():
    make("a", rows=0, results={"accuracy": 1.0})
    assert main(["compare", "a", "a"]) == 0
    assert "The run a" in Path("compare.html").read_text()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "RUN_DIR: expected the folder of a run, got "),
        ({"config.json": '{"config": {}}'}, "RUN_DIR: expected a run with metrics, got none."),
        ({"metrics.json": "[" * 10**5}, "metrics.json: expected an object of JSON, got '[[["),
        ({"metrics.json": "[1]"}, "metrics.json: expected an object of JSON, got '[1]'"),
        ({"config.json": "{"}, "config.json: expected an object of JSON, got '{'"),
    ],
)
def test_what_is_no_run_is_refused_in_one_line(capsys, files, message):
    Path("x").mkdir()
    for name, text in files.items():
        (Path("x") / name).write_text(text)
    assert main(["compare", "x"]) == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1


def test_a_pipe_and_an_endless_file_are_not_read(capsys):
    make("a")
    os.mkfifo("a/metrics.json")
    assert main(["compare", "a"]) == 0
    Path("a/metrics.jsonl").unlink()
    with Path("a/metrics.jsonl").open("wb") as file:
        file.truncate(2**27)
    assert main(["compare", "a"]) == 2
    assert "expected at most 67,108,864 bytes" in capsys.readouterr().err


def test_a_reader_that_has_enough_ends_a_command_in_silence(root):
    program = "import sys; from lectures_jax.cli import main; sys.exit(main(['list']))"
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, error = process.communicate()
    assert (process.returncode, error) == (0, b"")
