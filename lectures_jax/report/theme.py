"""The look of every plot: one palette, and SVG files that follow a light or dark theme."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.text import Text

PALETTE = (
    "#2f80ed",
    "#e8590c",
    "#2b9348",
    "#a855f7",
    "#8d8a1b",
    "#d6409f",
    "#0e9aa7",
    "#e03131",
    "#b07040",
    "#6b7fa3",
)
"""Colors of the data. Each has a contrast of 3 or more on the white and on the dark page."""

INK, MUTED, GRID, PAPER = "#1f2530", "#5a6372", "#e1e4ea", "#fefeff"
DARK = {INK: "#e7eaf0", MUTED: "#a4adbb", GRID: "#323945", PAPER: "#1b1f27"}
"""The colors of text, lines and background on a dark page."""

WIDTH = 440 / 96
"""Width of a plot in inches: 440 CSS pixels, so that its text stays readable on a telephone."""

FALLBACKS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC"),
    *("WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "IPAexGothic", "Malgun Gothic"),
    *("PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Arial Unicode MS"),
)
"""Fonts for scripts that DejaVu lacks, of which those are used that are installed."""

_STYLE: dict[Any, Any] = {
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=PALETTE),
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.5,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.borderpad": 0,
    "legend.borderaxespad": 0.4,
    "legend.columnspacing": 1.4,
    "svg.hashsalt": "lectures_jax",
}


@cache
def font_files() -> tuple[str, ...]:
    """Returns the files of DejaVu, which comes with Matplotlib, and of what stands in for it."""
    known = {font.name: font.fname for font in fontManager.ttflist}
    names = ("DejaVu Sans", *(name for name in FALLBACKS if name in known))
    return tuple(findfont(name) for name in names)


def font_for(text: str) -> str | None:
    """Returns the first font file that has all characters of a text, or None.

    Args:
        text: to be drawn.
    """
    wanted = {ord(character) for character in text if not character.isspace()}
    return next((file for file in font_files() if wanted <= _characters(file)), None)


@cache
def _characters(file: str) -> frozenset[int]:
    return frozenset(get_font(file).get_charmap())


def color(index: int) -> str:
    """Returns the color of a class, the same in every plot and image."""
    return PALETTE[index % len(PALETTE)]


@contextmanager
def plot(
    path: Path, *, rows: int = 1, columns: int = 1, height: float = 3.0
) -> Iterator[list[Axes]]:
    """Gives axes row by row, with a common x axis in one column; writes the file on leaving.

    Args:
        path: file to write; an `.svg` carries both themes, other formats are light.
        rows: number of rows of axes.
        columns: number of columns of axes.
        height: height of the whole figure, in inches.
    """
    families: dict[Any, Any] = {"font.family": [get_font(f).family_name for f in font_files()]}
    with mpl.rc_context(_STYLE | families), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield list(figure.subplots(rows, columns, sharex=columns == 1, squeeze=False).flat)
        # Outlines look the same everywhere; a script without a font here is left to the reader's.
        texts = {text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)}
        drawn = all(font_for(character) for text in texts for character in set(text))
        outlines: dict[Any, Any] = {"svg.fonttype": "path" if drawn else "none"}
        with mpl.rc_context(outlines):
            _write(figure, Path(path))


def _write(figure: Figure, path: Path) -> None:
    if path.suffix != ".svg":
        figure.savefig(path, dpi=200, facecolor=PAPER)
        return
    # The file stays a plain SVG in light colors, which any program shows; a browser whose reader
    # prefers dark repaints the four colors that are not data.
    repaint = "".join(
        f'[style*="{what}: {light}"]{{{what}:{dark}!important}}'
        for light, dark in DARK.items()
        for what in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark){{{repaint}}}</style>"
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    head, tag, rest = text.getvalue().partition("<defs>")
    path.write_text(head + style + tag + rest, encoding="utf-8")
