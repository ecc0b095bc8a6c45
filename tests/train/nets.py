"""Small networks, objectives and data that several tests train."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


class Affine(nnx.Module):
    """`x · w + b`, without randomness or buffers."""

    def __init__(self, *, rngs):
        self.linear = nnx.Linear(3, 1, rngs=rngs)

    def __call__(self, x, *, key=None):
        return self.linear(x)


class Net(nnx.Module):
    """Dense layers in a list, with batch norm and dropout."""

    def __init__(self, *, rngs):
        self.norm = nnx.BatchNorm(3, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.2)
        self.layers = nnx.List([nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 1, rngs=rngs)])

    def __call__(self, x, *, key=None):
        hidden = jax.nn.tanh(self.layers[0](self.norm(x)))
        return self.layers[1](self.dropout(hidden, rngs=key))


class ConvNet(nnx.Module):
    """A convolution with batch norm, then a dense layer."""

    def __init__(self, *, rngs):
        self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.9, rngs=rngs)
        self.dense = nnx.Linear(4, 1, rngs=rngs)

    def __call__(self, x, *, key=None):
        return self.dense(jax.nn.relu(self.norm(self.conv(x))).mean(axis=(1, 2)))


def squared(model, batch, key):
    """Squared error of one output per example."""
    error = model(batch["x"], key=key)[:, 0] - batch["y"]
    loss = jnp.mean(error**2)
    return loss, {"loss": loss, "bias": jnp.mean(error)}


def points(count, *, size=8, seed=0):
    """Batches of vectors whose target is their sum."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        x = random.normal(size=(size, 3)).astype(np.float32)
        yield {"x": x, "y": x.sum(axis=1)}


def images(count, *, size=4, seed=0):
    """Batches of 6×6 images whose target is their mean."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        x = random.normal(size=(size, 6, 6, 1)).astype(np.float32)
        yield {"x": x, "y": x.mean(axis=(1, 2, 3))}


def arrays(model):
    """Returns a model's arrays, as NumPy has them."""
    return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model)))


def assert_same(a, b):
    """Asserts that two trees are equal, bit for bit."""
    jax.tree.map(np.testing.assert_array_equal, a, b)
