"""The first figure of each section of a page, for a page about several."""

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
        figure: its first, or None; the file is beside the other excerpts.
    """

    anchor: str
    figure: Figure | None


def excerpts(page: Path, folder: Path) -> dict[str, Excerpt]:
    """Returns what a page that `page` wrote shows first in each section, by the section's title.

    Args:
        page: the `.html` file.
        folder: where the figures go, as files that are named after the section's number.
    """
    text = page.read_text(encoding="utf-8")
    sections = {}
    for anchor, body in re.findall(SECTION, text, flags=re.DOTALL):
        heading = re.search(r"<h2>(.*?)</h2>", body)
        title = unescape(heading[1]) if heading else anchor
        sections[title] = Excerpt(anchor, _figure(body, folder / anchor))
    return sections


def _figure(body: str, stem: Path) -> Figure | None:
    """The first figure of a section, written to a file; None where there is none."""
    match = re.search(r"<figure.*?</figure>", body, flags=re.DOTALL)
    if match is None:
        return None
    caption = re.search(r"<figcaption>(.*?)</figcaption>", match[0], flags=re.DOTALL)
    text = unescape(caption[1]) if caption else ""
    stem.parent.mkdir(parents=True, exist_ok=True)
    if drawing := DRAWING.search(match[0]):
        file = stem.with_suffix(".svg")
        # A page gives its drawings a role and a description of its own.
        plain = re.sub(r'<svg role="img" aria-label="[^"]*"', "<svg", drawing[0], count=1)
        file.write_text(plain, encoding="utf-8")
        return Figure(file, text)
    if image := IMAGE.search(match[0]):
        file = stem.with_suffix(f".{image[1]}")
        file.write_bytes(b64decode(image[2]))
        return Figure(file, text)
    return None
