import numpy as np
import pytest

from lectures_jax import report
from lectures_jax.report.theme import MUTED, PALETTE

RNG = np.random.default_rng(0)


def test_each_class_has_its_colour_and_its_name(tmp_path):
    path = tmp_path / "plane.svg"
    report.latent_plane(RNG.normal(size=(9, 2)), np.arange(9) % 3, path, classes=("a", "b", "c"))
    text = path.read_text()
    assert all(f"fill: {shade}" in text for shade in PALETTE[:3])
    assert f"fill: {PALETTE[3]}" not in text


def test_collapsed_units_are_grey_and_the_largest_comes_first(tmp_path):
    path = tmp_path / "units.svg"
    report.latent_units(np.array([0.001, 2.0, 0.5]), path)
    text = path.read_text()
    assert text.count(f"fill: {PALETTE[0]}") == 2
    assert text.index(f"fill: {PALETTE[0]}") < text.index(f"fill: {MUTED}")


def test_nothing_to_draw_is_told(tmp_path):
    with pytest.raises(ValueError, match="points must hold at least one"):
        report.latent_plane(np.zeros((0, 2)), np.zeros(0, int), tmp_path / "a.svg", classes=("a",))
    with pytest.raises(ValueError, match="divergence must have at least one unit"):
        report.latent_units(np.zeros(0), tmp_path / "a.svg")
