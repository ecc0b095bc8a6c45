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


def test_no_scores_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one name"):
        report.scores_by_seed({}, tmp_path / "a.svg", label="accuracy")
