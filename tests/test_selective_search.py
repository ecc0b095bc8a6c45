"""The features of a region: what whole and half cells of movement change."""

import importlib.util
import sys

import jax
import numpy as np
import pytest

from lectures_jax.recipes import detection_data


@pytest.fixture(scope="module")
def module(root):
    """The experiment's file as a module."""
    path = root / "experiments" / "ch3_vision" / "selective_search.py"
    spec = importlib.util.spec_from_file_location("experiment_selective_search", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def test_features_stay_where_a_region_moves_by_a_cell_and_aligned_ones_nearly_in_between(module):
    scenes = detection_data.draw_scenes(jax.random.key(0), count=1, test_count=2)
    changes = module.feature_changes(list(scenes.test))
    for change in changes.values():
        np.testing.assert_allclose(change[[0, module.CELL]], 0, atol=1e-6)
    middle = slice(2, module.CELL - 1)
    assert np.all(changes["aligned"][middle] > 0)
    assert np.all(changes["aligned"][middle] < changes["rounded, aligned"][middle])
    assert np.all(changes["aligned"][middle] < 0.5 * changes["pooled"][middle])
