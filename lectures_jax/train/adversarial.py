"""Training of two networks against each other, one frozen while the other is updated."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool

from lectures_jax.train.arguments import check_updates
from lectures_jax.train.learner import (
    Augment,
    Learner,
    average,
    call_objective,
    learning_rate,
    split_key,
    update,
)
from lectures_jax.train.state import TrainState, assemble, buffers_of, init
from lectures_jax.typing import Batch, Key, Metrics, Objective

PLAYERS: tuple[str, str] = ("discriminator", "generator")
"""In the order of their turns; `model` has an attribute of each name."""


class Player(NamedTuple):
    """What one of the two networks minimizes, and how.

    Attributes:
        objective: `(model, batch, key) -> (scalar, metrics)`, of the model with both networks.
        optimizer: updates this network's parameters only.
    """

    objective: Objective
    optimizer: optax.GradientTransformation


def adversarial(
    discriminator: Player,
    generator: Player,
    *,
    discriminator_steps: int = 1,
    ema_decay: float | None = None,
    augment: Augment | None = None,
) -> Learner:
    """Returns the learner in which a discriminator and a generator take turns.

    While one is updated, nothing of the other changes: neither parameters nor buffers, such as the
    averages of batch normalization. The optimizer state has an entry for each of the two.

    Args:
        discriminator: updated first, `discriminator_steps` times.
        generator: updated once, against the discriminator after its turns.
        discriminator_steps: equal parts into which a batch is cut; the generator sees the last.
        ema_decay: of moving averages of the parameters of both, or None.
        augment: `(key, batch) -> batch`, applied to the whole batch.

    Returns:
        A learner whose metrics are both objectives', `discriminator_loss`, `generator_loss`, `loss`
        (their sum), the norms of the gradients, and the learning rates where the optimizers keep
        them (`optax.inject_hyperparams`). Where training has `fixed`, objectives get it as a fourth
        argument.

    Raises:
        ValueError: if `discriminator_steps` is not positive, or later does not divide a batch,
            `ema_decay` is outside [0, 1), or the model lacks one of the two networks.

    Source:
        Goodfellow et al. (2014), algorithm 1.
    """
    if discriminator_steps < 1:
        raise ValueError(f"discriminator_steps must be at least 1, got {discriminator_steps}.")
    check_updates(discriminator.optimizer, generator.optimizer, ema_decay=ema_decay)
    players = dict(zip(PLAYERS, (discriminator, generator), strict=True))

    def begin(key: Key, model: nnx.Module) -> tuple[nnx.GraphDef, TrainState]:
        structure, state = init(key, model, optax.identity(), ema=ema_decay is not None)
        if missing := set(PLAYERS) - set(state.params):
            raise ValueError(f"model must have parameters of {PLAYERS}, got none of {missing}.")
        first = {name: p.optimizer.init(state.params[name]) for name, p in players.items()}
        return structure, state._replace(optimizer_state=first)

    def turns(batch: Batch, key: Key) -> list[tuple[str, Batch, Key]]:
        """Who is updated on which part of a batch, with which key."""
        parts = _split_batch(batch, discriminator_steps)
        names = [PLAYERS[0]] * discriminator_steps + [PLAYERS[1]]
        keys = jax.random.split(key, discriminator_steps + 1)
        return list(zip(names, [*parts, parts[-1]], keys, strict=True))

    def forward(model: Any, batch: Batch, key: Key, fixed: Any) -> None:
        for name, part, own in turns(batch, key):
            call_objective(players[name].objective, model, part, own, fixed)

    def step(
        structure: nnx.GraphDef, state: TrainState, batch: Batch, fixed: Any
    ) -> tuple[TrainState, Metrics]:
        _, key_augment, key_objective = split_key(state.key)
        examples = augment(key_augment, batch) if augment else batch
        proposed, finite, metrics = state, jnp.bool_(True), {}
        for name, part, own in turns(examples, key_objective):
            proposed, good, measured = _take_turn(
                partial(call_objective, players[name].objective, fixed=fixed),
                players[name].optimizer,
                name,
                structure,
                proposed,
                part,
                own,
            )
            finite, metrics = finite & good, metrics | measured
        metrics["loss"] = metrics["discriminator_loss"] + metrics["generator_loss"]
        ema = average(state, proposed.params, proposed.buffers, None, ema_decay)
        proposed = proposed._replace(ema=ema, failed=~finite)
        return proposed, metrics

    return Learner(begin, step, augment, forward, PLAYERS)


def _take_turn(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    name: str,
    structure: nnx.GraphDef,
    state: TrainState,
    batch: Batch,
    key: Key,
) -> tuple[TrainState, Bool[Array, ""], Metrics]:
    """Updates one of the two networks.

    Args:
        objective: of the model with both networks.
        optimizer: of this network's parameters.
        name: of the network.
        structure: of the model.
        state: of both networks.
        batch: examples of this turn.
        key: of this turn.

    Returns:
        The state, whether all was finite, and what was measured.
    """

    def loss_of(own: dict) -> tuple[Array, tuple[Metrics, dict]]:
        model = assemble(structure, {**state.params, name: own}, state.buffers)
        loss, metrics = objective(model, batch, key)
        return loss, (metrics, buffers_of(model).get(name, {}))

    own = state.params[name]
    (loss, (metrics, buffers)), grads = jax.value_and_grad(loss_of, has_aux=True)(own)
    new = update(optimizer, loss, grads, state.optimizer_state[name], own)
    state = state._replace(
        params={**state.params, name: new.params},
        buffers={**state.buffers, **({name: buffers} if buffers else {})},
        optimizer_state={**state.optimizer_state, name: new.optimizer_state},
    )
    measured = {"loss": loss, "grad_norm": new.grad_norm} | learning_rate(new.optimizer_state)
    return state, new.finite, metrics | {f"{name}_{key}": x for key, x in measured.items()}


def _split_batch(batch: Batch, count: int) -> Sequence[Batch]:
    """Returns a batch cut into so many equal parts, in order."""
    n = len(jax.tree.leaves(batch)[0])
    if n % count:
        raise ValueError(f"discriminator_steps must divide the {n} rows of a batch, got {count}.")
    size = n // count

    def part(start: int) -> Batch:
        return jax.tree.map(lambda x: x[start : start + size], batch)

    return [part(start) for start in range(0, n, size)]
