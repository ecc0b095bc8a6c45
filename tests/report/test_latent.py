import re

import numpy as np
import pytest

from lectures_jax import report
from lectures_jax.report.theme import MUTED, PALETTE

RNG = np.random.default_rng(0)


def test_each_class_has_its_color_and_its_name(tmp_path):
    path = tmp_path / "plane.svg"
    report.latent_plane(RNG.normal(size=(9, 2)), np.arange(9) % 3, path, classes=("a", "b", "c"))
    text = path.read_text()
    assert all(f"fill: {shade}" in text for shade in PALETTE[:3])
    assert f"fill: {PALETTE[3]}" not in text


def bars(path) -> list[str]:
    """The colors of the bars from left to right."""
    return re.findall(r"clip-path[^>]*style=\"fill: (#\w+)", path.read_text())


def test_the_largest_unit_comes_first_and_collapsed_ones_are_gray(tmp_path):
    report.latent_units(np.array([0.001, 2.0, 0.5]), tmp_path / "units.svg")
    assert bars(tmp_path / "units.svg") == [PALETTE[0], PALETTE[0], MUTED]


def test_nothing_to_draw_raises(tmp_path):
    with pytest.raises(ValueError, match="points must hold at least one"):
        report.latent_plane(np.zeros((0, 2)), np.zeros(0, int), tmp_path / "a.svg", classes=("a",))
    with pytest.raises(ValueError, match="divergence must have at least one unit"):
        report.latent_units(np.zeros(0), tmp_path / "a.svg")
