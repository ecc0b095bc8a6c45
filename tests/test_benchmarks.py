"""Benchmarks: the page is written from the results, and a loaded machine is noticed."""

import json
import subprocess
import sys

import pytest

from benchmarks import load, sections, tables


def test_the_page_is_what_the_results_say():
    assert tables.PAGE.read_text(encoding="utf-8") == tables.page(), "python -m benchmarks.tables"


@pytest.mark.parametrize("table", tables.TABLES, ids=lambda table: table.file)
def test_each_column_is_explained_in_a_sentence(table):
    assert len({column.title for column in table.columns}) == len(table.columns)
    assert all(column.meaning.endswith(".") for column in table.columns)


def test_every_file_of_results_has_its_table():
    assert {f.stem for f in tables.RESULTS.glob("*.json")} <= {t.file for t in tables.TABLES}


def test_a_table_without_results_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    section = tables.render(tables.TABLES[0])
    assert "python -m benchmarks.coco_map" in section
    assert "|" not in section


def test_a_row_shows_its_quartiles_and_the_mark_of_a_loaded_machine():
    row = {
        "lectures_jax": 0.05,
        "quartiles": {"lectures_jax": [0.04, 0.0625]},
        "load": {"average": 3.0, "others_before": 0.9, "others": 1.0},
        "loaded": True,
    }
    cells = [tables.cell(row, column) for column in sections.conditions("lectures_jax")]
    assert cells == ["40.0 ms to 62.5 ms", "1.00, loaded"]
    cells = [tables.cell({"lectures_jax": 0.05}, c) for c in sections.conditions("lectures_jax")]
    assert cells == ["–", "–"]


def test_a_loaded_row_is_not_quoted(tmp_path, monkeypatch):
    for file in ("coco_map", "nms", "yolo_step"):
        results = tables.load_results(file)
        results["rows"] = [row | {"loaded": True} for row in results["rows"]]
        (tmp_path / f"{file}.json").write_text(json.dumps(results))
    assert all("loaded" not in sentence for sentence in tables.headlines())
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert tables.headlines() == []


@pytest.mark.parametrize(
    ("others", "loaded"),
    [([0.0, 0.02], False), ([0.0, 0.5], True), ([0.9, 0.0], True), ([None, 0.01], False)],
)
def test_what_others_keep_busy_marks_a_row(others, loaded):
    assert load.is_loaded(9.0, others) is loaded


def test_without_counters_the_average_load_marks_a_row():
    assert load.is_loaded(1000.0, [None, None])
    assert not load.is_loaded(0.5, [None, None])


def test_the_work_of_another_process_is_counted_and_our_own_is_not(monkeypatch):
    counts = iter([(10.0, 1.0), (12.0, 2.0)])  # cores busy for 2 s, ours for 1 s of them
    ticks = []
    monkeypatch.setattr(load.time, "perf_counter", iter([0.0, 4.0]).__next__)
    monkeypatch.setattr(load, "_busy_seconds", lambda: ticks.append(next(counts)) or ticks[-1][0])
    monkeypatch.setattr(load, "_own_seconds", lambda: ticks[-1][1])
    assert load.Meter().others() == 0.25


@pytest.mark.skipif(load._busy_seconds() is None, reason="needs Linux's counters")
def test_a_busy_process_raises_the_counter():
    before = load._busy_seconds()
    loop = "import time\nwhile time.process_time() < 0.4: pass"
    subprocess.run([sys.executable, "-c", loop], check=True)
    assert load._busy_seconds() - before > 0.3
