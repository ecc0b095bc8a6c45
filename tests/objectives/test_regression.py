"""The mean squared error: by hand, and gradient descent on it finds the least-squares line."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import objectives, train
from lectures_jax.models.mlp import Mlp


def test_the_mean_squared_error_by_hand():
    def model(x, *, key):
        return 2 * x

    batch = {"x": jnp.array([[1.0, 0.0], [0.0, 1.0]]), "y": jnp.array([[1.0, 0.0], [2.0, 1.0]])}
    loss, metrics = objectives.regression(model, batch, jax.random.key(0))
    np.testing.assert_allclose(loss, (1 + (4 + 1)) / 2)
    assert metrics == {"loss": loss}


def test_gradient_descent_arrives_at_the_least_squares_line():
    x = np.array([[-1.0], [0.0], [1.0], [2.0]], np.float32)
    y = np.array([[0.0], [1.5], [1.0], [3.5]], np.float32)
    model, optimizer = Mlp((1, 1), rngs=nnx.Rngs(0)), optax.sgd(0.1)
    structure, state = train.init(jax.random.key(0), model, optimizer)
    step = train.make_step(structure, objectives.regression, optimizer)
    for _ in range(200):
        state, _ = step(state, {"x": x, "y": y})
    (layer,) = train.rebuild(structure, state).layers
    expected = np.polyfit(x[:, 0], y[:, 0], 1)
    fitted = [layer.kernel[...].item(), layer.bias[...].item()]
    np.testing.assert_allclose(fitted, expected, atol=1e-5)
