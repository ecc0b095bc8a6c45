"""`ljx list`: the course's experiments, as their docstrings and experiments/README.md tell."""

import ast
import re
from pathlib import Path


def list_experiments() -> int:
    """Prints a line for each experiment: its file, lecture, time and score, and what it shows.

    Returns:
        The exit code 0.

    Raises:
        ValueError: if there is no folder of experiments at, above or beside the package.
    """
    root = _find()
    lectures = _lectures(root / "README.md")
    rows = [("EXPERIMENT", "LECTURE", "TIME", "SCORE", "")]
    for file in sorted(root.glob("*/[!_]*.py")):
        name = file.relative_to(root).as_posix()
        what, time, score = _promise(file)
        rows.append((name, lectures.get(name, file.parent.name), time, score, what))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    print(f"\nljx run {_shortest(root)}/EXPERIMENT --help")
    return 0


def _find() -> Path:
    here = Path.cwd()
    package = Path(__file__).resolve().parents[2]
    places = [folder / "experiments" for folder in (here, *here.parents, package)]
    for place in places:
        if any(place.glob("ch*/*.py")):
            return place
    raise ValueError(f"expected a folder experiments/ at or above {here}, got none.")


def _shortest(path: Path) -> str:
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()


def _promise(file: Path) -> tuple[str, str, str]:
    """What an experiment shows, its device and time, its score: the first line of its docstring.

    The last sentence is `device, time; score.`, as in "A layer solves XOR. CPU, 5 s; accuracy 1."
    """
    try:
        docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    except (SyntaxError, UnicodeDecodeError):
        return "(cannot be read)", "", ""
    paragraph = " ".join(docstring.partition("\n\n")[0].split()).rstrip(".")
    what, _, promise = paragraph.rpartition(". ")
    time, semicolon, score = promise.partition("; ")
    return (what, time, score) if semicolon else (paragraph, "", "")


def _lectures(readme: Path) -> dict[str, str]:
    """The lecture of each file, from the tables that have such a column."""
    if not readme.is_file():
        return {}
    lectures: dict[str, str] = {}
    column: int | None = None
    for line in readme.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        titles = [cell.lower() for cell in cells]
        if not line.lstrip().startswith("|"):
            column = None
        elif column is None:
            column = next((i for i, t in enumerate(titles) if t in ("lecture", "section")), None)
        elif column < len(cells):
            lecture = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", cells[column])
            for name in re.findall(r"\w+/\w+\.py", line):
                lectures.setdefault(name, lecture)
    return lectures
