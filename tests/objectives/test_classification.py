"""The classifier's objective: by hand, and a network trains on it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, objectives, train
from lectures_jax.models.mlp import Mlp

XOR = data.xor()
POINTS = {"image": XOR["x"], "labels": XOR["y"].astype(np.int32)}


def test_the_mean_cross_entropy_and_the_accuracy_by_hand():
    def model(x, *, key):
        return x

    batch = {"image": jnp.array([[0.0, 0.0], [np.log(3), 0.0]]), "labels": jnp.array([1, 0])}
    loss, metrics = objectives.classification(model, batch, jax.random.key(0))
    np.testing.assert_allclose(loss, (np.log(2) + np.log(4 / 3)) / 2, rtol=1e-6)
    assert float(metrics["accuracy"]) == 0.5


def test_a_hidden_layer_solves_xor():
    model, _ = train.fit(
        jax.random.key(0),
        Mlp((2, 8, 2), rngs=nnx.Rngs(0)),
        objectives.classification,
        optax.adam(0.1),
        data.repeat(POINTS, 100),
    )
    assert train.evaluate(model, objectives.classification, [POINTS])["accuracy"] == 1


def test_smoothing_is_the_cross_entropy_with_a_softened_label():
    logits = jax.random.normal(jax.random.key(0), (5, 4))
    labels = jnp.array([0, 3, 1, 1, 2])
    loss, _ = objectives.classification(
        lambda x, *, key: x,
        {"image": logits, "labels": labels},
        jax.random.key(0),
        smoothing=0.1,
    )
    soft = optax.smooth_labels(jax.nn.one_hot(labels, 4), 0.1)
    expected = np.mean(optax.softmax_cross_entropy(logits, soft))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
