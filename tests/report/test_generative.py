import re

import numpy as np
import pytest

from lectures_jax import report
from lectures_jax.report.theme import INK, MUTED, PALETTE

RNG = np.random.default_rng(0)


def scores(value: float) -> dict[str, float]:
    return dict.fromkeys(report.SAMPLE_SCORES, value)


def test_scores_stand_beside_those_of_the_baselines():
    section = report.sample_scores({"this model": scores(2.0), "copies": scores(1.0)})
    assert section.table.header == ["score", "this model", "copies"]
    assert section.table.rows[0] == ["classifier-Fréchet", 2.0, 1.0]
    assert len(section.table.rows) == len(report.SAMPLE_SCORES)


def test_a_missing_score_is_an_error():
    with pytest.raises(KeyError, match="frechet"):
        report.sample_scores({"this model": {}})


def test_samples_and_real_images_are_two_sheets_of_the_same_columns():
    images = RNG.uniform(size=(8, 10, 10, 1)).astype(np.float32)
    section = report.samples(images, images[:4], columns=4, text="None is chosen.")
    drawn, real = (figure.source for figure in section.figures)
    assert drawn.shape[1] == real.shape[1]
    assert drawn.shape[0] > real.shape[0]
    assert section.text == "None is chosen."


def fills(path) -> list[str]:
    """The colors of the bars from left to right."""
    return re.findall(r"clip-path[^>]*style=\"fill: (#\w+)", path.read_text())


def test_each_class_has_a_bar_for_samples_and_one_for_real_images(tmp_path):
    path = tmp_path / "classes.svg"
    shares, labels = np.array([0.5, 0.5, 0.0]), np.array([0, 1, 2, 2])
    section = report.class_shares(shares, labels, path, classes=("a", "b", "long name"))
    assert section.figures[0].source == path
    assert fills(path).count(PALETTE[0]) == 3
    assert fills(path).count(MUTED) == 3


def test_bounds_of_the_likelihood_have_a_row_for_each_number_of_samples(tmp_path):
    values = {"importance-weighted": (1.0, 2.0), "naive": (-9.0, -5.0)}
    bounds = {
        name: [{"log_likelihood": v, "effective_samples": 1.0} for v in some]
        for name, some in values.items()
    }
    path = tmp_path / "likelihood.svg"
    section = report.likelihood_bounds(
        bounds, path, samples=(1, 8), exact={"PCA": -3.0}, text="Of test images."
    )
    assert section.table.rows[0] == ("importance-weighted", 1, 1.0, 1.0)
    assert section.table.rows[-1] == ("PCA", None, -3.0, None)
    assert len(section.table.rows) == 5
    text = path.read_text()
    assert all(f"stroke: {shade}" in text for shade in (*PALETTE[:2], INK))


def test_the_plane_of_a_latent_space_has_the_units_that_diverge_most(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "lectures_jax.report.generative.latent_plane",
        lambda points, labels, path, **options: drawn.update(points=points, **options),
    )
    mean = RNG.normal(size=(6, 3))
    section = report.latent_space(
        mean, np.array([0.1, 0.0, 2.0]), np.arange(6) % 2, tmp_path, classes=("a", "b")
    )
    np.testing.assert_array_equal(drawn["points"], mean[:, [2, 0]])
    assert drawn["names"] == ("unit 2", "unit 0")
    assert (tmp_path / "units.svg").is_file()
    assert len(section.figures) == 2


def test_copies_are_quoted_with_their_own_scores():
    text = report.copies_remark({"copies with noise": {"neighbor_ratio": 0.123, "frechet": 4.56}})
    assert text.endswith("have a ratio of 0.12 and a distance of 4.6.")
    assert "noise" not in report.copies_remark({"this model": {}})
