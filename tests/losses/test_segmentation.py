"""Losses of masks: by hand, against NumPy and Optax, at saturation, and of pixels left out."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lectures_jax import losses
from tests.contract import Contract

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 5, 4, 3)).astype(np.float32)
LABELS = RNG.integers(0, 3, (2, 5, 4)).astype(np.int32)
LABELS[:, 0, 1:] = 255
CLASS_WEIGHTS = np.array([0.5, 1.0, 2.5], np.float32)
PIXEL_WEIGHTS = (0.5 + RNG.random((2, 5, 4))).astype(np.float32)
MASK = LABELS == 1
VALID = LABELS != 255
FAR = 200 * LOGITS
ARRAYS = jax.tree.map(jnp.asarray, (LOGITS, LABELS, CLASS_WEIGHTS, PIXEL_WEIGHTS))
ALL_IGNORED = np.full_like(LABELS, 255)
MULTICLASS = ("pixel_cross_entropy", "pixel_focal", "multiclass_dice", "multiclass_jaccard")
BINARY = ("dice", "jaccard")


def hide_pixels(value, logits, labels, *rest):
    return jnp.where((labels == 255)[..., None], value, logits), labels, *rest


def hide_weighted(value, logits, labels, class_weights, pixel_weights):
    logits, labels = hide_pixels(value, logits, labels)
    return logits, labels, class_weights, jnp.where(labels == 255, value, pixel_weights)


def hide_invalid(value, logits, mask, valid):
    return jnp.where(valid, logits, value), mask, valid


WEIGHTED = (LOGITS, LABELS, CLASS_WEIGHTS, PIXEL_WEIGHTS)
TWO = np.where(LABELS == 2, 1, LABELS)
# A class that is not there, of probabilities whose squares are hardly a float32 or none.
RARE = [LOGITS - np.array([0, 0, shift], np.float32) for shift in (35, 50)]
EDGES = [(LOGITS, ALL_IGNORED), (FAR, LABELS), *((logits, TWO) for logits in RARE)]
CONTRACT = {
    "pixel_cross_entropy": Contract([WEIGHTED], EDGES, hide=hide_weighted, shared=(2,)),
    "pixel_cross_entropy unweighted": Contract([(LOGITS, LABELS)], EDGES, hide=hide_pixels),
    "pixel_focal": Contract([WEIGHTED], EDGES, hide=hide_weighted, shared=(2,)),
    "pixel_focal fraction": Contract(
        [(LOGITS, LABELS)], EDGES, hide=hide_pixels, op=partial(losses.pixel_focal, gamma=0.5)
    ),
    "multiclass_dice": Contract([(LOGITS, LABELS)], EDGES, hide=hide_pixels),
    "multiclass_jaccard": Contract([(LOGITS, LABELS)], EDGES, hide=hide_pixels),
} | {
    name: Contract(
        [(LOGITS[..., 0], MASK, VALID)],
        [
            (LOGITS[..., 0], MASK, VALID & False),
            (FAR[..., 0], MASK),
            *((LOGITS[..., 0] - shift, MASK & False) for shift in (25, 50, 85)),
        ],
        hide=hide_invalid,
    )
    for name in BINARY
}


def test_cross_entropy_of_even_logits_is_the_logarithm_of_the_classes_whatever_the_weights():
    even = jnp.zeros((2, 5, 4, 3))
    for count in range(3):
        loss = losses.pixel_cross_entropy(even, ARRAYS[1], *ARRAYS[2 : 2 + count])
        np.testing.assert_allclose(loss, np.log(3), rtol=1e-6)


def test_cross_entropy_equals_optax_s_over_the_pixels_that_count():
    nll = optax.softmax_cross_entropy_with_integer_labels(LOGITS, np.where(VALID, LABELS, 0))
    mean = np.average(nll, axis=(1, 2), weights=VALID)
    np.testing.assert_allclose(losses.pixel_cross_entropy(*ARRAYS[:2]), mean, rtol=1e-6)
    weights = VALID * PIXEL_WEIGHTS * CLASS_WEIGHTS[np.where(VALID, LABELS, 0)]
    mean = [np.average(n, weights=w) for n, w in zip(nll, weights, strict=True)]
    np.testing.assert_allclose(losses.pixel_cross_entropy(*ARRAYS), mean, rtol=1e-6)


def test_focal_by_hand_and_without_gamma_cross_entropy():
    # p = 3/4 and 1/4: ½ ((1/4)² log 4/3 + (3/4)² log 4)
    logits = jnp.log(jnp.array([[[[3.0, 1], [3, 1]]]]))
    loss = losses.pixel_focal(logits, jnp.array([[[0, 1]]]))
    np.testing.assert_allclose(loss, (np.log(4 / 3) / 16 + 9 * np.log(4) / 16) / 2, rtol=1e-6)
    plain = losses.pixel_focal(*ARRAYS, gamma=0.0)
    np.testing.assert_allclose(plain, losses.pixel_cross_entropy(*ARRAYS), rtol=1e-6)


def test_overlaps_by_hand():
    # p = 1/2 everywhere, half of the mask set: Dice 2·½/(¼·2 + 1), Jaccard ½/(1 + 1 − ½)
    logits, mask = jnp.zeros((1, 1, 2)), jnp.array([[[True, False]]])
    np.testing.assert_allclose(losses.dice(logits, mask), 1 - 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(losses.jaccard(logits, mask), 1 - 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(losses.dice(logits, mask, smooth=1.0), 1 - 2 / 2.5, rtol=1e-6)
    np.testing.assert_allclose(losses.jaccard(logits, mask, smooth=1.0), 1 - 1.5 / 2.5, rtol=1e-6)


@pytest.mark.parametrize("name", BINARY)
def test_a_mask_of_floats_booleans_or_integers_is_the_same(name):
    loss, logits = getattr(losses, name), jnp.asarray(LOGITS[..., 0])
    expected = loss(logits, jnp.asarray(MASK))
    for dtype in (jnp.float32, jnp.int32):
        np.testing.assert_array_equal(loss(logits, jnp.asarray(MASK, dtype)), expected)


def test_overlaps_equal_loops_over_the_classes_that_are_there():
    labels = np.where(LABELS == 2, 1, LABELS)  # class 2 is not there
    p = np.asarray(jax.nn.softmax(jnp.asarray(LOGITS)), np.float64)
    dice, jaccard = np.zeros(2), np.zeros(2)
    for image in range(2):
        for c in range(2):
            counted = VALID[image]
            q, g = p[image, ..., c][counted], labels[image][counted] == c
            dice[image] += (1 - 2 * (q * g).sum() / ((q**2).sum() + g.sum())) / 2
            jaccard[image] += (1 - (q * g).sum() / (q + g - q * g).sum()) / 2
    logits, labels = jnp.asarray(LOGITS), jnp.asarray(labels)
    np.testing.assert_allclose(losses.multiclass_dice(logits, labels), dice, rtol=1e-5)
    np.testing.assert_allclose(losses.multiclass_jaccard(logits, labels), jaccard, rtol=1e-5)


@pytest.mark.parametrize("name", MULTICLASS)
def test_what_is_certain_and_right_costs_nothing_and_where_no_pixel_counts_nothing_changes(name):
    loss = jax.value_and_grad(lambda x, y: getattr(losses, name)(x, y).sum())
    labels = jnp.asarray(np.where(VALID, LABELS, 0))
    value, gradient = loss(1e4 * jax.nn.one_hot(labels, 3), labels)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    assert np.isfinite(gradient).all()
    value, gradient = loss(jnp.asarray(LOGITS), jnp.asarray(ALL_IGNORED))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("name", BINARY)
def test_an_overlap_of_all_is_0_of_none_1_and_of_nothing_0(name):
    loss, mask = getattr(losses, name), jnp.asarray(MASK)
    certain = jnp.where(mask, 1e4, -1e4)
    np.testing.assert_allclose(loss(certain, mask), 0, atol=1e-6)
    np.testing.assert_allclose(loss(-certain, mask), 1, atol=1e-6)
    np.testing.assert_array_equal(loss(certain * 0 - 1e4, mask & False), 0)
    value, gradient = jax.value_and_grad(lambda x: loss(x, mask, mask & False).sum())(certain)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_a_label_out_of_range_is_not_another_class():
    for label in (3, -1):
        labels = jnp.asarray(LABELS).at[0, 1, 1].set(label)
        for name in MULTICLASS:
            loss = getattr(losses, name)
            assert np.isnan(loss(ARRAYS[0], labels)).tolist() == [1, 0], name
            if name.startswith("pixel"):
                assert np.isnan(loss(ARRAYS[0], labels, *ARRAYS[2:])).tolist() == [1, 0], name


def test_a_gamma_or_a_smoothing_below_0_is_refused():
    with pytest.raises(ValueError, match=r"gamma must be at least 0, got -1"):
        losses.pixel_focal(jnp.asarray(LOGITS), jnp.asarray(LABELS), gamma=-1.0)
    with pytest.raises(ValueError, match=r"smooth must be at least 0, got -1"):
        losses.dice(jnp.asarray(LOGITS[..., 0]), jnp.asarray(MASK), smooth=-1.0)
