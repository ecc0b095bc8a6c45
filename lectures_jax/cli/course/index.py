"""The page of the whole course: each row of its table with what was measured, and its figure."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from lectures_jax.cli.course.state import Place
from lectures_jax.cli.expected import bound
from lectures_jax.cli.table import experiments_of, plain, read_rows
from lectures_jax.report.excerpt import Excerpt, excerpts
from lectures_jax.report.page import Cell, Figure, Section, Table

MOST = 3
"""Figures of one section of a report that the page shows."""

HEADER = ("remark", "functions", "score in the table", "this run", "report")


def write_index(
    root: Path, places: Mapping[str, Place], seconds: Mapping[str, float], path: Path
) -> None:
    """Writes the page, from whatever is done.

    Args:
        root: the folder of experiments, whose README.md has the course's table.
        places: the experiments by name, in the order of the course.
        seconds: how long each has run.
        path: the `.html` file to write, beside the folders of the runs.
    """
    from lectures_jax import report, runtime

    with tempfile.TemporaryDirectory() as folder:
        pages = {
            name: excerpts(page, Path(folder) / place.file.stem)
            for name, place in places.items()
            if place.done() and (page := place.folder / "report.html").is_file()
        }
        sections = [_overview(places, seconds), *_sections(root, places, pages)]
        report.page(
            path,
            title="The course, measured",
            summary="One row for each definition and each remark, with its number and its figure. "
            "Red: a bound that is missed, or an experiment that has no result.",
            numbers=_counts(places, seconds),
            sections=sections,
            footer=runtime.environment(),
        )


def _counts(places: Mapping[str, Place], seconds: Mapping[str, float]) -> dict[str, object]:
    """How far the course is, for the head of the page."""
    checked = [place for place in places.values() if place.done() and not place.quick]
    bounds = sum(len(place.summary.expected) for place in checked)
    missed = sum(len(place.missed()) for place in checked)
    return {
        "experiments done": f"{sum(p.done() for p in places.values())} of {len(places)}",
        "bounds kept": f"{bounds - missed} of {bounds}",
        "minutes of all processes": round(sum(seconds.values()) / 60, 1),
    }


def _overview(places: Mapping[str, Place], seconds: Mapping[str, float]) -> Section:
    rows = []
    for name, place in places.items():
        took = f"{seconds[name] / 60:.1f}" if name in seconds else "–"
        rows.append((_link(place), _state(place), place.summary.cost, took))
    return Section(
        "Experiments",
        "The time that the file states is of a machine that has nothing else to do; here several "
        "ran side by side.",
        table=Table(("experiment", "state", "stated", "minutes here"), rows),
    )


def _state(place: Place) -> Cell:
    if not place.done():
        return Cell(f"no result: {place.failure() or 'not run yet'}", alert=True)
    if place.quick:
        return Cell("runs, at the smallest sizes: not measured")
    missed = place.missed()
    return Cell(f"missed {', '.join(sorted(missed))}" if missed else "kept", alert=bool(missed))


def _link(place: Place, anchor: str = "") -> Cell:
    page = f"{place.folder.name}/report.html"
    if not place.done():
        return Cell(place.file.stem, alert=True)
    return Cell(place.file.stem, f"{page}#{anchor}" if anchor else page)


def _sections(
    root: Path, places: Mapping[str, Place], pages: Mapping[str, Mapping[str, Excerpt]]
) -> list[Section]:
    """The rows of each section of the course, and their figures."""
    tables: dict[str, list[tuple[object, ...]]] = {}
    figures: dict[str, list[Figure]] = {}
    given: set[str] = set()
    for row in read_rows(root / "README.md"):
        title, _, remark = plain(row.get("section", "")).partition(": ")
        names = [name for name in experiments_of(row) if name in places]
        shown = _excerpts(row, [pages.get(name, {}) for name in names])
        numbers = [cell for name in names if name not in given for cell in _numbers(places[name])]
        given |= set(names)
        anchor = shown[0].anchor if shown else ""
        cells = (
            remark or title.partition(" ")[2],
            plain(row.get("function", "")),
            plain(row.get("measured score", "")),
            numbers,
            [_link(places[name], anchor if i == 0 else "") for i, name in enumerate(names)],
        )
        tables.setdefault(title, []).append(cells)
        there = figures.setdefault(title, [])
        for figure in (figure for excerpt in shown for figure in excerpt.figures[:MOST]):
            if figure.source not in [other.source for other in there]:  # of another row here
                there.append(Figure(figure.source, f"{_sentence(str(cells[0]))}. {figure.caption}"))
    return [
        Section(title, figures=figures.get(title, ()), table=Table(HEADER, rows))
        for title, rows in tables.items()
    ]


def _sentence(text: str) -> str:
    """With a capital letter first, unless it is a symbol: σ is not Σ."""
    return f"{text[:1].upper()}{text[1:]}" if text[:1].isascii() else text


def _excerpts(row: Mapping[str, str], pages: list[Mapping[str, Excerpt]]) -> list[Excerpt]:
    """The sections that the row's column of figures names, in the report of its experiment."""
    titles = plain(row.get("figure", "")).split("; ")
    return [page[title] for title in titles for page in pages if title in page]


def _numbers(place: Place) -> list[Cell]:
    """The numbers that have bounds, each beside them."""
    numbers, missed = place.numbers(), place.missed()
    cells = []
    for name, (low, high) in place.summary.expected.items():
        if name in numbers:
            value = "not finite" if numbers[name] is None else f"{numbers[name]:.4g}"
            text = (
                f"{name.replace('_', ' ')} {value} ({'quick' if place.quick else bound(low, high)})"
            )
            cells.append(Cell(text, alert=name in missed))
    return cells
