"""`ljx list`: the course's experiments, as their docstrings and experiments/README.md tell."""

import ast
import re
import shutil
import textwrap
from pathlib import Path
from typing import NamedTuple

from lectures_jax.cli.expected import describe, read_expected
from lectures_jax.cli.experiments import experiment_files, experiments_folder

COST = r"(.*)\. ([^.;]*, \d[^.;]* (?:s|min|h))(?:; (.*))?"
"""What it shows, device and time, and maybe a score, in the first paragraph of a docstring."""
INDENT = "    "


def list_experiments() -> int:
    """Prints each experiment's name and section, what it shows, device and time, and its score.

    Lines are as long as the terminal is wide, and 120 characters at most.

    Returns:
        The exit code 0.

    Raises:
        ValueError: if there is no folder of experiments at, above or beside the package.
    """
    root = experiments_folder()
    sections = _sections(root / "README.md")
    width = min(max(shutil.get_terminal_size().columns, 40), 120)
    for file in experiment_files(root):
        name = file.relative_to(root).as_posix()
        summary = _summary(file)
        title = f"{name.removesuffix('.py')}  {sections.get(name, '')}".rstrip()
        about = f"{summary.statement}. {summary.cost}".removesuffix(". ") + "."
        print(textwrap.fill(title, width, subsequent_indent=INDENT))
        for line in filter(None, (about, summary.score)):
            print(textwrap.fill(line, width, initial_indent=INDENT, subsequent_indent=INDENT))
    print("\nljx run EXPERIMENT --help")
    return 0


class _Summary(NamedTuple):
    """What an experiment says about itself.

    Attributes:
        statement: what it shows.
        cost: device and time.
        score: its `EXPECTED` bounds, or what its docstring states.
    """

    statement: str
    cost: str
    score: str


def _summary(file: Path) -> _Summary:
    """Reads `EXPECTED` and the docstring, whose first paragraph ends with `device, time.`

    As in "A layer solves XOR. CPU, 5 s." A score may follow: "CPU, 5 s; accuracy 1."
    """
    try:
        source = file.read_text(encoding="utf-8")
        docstring = ast.get_docstring(ast.parse(source)) or ""
        expected = describe(read_expected(source))
    except (SyntaxError, ValueError):
        return _Summary("(cannot be read)", "", "")
    paragraph = " ".join(docstring.partition("\n\n")[0].split()).rstrip(".")
    match = re.fullmatch(COST, paragraph)
    if match is None:
        return _Summary(paragraph, "", expected)
    statement, cost, score = match.groups()
    return _Summary(statement, cost, expected or score or "")


def _sections(readme: Path) -> dict[str, str]:
    """The course's section of each file, from the tables that have such a column."""
    if not readme.is_file():
        return {}
    sections: dict[str, str] = {}
    column: int | None = None
    for line in readme.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        titles = [cell.lower() for cell in cells]
        if not line.lstrip().startswith("|"):
            column = None
        elif column is None:
            column = next((i for i, t in enumerate(titles) if t in ("lecture", "section")), None)
        elif column < len(cells):
            section = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", cells[column])
            for name in re.findall(r"\w+/\w+\.py", line):
                sections.setdefault(name, section)
    return sections
