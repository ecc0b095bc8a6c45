"""The objective of masks: its terms by hand, margins, and what is measured."""

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
        network, batch, KEY, class_weights=(1.0, 2.0, 3.0), dice_weight=0.5
    )
    nll = losses.pixel_cross_entropy(LOGITS, MASK, jnp.array([1.0, 2, 3]), weights).mean()
    np.testing.assert_allclose(measured["cross_entropy"], nll, rtol=1e-6)
    np.testing.assert_allclose(loss, nll + 0.5 * measured["dice"], rtol=1e-6)
    np.testing.assert_allclose(
        measured["dice"], losses.multiclass_dice(LOGITS, MASK).mean(), rtol=1e-6
    )


def test_the_confusion_is_that_of_an_image_and_a_margin_does_not_count():
    wide = jnp.pad(MASK, ((0, 0), (2, 2), (1, 1)), constant_values=1)
    batch = {"image": jnp.zeros((2, 8, 8, 3)), "mask": wide}
    _, measured = objectives.segmentation(network, batch, KEY)
    counts = metrics.pixel_confusion(jnp.argmax(LOGITS, -1), MASK, num_classes=3)
    np.testing.assert_allclose(2 * measured["confusion"], counts)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="dice_weight must be at least 0, got -1"):
        objectives.segmentation(network, {"image": IMAGE, "mask": MASK}, KEY, dice_weight=-1.0)
