"""Every row of the course's table names a function, an experiment and a test that exist."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEADER = ["section", "function", "experiment", "test", "measured score"]


def rows(path: Path) -> list[list[str]]:
    """The cells of the tables in a Markdown file."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def resolve(name: str) -> object:
    """What a dotted name below `lectures_jax` means: `ops.iou`, `models.yolo.Yolo`."""
    layer, *parts = name.split(".")
    value = importlib.import_module(f"lectures_jax.{layer}")
    for i, part in enumerate(parts):
        if not hasattr(value, part):
            value = importlib.import_module(".".join(["lectures_jax", layer, *parts[: i + 1]]))
        else:
            value = getattr(value, part)
    return value


def check_test(name: str) -> None:
    file, _, function = name.partition("::")
    assert (ROOT / file).is_file(), f"no file {file}"
    assert not function or f"def {function}(" in (ROOT / file).read_text(), f"no test {name}"


TABLE = rows(ROOT / "experiments" / "README.md")


def test_the_table_has_its_columns_and_rows():
    assert TABLE[0] == HEADER
    assert len(TABLE) > 2


@pytest.mark.parametrize("row", TABLE[2:], ids=lambda row: row[0])
def test_a_row_names_what_exists(row):
    _, functions, experiments, tests, _ = row
    assert codes(functions)
    assert codes(tests)
    for name in codes(functions):
        resolve(name)
    for name in codes(experiments):
        assert (ROOT / "experiments" / name).is_file(), f"no experiment {name}"
    for name in codes(tests):
        check_test(name)


@pytest.mark.parametrize("row", rows(ROOT / "docs" / "errata.md")[2:], ids=lambda row: row[0][:40])
def test_an_erratum_names_the_test_that_shows_it(row):
    assert codes(row[2])
    for name in codes(row[2]):
        check_test(name)


def test_a_name_that_does_not_exist_is_noticed():
    with pytest.raises(ModuleNotFoundError):
        resolve("ops.no_such_function")
    with pytest.raises(AssertionError, match="no test"):
        check_test("tests/test_course.py::test_nothing")
