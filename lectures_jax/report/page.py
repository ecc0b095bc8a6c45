"""One HTML file that shows a run: it opens from disk, needs no network and runs no script."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import count
from numbers import Integral, Real
from pathlib import Path

import numpy as np
from PIL import Image

from lectures_jax.report.images import encode, to_rgb
from lectures_jax.report.style import STYLE
from lectures_jax.runtime import atomic_write

_RASTER = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".gif": "gif"}
_FILES = {
    "model.safetensors": "model",
    "metrics.json": "results",
    "metrics.jsonl": "rows of the training",
    "config.json": "configuration",
    "predictions": "predictions",
}
"""What a run leaves beside its page, and the words of a link to it."""
_SMALL = 96  # pixels; narrower images are enlarged, each pixel a square


@dataclass(frozen=True)
class Figure:
    """A plot or an image.

    Attributes:
        source: an `.svg` (a plot, which follows the theme), another image file, or an array that
            is gray or RGB, uint8 or float in [0, 1].
        caption: one sentence under it.
        alt: a description for readers who do not see it; by default the caption.
    """

    source: Path | np.ndarray
    caption: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Cell:
    """A text in a table, or in a list of them.

    Attributes:
        text: what is shown.
        link: address that it leads to, relative to the page's folder.
        alert: whether it is shown in red.
    """

    text: str
    link: str = ""
    alert: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under a header. Numbers are set to the right, with four significant digits."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Section:
    """A title, one sentence that describes what follows, then figures, then a table.

    Attributes:
        title: of the section and its entry in the table of contents.
        text: its paragraphs, separated by blank lines.
        figures: side by side, where there is room.
        table: below the figures.
        folded: shows only the title until it is clicked.
    """

    title: str
    text: str = ""
    figures: Sequence[Figure] = ()
    table: Table | None = None
    folded: bool = False


def page(
    path: Path,
    *,
    title: str,
    sections: Sequence[Section],
    summary: str = "",
    numbers: Mapping[str, object] | None = None,
    footer: Mapping[str, object] | None = None,
) -> None:
    """Writes a page that holds everything inline and follows the reader's light or dark theme.

    What a run has left beside it (model, rows, results, configuration, predictions) is linked.

    Args:
        path: the `.html` file to write.
        title: of the page.
        sections: in order.
        summary: one sentence under the title.
        numbers: the results to read first, by name.
        footer: versions, device and revision, as `runtime.environment` gives them.

    Raises:
        ValueError: if a figure is neither a known kind of file nor an image.
    """
    fresh = count(1)
    body = "\n".join(_section(section, i, fresh) for i, section in enumerate(sections))
    links = "".join(
        f'<li><a href="#section-{i}">{escape(section.title)}</a></li>'
        for i, section in enumerate(sections)
    )
    # The policy forbids what the page does without: scripts, and any request.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
{f'<p class="lead">{escape(summary)}</p>' if summary else ""}
{_definitions(numbers, name="numbers") if numbers else ""}
{_links(Path(path).parent)}
</header>
<nav aria-label="Contents"><ol>{links}</ol></nav>
<main>
{body}
</main>
<footer>{_definitions(_flat(footer), name="versions") if footer else ""}</footer>
</body>
</html>
"""
    with atomic_write(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _links(folder: Path) -> str:
    """Links to what lies beside the page; its results are written after a run's page."""
    there = {name for name in _FILES if (folder / name).exists()}
    if "config.json" in there:
        there.add("metrics.json")
    links = [f'<a href="{name}">{word}</a>' for name, word in _FILES.items() if name in there]
    return f'<p class="files">Files: {", ".join(links)}</p>' if links else ""


def _section(section: Section, index: int, fresh: count) -> str:
    heading = f"<h2>{escape(section.title)}</h2>"
    content = "".join(f"<p>{escape(p)}</p>" for p in section.text.split("\n\n") if p.strip())
    if section.figures:
        figures = "\n".join(_figure(figure, next(fresh)) for figure in section.figures)
        content += f'<div class="figures">\n{figures}\n</div>'
    if section.table:
        content += _table(section.table, label=section.title)
    if section.folded:
        content = f"<details><summary>{heading}</summary>{content}</details>"
    else:
        content = heading + content
    return f'<section id="section-{index}">{content}</section>'


def _figure(figure: Figure, number: int) -> str:
    alt = escape(figure.alt or figure.caption)
    caption = f"<figcaption>{escape(figure.caption)}</figcaption>" if figure.caption else ""
    if isinstance(figure.source, Path) and figure.source.suffix == ".svg":
        drawing = _inline_svg(figure.source.read_text(encoding="utf-8"), alt=alt, number=number)
        return f'<figure class="plot">{drawing}{caption}</figure>'
    kind, data, (width, height) = _image(figure.source)
    factor = max(1, round(_SMALL / width))
    source = f"data:{kind};base64,{b64encode(data).decode()}"
    return (
        f'<figure style="width:{width * factor}px"><img src="{source}" alt="{alt}" '
        f'width="{width}" height="{height}"{" class=pixels" if factor > 1 else ""}>'
        f"{caption}</figure>"
    )


def _image(source: Path | np.ndarray) -> tuple[str, bytes, tuple[int, int]]:
    """Media type, bytes, and width and height."""
    if not isinstance(source, Path):
        height, width, _ = to_rgb(source).shape
        return *encode(source), (width, height)
    if source.suffix.lower() not in _RASTER:
        raise ValueError(f"source must be .svg or one of {sorted(_RASTER)}, got {source.name!r}.")
    with Image.open(source) as image:
        size = image.size
    return f"image/{_RASTER[source.suffix.lower()]}", source.read_bytes(), size


def _inline_svg(text: str, *, alt: str, number: int) -> str:
    """The drawing as a part of the page; its ids get a prefix, since those of a page are unique."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1f{number}-", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{alt}"', 1)


def _table(table: Table, *, label: str) -> str:
    if ragged := [row for row in table.rows if len(row) != len(table.header)]:
        raise ValueError(f"rows must have {len(table.header)} cells, got {list(ragged[0])}.")
    columns = [_column([row[i] for row in table.rows]) for i in range(len(table.header))]
    header = "".join(
        f'<th scope="col"{align}>{escape(name)}</th>'
        for name, (align, _) in zip(table.header, columns, strict=True)
    )
    rows = ""
    for cells in zip(*(cells for _, cells in columns), strict=True):
        row = "".join(
            f"<td{align}>{cell}</td>" for cell, (align, _) in zip(cells, columns, strict=True)
        )
        first = f'<th scope="row"{columns[0][0]}>{cells[0]}</th>'
        rows += f"<tr>{first}{row.partition('</td>')[2]}</tr>"
    # A box that scrolls must be reachable by keyboard, and so have a name.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">'
        f"<table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _column(values: Sequence[object]) -> tuple[str, list[str]]:
    """The attribute that aligns a column, and its cells; shares and scores get four decimals."""
    if not all(value is None or _is_number(value) for value in values):
        return "", [_value(value) for value in values]
    reals = [float(v) for v in values if isinstance(v, Real) and not isinstance(v, Integral)]
    shares = bool(reals) and all(v == 0 or 1e-3 <= abs(v) <= 1 for v in reals)
    cells = [f"{v:.4f}" if shares and v in reals else _value(v) for v in values]
    return ' class="number"', cells


def _definitions(items: Mapping[str, object], *, name: str) -> str:
    pairs = (
        f"<div><dt>{escape(k.replace('_', ' '))}</dt><dd>{_value(v)}</dd></div>"
        for k, v in items.items()
    )
    return f'<dl class="{name}">{"".join(pairs)}</dl>'


def _flat(items: Mapping[str, object]) -> dict[str, object]:
    """Inner mappings, such as the versions, join the outer one."""
    flat: dict[str, object] = {}
    for name, value in items.items():
        flat |= _flat(value) if isinstance(value, Mapping) else {name: value}
    return flat


def _value(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, Integral) and _is_number(value):
        return f"{int(value):,}"
    if isinstance(value, Real) and _is_number(value):
        return f"{float(value):.4g}"
    if isinstance(value, Cell):
        return _cell(value)
    parts = value if isinstance(value, list | tuple) else [value]
    return ", ".join(_cell(p) if isinstance(p, Cell) else escape(str(p)) for p in parts)


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    if cell.link:
        text = f'<a href="{escape(cell.link)}">{text}</a>'
    return f"<strong class=alert>{text}</strong>" if cell.alert else text


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
