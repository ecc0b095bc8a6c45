"""The printed loss and YOLOv3's: their derivatives by hand, and the slots of an object."""

import importlib.util
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import losses
from lectures_jax.recipes import detector_network


@pytest.fixture(scope="module")
def module(root):
    """The experiment's file as a module."""
    path = root / "experiments" / "ch3_vision" / "yolo_losses.py"
    spec = importlib.util.spec_from_file_location("experiment_yolo_losses", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def test_a_missed_object_has_a_gradient_by_the_logistic_loss_alone(module):
    logits = jnp.array([-10.0, 0, 3])
    share = jax.nn.sigmoid(logits)
    printed = module.derivatives(losses.yolo_v1_style, logits)
    np.testing.assert_allclose(printed, 2 * (share - 1) * share * (1 - share), rtol=1e-4)
    np.testing.assert_allclose(module.derivatives(losses.yolo_v3, logits), share - 1, rtol=1e-4)


def test_every_object_has_its_best_anchor_s_slot_and_those_of_similar_ones(module):
    config = replace(module.Config(), scenes=12, evaluated=1, anchor_ious=(1.0, 0.3, 0.0))
    splits = module.scenes(config)
    anchors = detector_network.fit_anchors(jax.random.key(0), splits.train)
    slots = module.slots(config, splits, anchors)
    assert 0.9 <= slots[1.0] <= 1  # two digits may share a cell of the coarsest grid
    assert slots[1.0] < slots[0.3] < slots[0.0] <= 9
