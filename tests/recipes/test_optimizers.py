"""The recipes' Adam: Optax's to the last bit, with its rate in the rows."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import train
from lectures_jax.recipes.optimizers import adam

RATE = optax.cosine_onecycle_schedule(20, 0.1)


class Line(nnx.Module):
    """One weight and a bias."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.dense = nnx.Linear(1, 1, rngs=rngs)

    def __call__(self, x, *, key=None):
        return self.dense(x)


def error(model, batch, key):
    loss = jnp.mean((model(batch["x"]) - 3 * batch["x"] - 1) ** 2)
    return loss, {"loss": loss}


def fit(optimizer):
    batch = {"x": np.linspace(-1, 1, 5, dtype=np.float32)[:, None]}
    model = Line(rngs=nnx.Rngs(0))
    return train.fit(jax.random.key(0), model, error, optimizer, [batch] * 20, log_every=5)


def test_it_is_adam_and_the_rows_have_its_learning_rate():
    model, rows = fit(adam(RATE))
    other, plain = fit(optax.adam(RATE))
    np.testing.assert_array_equal(model.dense.kernel[...], other.dense.kernel[...])
    # A row has the mean over the steps since the row before.
    expected = [np.mean([RATE(step) for step in range(i, i + 5)]) for i in range(0, 20, 5)]
    np.testing.assert_allclose([row["learning_rate"] for row in rows], expected, rtol=1e-5)
    assert "learning_rate" not in plain[-1]
