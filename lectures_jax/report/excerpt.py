"""The figures of each section of a page, for a page about several."""

import re
from base64 import b64decode
from html import unescape
from pathlib import Path
from typing import NamedTuple

from lectures_jax.report.page import Figure

SECTION = r'<section id="(section-\d+)">(.*?)</section>'
DRAWING = re.compile(r"<svg.*?</svg>", re.DOTALL)
IMAGE = re.compile(r'src="data:image/(\w+);base64,([^"]*)"')


class Excerpt(NamedTuple):
    """A section of a page.

    Attributes:
        anchor: its id, for a link.
        figures: its own, in their order; the files are beside the other excerpts.
    """

    anchor: str
    figures: tuple[Figure, ...]


def excerpts(page: Path, folder: Path) -> dict[str, Excerpt]:
    """Returns what a page that `page` wrote shows in each section, by the section's title.

    Of sections with the same title the first one counts.

    Args:
        page: the `.html` file.
        folder: where the figures go, as files with the numbers of section and figure.
    """
    text = page.read_text(encoding="utf-8")
    sections = {}
    for anchor, body in re.findall(SECTION, text, flags=re.DOTALL):
        heading = re.search(r"<h2>(.*?)</h2>", body)
        title = unescape(heading[1]) if heading else anchor
        blocks = re.findall(r"<figure.*?</figure>", body, flags=re.DOTALL)
        figures = (_figure(block, folder / f"{anchor}-{n}") for n, block in enumerate(blocks, 1))
        sections.setdefault(title, Excerpt(anchor, tuple(filter(None, figures))))
    return sections


def _figure(block: str, stem: Path) -> Figure | None:
    """A figure of a page, written to a file; None where it is of another kind, such as a video."""
    caption = re.search(r"<figcaption>(.*?)</figcaption>", block, flags=re.DOTALL)
    text = unescape(caption[1]) if caption else ""
    stem.parent.mkdir(parents=True, exist_ok=True)
    if drawing := DRAWING.search(block):
        file = stem.with_suffix(".svg")
        # A page gives its drawings a role and a description of its own.
        plain = re.sub(r'<svg role="img" aria-label="[^"]*"', "<svg", drawing[0], count=1)
        file.write_text(plain, encoding="utf-8")
        return Figure(file, text)
    if image := IMAGE.search(block):
        file = stem.with_suffix(f".{image[1]}")
        file.write_bytes(b64decode(image[2]))
        return Figure(file, text)
    return None
