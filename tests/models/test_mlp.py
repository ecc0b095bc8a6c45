"""The multilayer perceptron: by hand, its parameters, its dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lectures_jax.models.mlp import Mlp


def test_two_layers_by_hand():
    model = Mlp((2, 2, 1), rngs=nnx.Rngs(0))
    model.layers[0].kernel[...] = jnp.array([[1.0, -1], [2, 1]])
    model.layers[0].bias[...] = jnp.array([0.5, 0.0])
    model.layers[1].kernel[...] = jnp.array([[3.0], [10]])
    # x W + b = (1 + 2·2 + 0.5, −1 + 2) = (5.5, 1): both pass the ReLU
    y = model(jnp.array([[1.0, 2.0], [2.0, 1.0]]))
    np.testing.assert_allclose(y, [[3 * 5.5 + 10 * 1], [3 * 4.5 + 0]])


def test_images_are_read_row_by_row_and_parameters_are_counted():
    model = Mlp((12, 5, 3), activation=jnp.tanh, rngs=nnx.Rngs(0))
    images = jax.random.normal(jax.random.key(0), (4, 2, 3, 2))
    np.testing.assert_array_equal(model(images), model(images.reshape(4, 12)))
    features = model.features(images)
    assert {name: x.shape for name, x in features.items()} == {"hidden1": (4, 5), "logits": (4, 3)}
    parameters = sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert parameters == (12 + 1) * 5 + (5 + 1) * 3


def test_dropout_draws_from_the_key_and_is_off_in_evaluation():
    model = Mlp((3, 50, 1), dropout=0.5, rngs=nnx.Rngs(0))
    x = jnp.ones((2, 3))
    a, b = jax.random.split(jax.random.key(0))
    assert np.array_equal(model(x, key=a), model(x, key=a))
    assert not np.array_equal(model(x, key=a), model(x, key=b))
    hidden = model.features(x, key=a)["hidden1"]
    assert 0 < np.mean(hidden == 0) < 1
    evaluated = nnx.view(model, deterministic=True)
    np.testing.assert_array_equal(evaluated(x, key=a), evaluated(x))


@pytest.mark.parametrize("sizes", [(3,), (3, 0, 2)])
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(ValueError, match=r"sizes must be at least two positive numbers, got \(3"):
        Mlp(sizes, rngs=nnx.Rngs(0))
