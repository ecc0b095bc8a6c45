import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lectures_jax import report
from lectures_jax.report.theme import DARK, INK, PALETTE, font_for


def lines(path: Path, color: str) -> list[str]:
    """The drawn lines of one color: their path commands."""
    drawn = re.findall(r'<path d="([^"]*)"[^>]*style="([^"]*)"', path.read_text())
    return [d for d, style in drawn if "fill: none" in style and f"stroke: {color}" in style]


def history(losses):
    return [{"step": i, "loss": loss} for i, loss in enumerate(losses)]


def test_nan_and_infinity_leave_a_gap(tmp_path):
    losses = np.linspace(9, 1, 100)
    report.curves(history(losses), tmp_path / "whole.svg")
    losses[40] = np.nan
    losses[70] = np.inf
    report.curves(history(losses), tmp_path / "gaps.svg")
    whole, gaps = (
        max(lines(tmp_path / f"{n}.svg", PALETTE[0]), key=len) for n in ("whole", "gaps")
    )
    assert whole.count("M") == 1
    assert gaps.count("M") == 3


def test_a_score_measured_at_few_steps_is_one_line_through_them(tmp_path):
    rows = [{"step": i, "loss": 1.0} | ({"score": 0.5} if i % 50 == 0 else {}) for i in range(200)]
    report.curves(rows, tmp_path / "a.svg", panels=[["loss", "score"]])
    line = max(lines(tmp_path / "a.svg", PALETTE[1]), key=len)
    assert (line.count("M"), line.count("L")) == (1, 3)


def test_all_nan_or_null_values_still_draw(tmp_path):
    report.curves(history([np.nan, None, np.nan]), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0


def test_the_same_history_gives_the_same_file(tmp_path):
    for name in ("a.svg", "b.svg"):
        report.curves(history([2.0, 1.0]), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_an_svg_repaints_its_ink_in_the_dark(tmp_path):
    report.curves(history([2.0, 1.0]), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert "prefers-color-scheme: dark" in text
    assert f'[style*="fill: {INK}"]{{fill:{DARK[INK]}!important}}' in text
    assert f"fill: {INK}" in text.partition("</style>")[2]


@pytest.mark.parametrize(
    ("rows", "panels", "message"),
    [
        ([], None, "at least one row, got none"),
        ([{"loss": 1.0}], None, "row 0 has none"),
        ([{"step": 1}], None, 'besides "step"'),
        ([{"step": 1, "loss": 1.0}], [["los"]], "got 'los'"),
    ],
)
def test_a_history_that_cannot_be_drawn_raises(tmp_path, rows, panels, message):
    with pytest.raises(ValueError, match=message):
        report.curves(rows, tmp_path / "a.svg", panels=panels)
    assert not list(tmp_path.iterdir())


def test_a_loss_and_its_evaluation_share_a_panel(tmp_path):
    rows = [{"step": 1, "test_loss": 1.0, "accuracy": 0.5, "loss": 2.0, "score": 1.0}]
    report.curves(rows, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text().count('id="axes_') == 3


def test_long_names_stay_within_the_figure(tmp_path):
    names = ["discriminator_learning_rate", "generator_learning_rate", "short", "loss"]
    rows = [{"step": i} | dict.fromkeys(names, 0.001234 * i) for i in range(3)]
    for panel in (names[:2], names[:3], names, names[2:]):
        report.curves(rows, tmp_path / "a.png", panels=[panel])
        image = np.asarray(Image.open(tmp_path / "a.png").convert("L"), float)
        assert np.ptp(image[:, -3:]) == 0  # the background's one color


def test_names_are_no_formulas(tmp_path):
    report.curves([{"step": 1, "_a$b$<script>": 1.0}], tmp_path / "a.svg")
    assert "<script" not in (tmp_path / "a.svg").read_text()


def test_average_precision_is_the_mean_of_the_curve(tmp_path):
    curves = {"cat": np.full(101, 0.25), "dog": np.full(101, 0.75), "none": np.full(101, -1.0)}
    report.precision_recall_curves(curves, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    # Matplotlib keeps the text of a label as a comment beside its outlines.
    assert "<!-- cat  0.250 -->" in text
    assert "<!-- mean  0.500 -->" in text
    assert "none" not in re.sub(r"(fill|stroke): none", "", text).replace("<!-- none", "NONE")


def test_many_classes_name_the_five_lowest(tmp_path):
    curves = {f"c{i}": np.full(11, 1 - i / 100) for i in range(80)}
    report.precision_recall_curves(curves, tmp_path / "a.svg")
    named = re.findall(r"<!-- (c\d+)  ", (tmp_path / "a.svg").read_text())
    assert sorted(named) == ["c75", "c76", "c77", "c78", "c79"]


@pytest.mark.parametrize(
    "curves", [{}, {"cat": np.full(11, -1.0)}, {"cat": np.ones(11), "dog": np.ones(101)}]
)
def test_curves_that_cannot_be_compared_raise(tmp_path, curves):
    with pytest.raises(ValueError, match="curves must have"):
        report.precision_recall_curves(curves, tmp_path / "a.svg")


def test_names_in_any_script_can_be_read(tmp_path):
    rows = [{"step": 1, "loss": 1.0, "猫の数": 2.0, "точность": 0.5, "ภาษา": 1.5}]
    report.curves(rows, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "猫の数" in text
    if not font_for("猫の数"):
        assert re.search(r"<text[^>]*>猫の数  2</text>", text)  # for the reader's own fonts
    report.curves(rows, tmp_path / "a.png")
    report.curves([{"step": 1, "loss": 1.0, "точность": 0.5}], tmp_path / "b.svg")
    assert "<text" not in (tmp_path / "b.svg").read_text()
