"""What the course's table and the experiments' own files say, read without running anything."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

from lectures_jax.cli.expected import Bounds, describe, read_expected

COST = r"(.*)\. ([^.;]*, (\d[^.;]*) (s|min|h))(?:; (.*))?"
"""What it shows, device and time, and maybe a score, in the first paragraph of a docstring."""
SECONDS = {"s": 1, "min": 60, "h": 3600}


class Summary(NamedTuple):
    """What an experiment says about itself.

    Attributes:
        statement: what it shows.
        cost: device and time.
        seconds: the time of its default run; infinite where it says none.
        score: its `EXPECTED` bounds as text, or what its docstring states.
        expected: its bounds.
    """

    statement: str
    cost: str
    seconds: float
    score: str
    expected: Bounds


def read_summary(file: Path) -> Summary:
    """Reads `EXPECTED` and the docstring, whose first paragraph ends with `device, time.`

    As in "A layer solves XOR. CPU, 5 s." A score may follow: "CPU, 5 s; accuracy 1."

    Args:
        file: of an experiment; one that cannot be read gives a summary that says so.
    """
    try:
        source = file.read_text(encoding="utf-8")
        docstring = ast.get_docstring(ast.parse(source)) or ""
        expected = read_expected(source)
    except (SyntaxError, ValueError):
        return Summary("(cannot be read)", "", float("inf"), "", {})
    paragraph = " ".join(docstring.partition("\n\n")[0].split()).rstrip(".")
    match = re.fullmatch(COST, paragraph)
    if match is None:
        return Summary(paragraph, "", float("inf"), describe(expected), expected)
    statement, cost, number, unit, score = match.groups()
    seconds = float(number) * SECONDS[unit] if re.fullmatch(r"[\d.]+", number) else float("inf")
    return Summary(statement, cost, seconds, describe(expected) or score or "", expected)


def read_rows(readme: Path) -> list[dict[str, str]]:
    """Returns the rows of all tables of a Markdown file, as cells by the column's title.

    Titles are in lower case; a file that is not there has no rows.

    Args:
        readme: the file.
    """
    rows: list[dict[str, str]] = []
    titles: list[str] | None = None
    lines = readme.read_text(encoding="utf-8").splitlines() if readme.is_file() else []
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.lstrip().startswith("|"):
            titles = None
        elif titles is None:
            titles = [cell.lower() for cell in cells]
        elif any(cell.strip("-: ") for cell in cells):
            rows.append(dict(zip(titles, cells, strict=False)))
    return rows


def plain(cell: str) -> str:
    """Returns a cell's text without Markdown's links, emphasis and back quotes.

    Args:
        cell: of a table.
    """
    return re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", cell)


def experiments_of(row: dict[str, str]) -> list[str]:
    """Returns the experiments that a row names, such as "ch3_vision/yolo.py".

    Args:
        row: of a table.
    """
    return re.findall(r"\w+/\w+\.py", row.get("experiment", ""))
