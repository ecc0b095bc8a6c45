import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from lectures_jax import report
from lectures_jax.report.excerpt import excerpts
from lectures_jax.report.page import Cell, Figure, Section, Table
from tests.report.conftest import HOSTILE

WIDTHS = (400, 1400)
THEMES = ("light", "dark")

# The contrast of each text with the ground it stands on, by the formula of WCAG 2.
CONTRAST = """
const luminance = color => {
  const [r, g, b] = color.match(/[\\d.]+/g).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = e => {
  while (e && getComputedStyle(e).backgroundColor === 'rgba(0, 0, 0, 0)') e = e.parentElement;
  return getComputedStyle(e || document.body).backgroundColor;
};
const ratio = (e, color) => {
  const [low, high] = [luminance(color), luminance(ground(e))].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
};
const own = e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
const words = [...document.querySelectorAll('body *')].filter(e => !e.closest('svg') && own(e))
  .map(e => [e.textContent, ratio(e, getComputedStyle(e).color)]);
const drawn = [...document.querySelectorAll('svg g[id*="-text_"] use')]
  .map(e => ['plot ' + e.closest('[id*="-text_"]').id, ratio(e, getComputedStyle(e).fill)]);
return [words, drawn];
"""


def show(driver, page, *, width, theme):
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(page.as_uri())


def test_every_image_loads(driver, page):
    show(driver, page, width=1400, theme="light")
    widths = driver.execute_script(
        "return [...document.images].map(i => [i.complete, i.naturalWidth])"
    )
    assert widths == [[True, 500], [True, 8], [True, 3000]]


def test_the_console_is_silent_and_nothing_is_requested(driver, page):
    driver.get("about:blank")
    for kind in ("browser", "performance"):
        driver.get_log(kind)
    show(driver, page, width=1400, theme="light")
    assert driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [url for url in urls if not url.startswith("data:image/")] == [page.as_uri()]


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(driver, page, width):
    show(driver, page, width=width, theme="light")
    driver.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    root = "document.documentElement"
    scroll, client = driver.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]")
    assert scroll <= client
    outside = driver.execute_script(
        "return [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, svg')"
        " && e.getBoundingClientRect().right > innerWidth).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []


def test_a_wide_table_scrolls_by_itself(driver, page):
    show(driver, page, width=400, theme="light")
    scrolls = driver.execute_script(
        "return [...document.querySelectorAll('.scroll')].map(e => e.scrollWidth > e.clientWidth)"
    )
    assert scrolls[0]


@pytest.mark.parametrize("theme", THEMES)
def test_text_stands_out_from_its_ground(driver, page, theme):
    show(driver, page, width=1400, theme=theme)
    words, drawn = driver.execute_script(CONTRAST)
    assert len(words) > 40
    assert len(drawn) > 100
    assert [pair for pair in words + drawn if pair[1] < 4.5] == []


def test_light_and_dark_differ(driver, page):
    grounds = []
    for theme in THEMES:
        show(driver, page, width=400, theme=theme)
        grounds.append(
            driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        )
    assert grounds[0] != grounds[1]


def test_names_stay_text(driver, page):
    show(driver, page, width=1400, theme="light")
    assert driver.title == HOSTILE
    assert driver.execute_script("return document.scripts.length") == 0
    assert driver.execute_script("return document.images[0].alt") == HOSTILE


class Ids(HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.ids += [value for name, value in attributes if name == "id"]


def test_ids_are_unique_and_references_lead_to_them(page):
    text = page.read_text()
    parser = Ids()
    parser.feed(text)
    assert len(parser.ids) == len(set(parser.ids))
    references = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
    assert {a or b for a, b in references} <= set(parser.ids)
    assert "script" not in parser.tags


def test_every_image_and_plot_has_a_description(page):
    text = page.read_text()
    assert all('alt="' in tag for tag in re.findall(r"<img[^>]*>", text))
    assert all('aria-label="' in tag for tag in re.findall(r"<svg[^>]*>", text))


def test_a_photograph_is_compressed(tmp_path):
    image = np.random.default_rng(0).uniform(size=(600, 800, 3)).astype(np.float32)
    smooth = image * 0.05 + np.linspace(0, 0.9, 800, dtype=np.float32)[None, :, None]
    section = Section("Images", figures=[Figure(smooth)] * 10)
    report.page(tmp_path / "a.html", title="a", sections=[section])
    assert (tmp_path / "a.html").stat().st_size < 5e6


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1234567], ["1,234,567"]),
        ([0.5, 0.98765, 0.0], ["0.5000", "0.9877", "0.0000"]),
        ([1.0, 1e-9], ["1", "1e-09"]),
        ([26.046592, 0.08508], ["26.05", "0.08508"]),
        ([None, 3], ["–", "3"]),
        ([float("nan")], ["nan"]),
        ([True, 0.5], ["True", "0.5"]),
        ([np.float32(0.25), 1], ["0.2500", "1"]),
        ([(1, 2)], ["1, 2"]),
    ],
)
def test_numbers_are_rounded_and_lined_up(tmp_path, values, shown):
    table = Table(["name", "value"], [["row", value] for value in values])
    report.page(tmp_path / "a.html", title="a", sections=[Section("s", table=table)])
    assert re.findall(r"<td[^>]*>([^<]*)</td>", (tmp_path / "a.html").read_text()) == shown


