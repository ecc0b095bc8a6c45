"""Sets of other tools train from the command line as they are, and are checked before."""

import json

import numpy as np
import pytest

from lectures_jax.cli import main
from tests.foreign_sets import NAMES, SETS

SMALL = {
    "yolo": "--steps 20 --batch-size 2 --image-size 64 96 --stem 4 --stem-stride 4 "
    "--channels 4 4 4 --blocks 1 0 0 --necks 4 4 4 --depth 0",
    "classification": "--steps 20 --batch-size 4 --channels 2",
}


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_another_tool_trains_as_it_is(name, tmp_path, capsys):
    write, (experiment, *options) = SETS[name]
    write(tmp_path / "set", np.random.default_rng(0))
    arguments = [*options, "--root", str(tmp_path / "set")]
    assert main(["check", *arguments]) == 0
    out = tmp_path / "out"
    assert main(["run", experiment, *arguments, *SMALL[experiment].split(), "--out", str(out)]) in (
        0,
        1,  # after 20 steps the score is below what the experiment promises
    ), capsys.readouterr().err
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 20
    page = (out / "report.html").read_text(encoding="utf-8")
    classes = ("empty", "square") if name == "idx" else NAMES
    assert all(word in page for word in classes)
