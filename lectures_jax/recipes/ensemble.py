"""Several small networks of one kind, trained at once as one program: seeds, weights, settings."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax.typing import Batch, Key, Metrics

EnsembleObjective = Callable[[Any, Batch, Key, Any], tuple[jax.Array, Metrics]]
"""`(model, batch, key, setting) -> (scalar, metrics)`; the setting is a network's own."""


class Ensemble(NamedTuple):
    """Networks of one structure.

    Attributes:
        structure: of each, without its arrays.
        state: their arrays, the networks along the first axis.
        history: the metrics of the training, [step, network] each.
    """

    structure: Any
    state: Any
    history: dict[str, np.ndarray]

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Returns what a function of one network gives for each, along the first axis.

        Args:
            function: `(model, *args) -> arrays`.
            *args: the same for all networks.
        """
        return jax.device_get(_call(self.structure, self.state, args, function=function))

    def model(self, number: int) -> Any:
        """Returns one of the networks.

        Args:
            number: its place in the order of training.
        """
        return nnx.merge(self.structure, *jax.tree.map(lambda x: x[number], self.state))


def train_ensemble(
    models: Sequence[nnx.Module],
    objective: EnsembleObjective,
    examples: Batch,
    settings: Any,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int = 0,
) -> Ensemble:
    """Trains networks by Adam with a falling learning rate, each on batches of its own.

    For dense networks: gradients of convolutions are slow in a program that loops.

    Args:
        models: networks that differ in their arrays alone.
        objective: `(model, batch, key, setting) -> (scalar, metrics)`; the same function in every
            call, so that the program is compiled once.
        examples: arrays whose first axis counts the examples, of which batches are drawn with
            replacement.
        settings: a tree of arrays [network, ...], from which the objective gets each network's own.
        steps: of the training.
        batch_size: examples per step.
        learning_rate: the first, of a half cosine.
        seed: of order and noise; network i draws the same whatever the others are.

    Raises:
        ValueError: if there is no network, or their structures differ.
    """
    if not models:
        raise ValueError("models must hold at least one network, got none.")
    structures, params, buffers = zip(*(nnx.split(m, nnx.Param, ...) for m in models), strict=True)
    if any(structure != structures[0] for structure in structures):
        raise ValueError("models must differ in their arrays alone, got other structures.")
    stack = partial(jax.tree.map, lambda *leaves: jnp.stack(leaves))
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(jnp.arange(len(models)))
    state, history = _train(
        structures[0],
        (stack(*params), stack(*buffers)),
        keys,
        examples,
        settings,
        learning_rate,
        objective=objective,
        steps=steps,
        batch_size=batch_size,
    )
    return Ensemble(structures[0], state, jax.device_get(history))


@partial(jax.jit, static_argnames=("structure", "objective", "steps", "batch_size"))
def _train(
    structure: Any,
    states: Any,
    keys: jax.Array,
    examples: Batch,
    settings: Any,
    learning_rate: jax.Array,
    *,
    objective: EnsembleObjective,
    steps: int,
    batch_size: int,
) -> tuple[Any, Metrics]:
    count = len(next(iter(examples.values())))
    adam = optax.adam(lambda step: learning_rate * (1 + jnp.cos(jnp.pi * step / steps)) / 2)

    def loss_of(params: Any, buffers: Any, batch: Batch, key: Key, setting: Any) -> Any:
        model = nnx.merge(structure, params, buffers, copy=True)
        loss, metrics = objective(model, batch, key, setting)
        return loss, (metrics, nnx.state(model, nnx.Not(nnx.Param)))

    def step_of_one(carry: Any, key: Key, setting: Any) -> Any:
        params, buffers, optimizer_state = carry
        key_batch, key_noise = jax.random.split(key)
        drawn = jax.random.randint(key_batch, (batch_size,), 0, count)
        batch = {name: values[drawn] for name, values in examples.items()}
        gradient = jax.grad(loss_of, has_aux=True)
        grads, (metrics, buffers) = gradient(params, buffers, batch, key_noise, setting)
        updates, optimizer_state = adam.update(grads, optimizer_state)
        return (optax.apply_updates(params, updates), buffers, optimizer_state), metrics

    def step(carry: Any, number: jax.Array) -> Any:
        own = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
        return jax.vmap(step_of_one)(carry, own, settings)

    carry = (*states, jax.vmap(adam.init)(states[0]))
    (params, buffers, _), history = jax.lax.scan(step, carry, jnp.arange(steps))
    return (params, buffers), history


@partial(jax.jit, static_argnames=("structure", "function"))
def _call(structure: Any, state: Any, args: tuple[Any, ...], *, function: Any) -> Any:
    return jax.vmap(lambda arrays: function(nnx.merge(structure, *arrays), *args))(state)