def test_an_unknown_kind_of_file_raises(tmp_path):
    section = Section("s", figures=[Figure(tmp_path / "a.pdf")])
    with pytest.raises(ValueError, match=r"got 'a\.pdf'"):
        report.page(tmp_path / "a.html", title="a", sections=[section])


def test_a_row_with_too_few_cells_raises_and_leaves_the_page_as_it_was(tmp_path):
    (tmp_path / "a.html").write_text("before")
    section = Section("s", table=Table(["a", "b"], [[1]]))
    with pytest.raises(ValueError, match="2 cells, got"):
        report.page(tmp_path / "a.html", title="a", sections=[section])
    assert (tmp_path / "a.html").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def test_what_a_run_has_left_beside_its_page_is_linked(tmp_path):
    for name in ("model.safetensors", "metrics.jsonl", "config.json"):
        (tmp_path / name).touch()
    report.page(tmp_path / "report.html", title="T", sections=[])
    text = (tmp_path / "report.html").read_text()
    links = re.findall(r'<p class="files">(.*)</p>', text)[0]
    assert re.findall(r'href="([^"]*)"', links) == [
        *("model.safetensors", "metrics.json", "metrics.jsonl", "config.json"),
    ]
    (tmp_path / "elsewhere").mkdir()
    report.page(tmp_path / "elsewhere" / "report.html", title="T", sections=[])
    assert '"files"' not in (tmp_path / "elsewhere" / "report.html").read_text()


def test_a_cell_links_and_warns_and_is_escaped(tmp_path):
    cells = [Cell("a & b", "x/report.html#section-1"), Cell("<red>", alert=True), "plain"]
    table = Table(("name", "cells"), [["row", cells], ["alone", Cell("c")]])
    report.page(tmp_path / "p.html", title="t", sections=[Section("s", table=table)])
    text = (tmp_path / "p.html").read_text()
    link = '<a href="x/report.html#section-1">a &amp; b</a>'
    assert f"<td>{link}, <strong class=alert>&lt;red&gt;</strong>, plain</td>" in text
    assert "<td>c</td>" in text


def test_excerpts_are_the_figures_of_the_sections(page, tmp_path):
    pieces = excerpts(page, tmp_path / "figures")
    assert list(pieces) == ["Plots", HOSTILE, "Wide", "Names", "Configuration"]
    assert [piece.anchor for piece in pieces.values()] == [f"section-{i}" for i in range(5)]
    assert [len(piece.figures) for piece in pieces.values()] == [3, 3, 0, 0, 0]
    plot, image = pieces["Plots"].figures[0], pieces[HOSTILE].figures[0]
    assert (plot.source.suffix, image.caption) == (".svg", HOSTILE)
    with Image.open(image.source) as opened:
        assert opened.size == (500, 300)
    # Shown again, the drawing has one description and ids of its own.
    sections = [Section("again", figures=[plot, plot])]
    report.page(tmp_path / "again.html", title="t", sections=sections)
    text = (tmp_path / "again.html").read_text()
    assert text.count("aria-label=") == 1 + len(sections[0].figures)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_of_two_sections_with_one_title_the_first_is_the_excerpt(tmp_path):
    image = np.zeros((2, 2), np.uint8)
    sections = [Section("s", figures=[Figure(image, "first")]), Section("s")]
    report.page(tmp_path / "p.html", title="t", sections=sections)
    piece = excerpts(tmp_path / "p.html", tmp_path)["s"]
    assert (piece.anchor, piece.figures[0].caption) == ("section-0", "first")
