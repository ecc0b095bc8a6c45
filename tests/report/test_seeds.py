import re

import numpy as np
import pytest

from lectures_jax import report
from lectures_jax.report.theme import PALETTE

SCORES = {"plain": np.array([0.90, 0.92, 0.91]), "more data": np.array([0.98, 0.97])}


def test_each_seed_is_one_dot(tmp_path):
    report.scores_by_seed(SCORES, tmp_path / "a.svg", label="accuracy")
    dots = re.findall(rf"<use [^>]*stroke: {PALETTE[0]}", (tmp_path / "a.svg").read_text())
    assert len(dots) == 3 + 2


def test_one_seed_has_a_dot_and_no_deviation(tmp_path):
    report.scores_by_seed({"plain": np.array([0.9])}, tmp_path / "a.svg", label="accuracy")
    assert (tmp_path / "a.svg").stat().st_size > 1000


def test_one_seed_has_no_deviation_and_decides_nothing():
    assert report.mean_and_deviation([0.5], digits=2) == "0.50"
    assert report.mean_and_deviation(np.array([0.4, 0.6]), digits=2) == "0.50 ± 0.14"
    sentence = report.best_by_seeds({"plain": [0.5], "more": [0.9]}, than="plain")
    assert sentence.startswith("One seed has no spread")


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ({"more": [0.9, 0.91]}, "Beyond the spread of the seeds, better than 'plain': more."),
        ({"less": [0.1, 0.11]}, "Beyond the spread of the seeds, worse than 'plain': less."),
        ({"same": [0.5, 0.51]}, "Nothing differs from 'plain'"),
        ({"same": [0.5, 0.52]}, "Nothing differs from 'plain'"),
        (
            {"more": [0.9, 0.9], "less": [0.1, 0.1], "same": [0.5, 0.53]},
            "better than 'plain': more; worse than 'plain': less. The",
        ),
        ({"more": [0.9, 0.9], "same": [0.5, 0.53]}, "more. The others do not differ so far."),
    ],
)
def test_a_conclusion_follows_from_means_and_spread(scores, sentence):
    assert sentence in report.best_by_seeds({"plain": [0.5, 0.51], **scores}, than="plain")


def test_no_scores_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one name"):
        report.scores_by_seed({}, tmp_path / "a.svg", label="accuracy")
