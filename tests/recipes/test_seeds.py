"""Several seeds by one compiled step: each as if it were trained alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import objectives
from lectures_jax.models.mlp import Mlp
from lectures_jax.recipes.seeds import train_seeds

TRAINING = {
    "image": np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32),
    "labels": np.arange(12, dtype=np.int32) % 2,
}


def train(seeds: range, *, steps: int = 3) -> list[jax.Array]:
    """The kernels of the trained networks; each call of the objective in Python is counted."""
    calls = []

    def objective(model, batch, key):
        calls.append(1)
        batch = {name: jnp.asarray(values) for name, values in batch.items()}
        return objectives.classification(model, batch, key)

    networks = train_seeds(
        lambda rngs: Mlp((3, 2), rngs=rngs),
        objective,
        optax.sgd(0.1),
        TRAINING,
        seeds=seeds,
        steps=steps,
        batch_size=4,
    )
    assert len(calls) == (1 if steps else 0)  # one trace for all seeds
    return [network.layers[0].kernel[...] for network in networks]


def test_each_seed_is_trained_as_if_it_were_alone():
    both = train(range(5, 7))
    for kernel, seed in zip(both, (5, 6), strict=True):
        np.testing.assert_array_equal(kernel, train(range(seed, seed + 1))[0])
    assert np.any(both[0] != both[1])


def test_without_steps_the_first_parameters_are_left():
    (kernel,) = train(range(5, 6), steps=0)
    np.testing.assert_array_equal(kernel, Mlp((3, 2), rngs=nnx.Rngs(5)).layers[0].kernel[...])
