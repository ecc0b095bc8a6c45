"""Cross-entropies: values by hand, optax, and logits far from zero."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lectures_jax import losses
from tests.contract import Contract

LOGITS = np.array([[0.5, -1.0, 2.0, 0.1], [1.0, 0.0, -0.5, 0.3], [0.2, 0.4, 0.6, 0.8]], np.float32)
LABELS = np.array([2, 0, 3], np.int32)
TARGETS = np.array([0.0, 0.3, 1.0], np.float32)
FAR = np.array([-200.0, 200.0, 0.0], np.float32)

CONTRACT = {
    "cross_entropy": Contract([(LOGITS, LABELS)], edges=[(100 * LOGITS, LABELS)]),
    "binary_cross_entropy": Contract([(LOGITS[:, 0], TARGETS)], edges=[(FAR, TARGETS)]),
}


def test_equal_logits_cost_the_logarithm_of_the_classes():
    loss = losses.cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]))
    np.testing.assert_allclose(loss, [np.log(4)] * 2, rtol=1e-6)


def test_cross_entropies_equal_optax_s():
    np.testing.assert_allclose(
        losses.cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS)),
        optax.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        losses.binary_cross_entropy(jnp.asarray(LOGITS[:, 0]), jnp.asarray(TARGETS)),
        optax.sigmoid_binary_cross_entropy(LOGITS[:, 0], TARGETS),
        rtol=1e-6,
    )


@pytest.mark.parametrize(("logit", "target", "nats"), [(0, 1, np.log(2)), (50, 0, 50), (-50, 0, 0)])
def test_binary_cross_entropy_by_hand(logit, target, nats):
    loss = losses.binary_cross_entropy(jnp.float32(logit), jnp.float32(target))
    np.testing.assert_allclose(loss, nats, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_out_of_range_is_not_another_class(label):
    assert np.isnan(losses.cross_entropy(jnp.zeros((1, 4)), jnp.array([label])))[0]
