import pytest

from lectures_jax import report

HISTORY = [
    {"step": 10, "loss": 4.0, "steps_per_second": 5.0, "data_wait": 0.1},
    {"step": 30, "loss": 2.0, "mAP50": 0.5, "steps_per_second": 10.0, "data_wait": 0.3},
    {"step": 40, "loss": 1.0, "mAP50": 0.75, "steps_per_second": 2.0, "data_wait": 0.2},
]


def test_losses_and_scores_have_a_figure_each(tmp_path):
    section = report.training(HISTORY, tmp_path, losses=[["loss"]], scores=[["mAP50"]])
    texts = [figure.source.read_text() for figure in section.figures]
    assert "<!-- loss  1 -->" in texts[0]
    assert "<!-- mAP50  0.75 -->" in texts[1]
    assert "mAP50" not in texts[0]


def test_timing_by_hand():
    rows = dict(report.timing(HISTORY, batch_size=8).table.rows)
    assert rows["steps per second, median"] == 5
    assert rows["examples per second, median"] == 40
    # 10 steps at 5, 20 at 10 and 10 at 2 steps a second: 2 + 2 + 5 s.
    assert rows["minutes of training"] == pytest.approx(9 / 60)
    assert rows["share of the time spent waiting for data, mean"] == pytest.approx(0.2)


def test_timing_leaves_out_rows_that_were_not_timed():
    rows = dict(report.timing([{"step": 5}, *HISTORY[1:]], batch_size=1).table.rows)
    assert rows["steps per second, median"] == 6
    assert rows["share of the time spent waiting for data, mean"] == pytest.approx(0.25)


def test_the_configuration_is_folded_and_in_order():
    section = report.configuration({"steps": 4000, "root": None})
    assert section.folded
    assert section.table.rows == [("steps", "4000"), ("root", "None")]


def test_nested_settings_have_rows_of_their_own():
    section = report.configuration({"training": {"steps": 2, "size": {"stem": 4}}, "seed": 0})
    assert section.table.rows == [("steps", "2"), ("stem", "4"), ("seed", "0")]
