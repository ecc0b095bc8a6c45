import pytest

from lectures_jax import report
from lectures_jax.report.theme import PALETTE

RUNS = {
    "plain": [{"step": 1, "loss": 3.0, "data_wait": 0.1}, {"step": 2, "loss": 2.0, "mAP50": 0.5}],
    "_$deep$": [{"step": 2, "loss": 1.0}],
}


def test_each_metric_is_a_figure_and_each_run_a_line_of_its_color(tmp_path):
    section = report.compared_curves(RUNS, tmp_path)
    loss, score = (figure.source.read_text() for figure in section.figures)
    assert "<!-- plain  2 -->" in loss
    assert "deep" in loss
    assert PALETTE[0] in loss
    assert PALETTE[1] in loss
    assert "<!-- plain  0.5 -->" in score
    assert PALETTE[1] not in score


def test_training_and_evaluation_share_a_figure(tmp_path):
    rows = [{"step": i, "evaluation_loss": 1.5, "loss": 1.0, "test_error": 0.5} for i in (1, 2)]
    section = report.compared_curves({"plain": rows, "deep": rows[:1]}, tmp_path)
    loss, error = (figure.source.read_text() for figure in section.figures)
    for label in ("plain  1", "plain, evaluation_loss  1.5", "deep, evaluation_loss  1.5"):
        assert f"<!-- {label} -->" in loss
    assert "stroke-dasharray" in loss
    assert "<!-- plain  0.5 -->" in error
    assert "dashed: evaluation_loss" in section.figures[0].caption


def test_results_have_a_column_for_each_run():
    section = report.compared_results({"a": {"loss": 1.0}, "b": {"loss": 2.0, "mAP50": 0.5}})
    assert section.table.header == ("result", "a", "b")
    assert section.table.rows == [["loss", 1.0, 2.0], ["mAP50", None, 0.5]]


@pytest.mark.parametrize("other", [{"seed": 1, "steps": 2}, {"steps": 2}])
def test_only_settings_that_differ_are_listed(other):
    section = report.compared_settings({"a": {"seed": 0, "steps": 2}, "b": other})
    assert section.table.rows == [["seed", 0, other.get("seed")]]
    same = report.compared_settings({"a": other, "b": other})
    assert same.table is None
    assert "same" in same.text
