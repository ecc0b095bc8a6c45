"""A row of the course's table names a section, a function, an experiment and a test that exist."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEADER = ["section", "function", "experiment", "test", "figure", "measured score"]
SECTIONS = {
    "1.1": "Perceptron",
    "1.2": "Multi-layer perceptron",
    "1.2.1": "Parameters",
    "2.1": "Gradient descent",
    "2.2": "Backpropagation",
    "3.1": "Convolutions",
    "3.1.1": "Parameters",
    "3.2": "Backpropagation",
    "3.3": "Pooling layer",
    "3.4": "Inception hypothesis",
    "3.4.1": "Parameters",
    "3.5": "Residual learning",
    "3.6": "Transfer learning and fine-tuning",
    "3.7": "Other types of convolution",
    "3.8": "Normalization layer",
    "3.9": "Gradient ascent",
    "3.9.1": "Hidden layer visualization",
    "3.9.2": "Inceptionism",
    "3.9.3": "Style transfer",
    "3.10": "Data manifold",
    "3.10.1": "Adversarial attacks",
    "3.10.2": "Manifold",
    "3.10.3": "Autoencoders",
    "3.11": "Segmentation",
    "3.11.1": "Convolutionalization",
    "3.11.2": "U-net",
    "3.12": "Object detection",
    "3.12.1": "YOLOv3",
    "3.12.2": "Multi-scale processing",
    "3.12.3": "Non-maximum suppression",
    "4": "Generative models",
    "4.1": "VAE",
    "4.1.1": "Training",
    "4.1.2": "Inference",
    "4.1.3": "Problems",
    "4.2": "GAN",
    "4.2.1": "Training",
    "4.2.2": "Problems",
    "4.3": "Normalizing flows",
    "4.4": "Diffusion model",
    "4.4.1": "Training",
    "4.4.2": "Inference",
    "4.5": "Latent space exploration",
}
"""The course's own sections; chapters 1 to 3 have no text of their own before the first."""
NONE = "–"
"""In place of a figure, where the report of the row's experiment has none of it."""
TO_COME = {"3.10"}
"""Sections without a row: a new row must leave this list."""


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


def section(cell: str) -> str:
    """The number of a section, after its title was checked: `3.12.1 YOLOv3: anchors`."""
    number, _, rest = cell.partition(" ")
    title = rest.partition(":")[0]
    assert SECTIONS.get(number) == title, f"no section {number} {title!r} in the course"
    return number


def order(number: str) -> list[int]:
    return [int(part) for part in number.split(".")]


def check_test(name: str) -> None:
    file, _, function = name.partition("::")
    assert (ROOT / file).is_file(), f"no file {file}"
    assert not function or f"def {function}(" in (ROOT / file).read_text(), f"no test {name}"


TABLE = rows(ROOT / "experiments" / "README.md")
ERRATA = rows(ROOT / "docs" / "errata.md")


def test_the_table_has_its_columns_and_rows():
    assert TABLE[0] == HEADER
    assert len(TABLE) > 2


def test_every_section_has_a_row_or_is_to_come():
    assert {section(row[0]) for row in TABLE[2:]} == set(SECTIONS) - TO_COME


@pytest.mark.parametrize("table", [TABLE, ERRATA], ids=["table", "errata"])
def test_rows_are_in_the_order_of_the_course(table):
    numbers = [order(section(row[0])) for row in table[2:]]
    assert numbers == sorted(numbers)


def test_no_two_rows_are_the_same():
    assert len({row[0] for row in TABLE[2:]}) == len(TABLE) - 2


@pytest.mark.parametrize("cell", ["3.14 Object detection: boxes", "3.12 Detection", "3.1: size"])
def test_a_section_that_the_course_has_not_is_noticed(cell):
    with pytest.raises(AssertionError, match="no section"):
        section(cell)


@pytest.mark.parametrize("row", TABLE[2:], ids=lambda row: row[0])
def test_a_row_names_what_exists(row):
    _, functions, experiments, tests, figure, score = row
    assert codes(functions)
    assert score
    assert codes(tests)
    assert "test_it_runs_two_steps" not in tests, "two steps prove no statement"
    # One file, which calls each function; a row that is measured by another run names its option.
    assert all(option.startswith("--") for option in codes(experiments)[1:])
    assert figure
    assert codes(experiments) or figure == NONE
    for name in codes(functions):
        resolve(name)
    for name in codes(experiments)[:1]:
        assert (ROOT / "experiments" / name).is_file(), f"no experiment {name}"
    for name in codes(tests):
        check_test(name)


@pytest.mark.parametrize("row", ERRATA[2:], ids=lambda row: row[0][:40])
def test_an_erratum_names_the_test_that_shows_it(row):
    assert codes(row[2])
    for name in codes(row[2]):
        check_test(name)


def test_a_name_that_does_not_exist_is_noticed():
    with pytest.raises(ModuleNotFoundError):
        resolve("ops.no_such_function")
    with pytest.raises(AssertionError, match="no test"):
        check_test("tests/test_course.py::test_nothing")
