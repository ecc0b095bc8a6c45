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


def test_training_and_evaluation_share_an_axis(tmp_path):
    rows = [{"step": i, "loss": 1.0, "accuracy": 0.5, "test_accuracy": 0.25} for i in (1, 2)]
    section = report.training(
        rows, tmp_path, losses=[["loss"], ["accuracy"]], scores=[["test_accuracy"]]
    )
    (figure,) = section.figures
    text = figure.source.read_text()
    assert text.count('id="axes_') == 2
    assert "<!-- test_accuracy  0.25 -->" in text
    assert figure.caption == "By step: loss, accuracy and test_accuracy."
    assert "test_accuracy is measured on data that is not trained on" in section.text


@pytest.mark.parametrize("scores", [[], [["grad_norm"]]])
def test_rate_and_gradient_have_a_figure_and_a_caption_of_their_own(tmp_path, scores):
    rows = [{"step": i, "loss": 1.0, "grad_norm": 2.0, "learning_rate": 0.5} for i in (1, 2)]
    section = report.training(rows, tmp_path, losses=[["loss"]], scores=scores)
    captions = [figure.caption for figure in section.figures]
    assert captions == ["By step: loss.", "Learning rate and norm of the gradient."]
    assert "learning_rate  0.5" in section.figures[1].source.read_text()
    assert "not trained on" not in section.text


def test_a_loss_on_held_out_data_is_drawn_on_the_axes_of_the_loss(tmp_path):
    rows = [{"step": i, "loss": 1.0, "held_out": 1.5} for i in (1, 2)]
    section = report.training(rows, tmp_path, losses=[["loss"]], scores=[["held_out"]])
    assert [figure.caption for figure in section.figures] == ["By step: loss and held_out."]


def test_an_evaluation_of_a_loss_is_drawn_beside_it_without_being_named(tmp_path):
    rows = [{"step": i, "loss": 1.0, "evaluation_loss": 1.5, "nats": 2.0} for i in (1, 2)]
    section = report.training(rows, tmp_path, losses=[["nats"], ["loss"]], scores=[])
    (figure,) = section.figures
    assert figure.caption == "By step: nats, loss and evaluation_loss."
    assert figure.source.read_text().count('id="axes_') == 2
    assert "evaluation_loss is measured on data that is not trained on" in section.text


def test_a_score_of_no_training_metric_has_a_figure(tmp_path):
    section = report.training(HISTORY, tmp_path, losses=[["loss"]], scores=[["mAP50"]])
    assert section.figures[1].caption == "On data that is not trained on: mAP50."


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
