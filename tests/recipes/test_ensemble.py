"""Networks trained at once are those that are trained alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.models.mlp import Mlp
from lectures_jax.recipes.ensemble import train_ensemble

X = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
EXAMPLES = {"x": X, "y": 3 * X + 1}


def scaled(model, batch, key, scale):
    """The squared error from a multiple of the target."""
    loss = jnp.mean((model(batch["x"]) - scale * batch["y"]) ** 2)
    return loss, {"loss": loss, "noise": jax.random.normal(key)}


def line(seed):
    return Mlp((1, 1), rngs=nnx.Rngs(seed))


train = partial(train_ensemble, steps=300, batch_size=16, learning_rate=0.1)


def test_each_network_is_trained_by_its_own_setting():
    lines = train([line(0), line(0), line(1)], scaled, EXAMPLES, jnp.array([1.0, 2.0, -1.0]))
    predicted = lines.call(lambda model, x: model(x), jnp.asarray(X))
    for scale, y in zip((1, 2, -1), predicted, strict=True):
        np.testing.assert_allclose(y, scale * EXAMPLES["y"], atol=0.01)
    np.testing.assert_allclose(lines.model(1)(jnp.asarray(X)), predicted[1], atol=1e-6)
    assert lines.history["loss"].shape == (300, 3)
    assert np.all(lines.history["loss"][-1] < 1e-3)


def test_a_network_is_the_same_whatever_is_trained_beside_it():
    alone = train([line(3)], scaled, EXAMPLES, jnp.ones(1))
    beside = train([line(3), line(4)], scaled, EXAMPLES, jnp.ones(2))
    np.testing.assert_allclose(alone.history["loss"][:, 0], beside.history["loss"][:, 0], atol=1e-5)
    np.testing.assert_array_equal(alone.history["noise"][:, 0], beside.history["noise"][:, 0])
    first, second = beside.history["noise"].T
    assert not np.any(first == second)


class Counting(nnx.Module):
    """A line that counts its calls."""

    def __init__(self):
        self.line = line(0)
        self.calls = nnx.Variable(jnp.int32(0))

    def __call__(self, x):
        self.calls[...] += 1
        return self.line(x)


def test_what_a_step_changes_beside_the_parameters_is_kept():
    counted = train([Counting()], scaled, EXAMPLES, jnp.ones(1))
    assert counted.model(0).calls[...] == 300


def test_none_and_networks_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match="at least one network, got none"):
        train([], scaled, EXAMPLES, jnp.ones(0))
    with pytest.raises(ValueError, match="other structures"):
        train([line(0), Mlp((1, 4, 1), rngs=nnx.Rngs(0))], scaled, EXAMPLES, jnp.ones(2))
