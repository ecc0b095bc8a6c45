"""DeepFool and Carlini-Wagner: the distance to a plane, and to a curved boundary."""

import inspect
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from lectures_jax import input_optimization as io
from tests.input_optimization import attacked

WEIGHTS = np.random.default_rng(1).normal(size=(12, 2)).astype(np.float32)
GAP = (WEIGHTS[:, 0] - WEIGHTS[:, 1]).astype(np.float64)
PLANE = Partial(attacked.linear, jnp.asarray(WEIGHTS))
X = attacked.make_inputs(3, count=10) * 0.4 + 0.3  # far from 0 and 1
LABELS = attacked.answers(PLANE, X)
NETWORK = attacked.make_network(2)
CURVED = attacked.answers(NETWORK, X)


@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1)])
def test_deepfool_goes_straight_through_a_plane(norm, dual):
    result = np.asarray(io.deepfool(PLANE, X, LABELS, norm=norm, overshoot=0.01))
    np.testing.assert_array_equal(attacked.answers(PLANE, result), 1 - LABELS)
    expected = np.abs(X @ GAP) / np.linalg.norm(GAP, ord=dual)
    np.testing.assert_allclose(attacked.sizes(result, X, norm), 1.01 * expected, rtol=1e-2)


def test_carlini_and_wagner_stop_just_behind_a_plane():
    result = np.asarray(io.carlini_wagner(PLANE, X, LABELS, steps=300, searches=8))
    np.testing.assert_array_equal(attacked.answers(PLANE, result), 1 - LABELS)
    share = attacked.sizes(result, X, "l2") / (np.abs(X @ GAP) / np.linalg.norm(GAP))
    assert share.min() >= 1
    assert share.max() < 1.05


def test_no_ray_of_many_meets_a_boundary_before_the_nearer_of_both_does():
    directions = np.random.default_rng(0).normal(size=(4000, 12))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = np.linspace(0.01, 0.6, 60)
    far = []
    for attack in (partial(io.carlini_wagner, steps=300), io.deepfool):
        result = np.asarray(attack(NETWORK, X, CURVED))
        assert np.all(attacked.answers(NETWORK, result) != CURVED)
        assert result.min() >= 0
        assert result.max() <= 1
        far.append(attacked.sizes(result, X, "l2"))
    assert np.median(far[0]) < np.median(far[1])
    for x, label, distance in zip(X, CURVED, np.min(far, axis=0), strict=True):
        rays = x + lengths[:, None, None] * directions
        others = attacked.answers(NETWORK, rays.reshape(-1, 12).astype(np.float32)) != label
        hit = lengths[others.reshape(len(lengths), -1).any(axis=1)]
        assert not len(hit) or distance < hit[0] + 0.01


def test_a_target_is_reached_and_confidence_goes_further():
    target = (CURVED + 1) % attacked.CLASSES
    options = {"targeted": True, "steps": 300}
    result = io.carlini_wagner(NETWORK, X, target, **options)
    np.testing.assert_array_equal(attacked.answers(NETWORK, result), target)
    surer = io.carlini_wagner(NETWORK, X, target, **options, confidence=1.0)
    margin = attacked.hand_margin(np.asarray(NETWORK(surer)), target, True)
    assert np.all(margin <= -1 + 1e-5)
    assert np.all(attacked.sizes(surer, X, "l2") > attacked.sizes(result, X, "l2"))


@pytest.mark.parametrize("attack", [io.deepfool, io.carlini_wagner])
def test_what_is_wrong_already_stays_bit_by_bit(attack):
    labels = np.where(np.arange(len(X)) % 2, LABELS, 1 - LABELS).astype(np.int32)
    result = np.asarray(attack(PLANE, X, labels))
    np.testing.assert_array_equal(result[::2], X[::2])
    assert np.all(np.any(result[1::2] != X[1::2], axis=1))


@pytest.mark.parametrize("attack", [io.deepfool, io.carlini_wagner])
def test_the_result_for_an_example_is_the_same_in_any_batch(attack):
    whole = np.asarray(attack(NETWORK, X, CURVED))
    alone = attack(NETWORK, X[2:4], CURVED[2:4])
    np.testing.assert_allclose(alone, whole[2:4], atol=1e-5)


def test_a_network_that_no_image_changes_leaves_the_input():
    flat = Partial(attacked.linear, jnp.zeros((12, 3)))
    zero = np.zeros(len(X), np.int32)
    for attack in (io.deepfool, io.carlini_wagner):
        result = np.asarray(attack(flat, X, zero))
        assert np.isfinite(result).all()
        np.testing.assert_allclose(result, X, atol=1e-6)


def test_a_number_out_of_range_is_named():
    with pytest.raises(ValueError, match="overshoot must be at least 0, got -1"):
        io.deepfool(PLANE, X, LABELS, overshoot=-1.0)
    with pytest.raises(ValueError, match="first_weight must be positive, got 0"):
        io.carlini_wagner(PLANE, X, LABELS, first_weight=0.0)
    one = Partial(attacked.linear, jnp.ones((int(np.prod(X.shape[1:])), 1)))
    with pytest.raises(ValueError, match="logits of two classes at least, got one"):
        io.deepfool(one, X, np.zeros(len(X), int))
    with pytest.raises(ValueError, match="norm must be one of l2, linf, got 'l1'"):
        inspect.unwrap(io.deepfool)(PLANE, X, LABELS, norm="l1")
