"""`ljx list`: the course's experiments, as their docstrings and experiments/README.md tell."""

import shutil
import textwrap
from pathlib import Path

from lectures_jax.cli.experiments import experiment_files, experiments_folder
from lectures_jax.cli.table import experiments_of, plain, read_rows, read_summary

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
        summary = read_summary(file)
        title = f"{name.removesuffix('.py')}  {sections.get(name, '')}".rstrip()
        about = f"{summary.statement}. {summary.cost}".removesuffix(". ") + "."
        print(textwrap.fill(title, width, subsequent_indent=INDENT))
        for line in filter(None, (about, summary.score)):
            print(textwrap.fill(line, width, initial_indent=INDENT, subsequent_indent=INDENT))
    print("\nljx run EXPERIMENT --help")
    return 0


def _sections(readme: Path) -> dict[str, str]:
    """The course's section of each file, from the tables that have such a column."""
    sections: dict[str, str] = {}
    for row in read_rows(readme):
        section = row.get("section", row.get("lecture"))
        if section is not None:
            for name in experiments_of(row):
                sections.setdefault(name, plain(section))
    return sections
