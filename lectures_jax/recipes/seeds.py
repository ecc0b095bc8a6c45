"""One network trained from several seeds by one compiled step."""

from collections.abc import Callable
from typing import TypeVar

import jax
import optax
from flax import nnx

from lectures_jax import data, train
from lectures_jax.typing import Batch, Objective

Network = TypeVar("Network", bound=nnx.Module)


def train_seeds(
    build: Callable[[nnx.Rngs], Network],
    objective: Objective,
    optimizer: optax.GradientTransformation,
    training: Batch,
    *,
    seeds: range,
    steps: int,
    batch_size: int,
) -> list[Network]:
    """Returns a network trained from each seed, in evaluation mode; nothing is written.

    Args:
        build: makes the network from its random numbers.
        objective: `(model, batch, key) -> (scalar, metrics)`.
        optimizer: of all of them; each has a state of its own.
        training: arrays whose first axis counts the examples.
        seeds: of parameters, noise and order.
        steps: of each training.
        batch_size: examples per step.
    """
    step, trained = None, []
    for seed in seeds:
        structure, state = train.init(jax.random.key(seed), build(nnx.Rngs(seed)), optimizer)
        step = step or train.make_step(structure, objective, optimizer)
        batches = data.batches(training, batch_size=batch_size, seed=seed)
        for _ in range(steps):
            state, _ = step(state, next(batches))
        trained.append(train.rebuild(structure, state))
    return trained
