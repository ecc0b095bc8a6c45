"""The objective of masks: its terms by hand, margins, and what is measured."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lectures_jax import losses, metrics, objectives

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(2, 4, 6, 3)), jnp.float32)
MASK = jnp.asarray(RNG.integers(0, 3, (2, 4, 6))).at[0, 0].set(255)
IMAGE = jnp.zeros((2, 4, 6, 3))


def network(images, *, key=None):
    return LOGITS


def test_the_loss_is_the_sum_of_its_terms():
    weights = jnp.asarray(RNG.random((2, 4, 6)), jnp.float32)
    batch = {"image": IMAGE, "mask": MASK, "weights": weights}
    loss, measured = objectives.segmentation(
        network, batch, KEY, class_weights=(1.0, 2.0, 3.0), overlap_weight=0.5
    )
    nll = losses.pixel_cross_entropy(LOGITS, MASK, jnp.array([1.0, 2, 3]), weights).mean()
    np.testing.assert_allclose(measured["cross_entropy"], nll, rtol=1e-6)
    np.testing.assert_allclose(loss, nll + 0.5 * measured["dice"], rtol=1e-6)
    np.testing.assert_allclose(
        measured["dice"], losses.multiclass_dice(LOGITS, MASK).mean(), rtol=1e-6
    )


def test_the_losses_are_those_that_are_named():
    batch = {"image": IMAGE, "mask": MASK}
    names = {"pixel_loss": "focal", "overlap_loss": "jaccard"}
    loss, measured = objectives.segmentation(network, batch, KEY, **names, overlap_weight=2.0)
    focal = losses.pixel_focal(LOGITS, MASK).mean()
    jaccard = losses.multiclass_jaccard(LOGITS, MASK).mean()
    np.testing.assert_allclose(measured["focal"], focal, rtol=1e-6)
    np.testing.assert_allclose(measured["jaccard"], jaccard, rtol=1e-6)
    np.testing.assert_allclose(loss, focal + 2 * jaccard, rtol=1e-6)
    assert set(measured) == {"loss", "focal", "jaccard", "confusion"}


def test_the_confusion_is_that_of_an_image_and_a_margin_does_not_count():
    wide = jnp.pad(MASK, ((0, 0), (2, 2), (1, 1)), constant_values=1)
    batch = {"image": jnp.zeros((2, 8, 8, 3)), "mask": wide}
    _, measured = objectives.segmentation(network, batch, KEY)
    counts = metrics.pixel_confusion(jnp.argmax(LOGITS, -1), MASK, num_classes=3)
    np.testing.assert_allclose(2 * measured["confusion"], counts)


def test_a_negative_weight_is_refused():
    unchecked = partial(inspect.unwrap(objectives.segmentation), network)
    unchecked = partial(unchecked, {"image": IMAGE, "mask": MASK}, KEY)
    with pytest.raises(ValueError, match="overlap_weight must be at least 0, got -1"):
        unchecked(overlap_weight=-1.0)
    with pytest.raises(ValueError, match="pixel_loss must be one of cross_entropy, focal, got 'x'"):
        unchecked(pixel_loss="x")
    with pytest.raises(ValueError, match="overlap_loss must be one of dice, jaccard, got 'x'"):
        unchecked(overlap_loss="x")
