"""Training of two networks against each other, one frozen while the other moves."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool

from lectures_jax.train.diagnosis import explain
from lectures_jax.train.history import Row
from lectures_jax.train.loop import Evaluate, drive
from lectures_jax.train.state import TrainState, init
from lectures_jax.train.step import Augment, Step, advance, average, norm, split_key
from lectures_jax.typing import Batch, Key, Metrics, Objective

PLAYERS: tuple[str, str] = ("discriminator", "generator")
"""In the order in which they move; `model` has an attribute of each name."""


class Player(NamedTuple):
    """What one of the two networks minimizes, and how.

    Attributes:
        objective: `(model, batch, key) -> (scalar, metrics)`, of the model with both networks.
        optimizer: moves this network's parameters only.
    """

    objective: Objective
    optimizer: optax.GradientTransformation


def fit_adversarial(
    key: Key,
    model: nnx.Module,
    discriminator: Player,
    generator: Player,
    batches: Iterable[Batch],
    *,
    steps: int | None = None,
    out: Path | None = None,
    discriminator_steps: int = 1,
    ema_decay: float | None = None,
    augment: Augment | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int | None = None,
    best: str | None = None,
    save_every: int = 500,
    log_every: int = 50,
) -> tuple[Any, list[Row]]:
    """Trains a discriminator and a generator in turns; the rest is as in `fit`.

    Files, rows, resuming bit for bit, SIGTERM, moving averages of both networks and what happens
    when a number is not finite are `fit`'s.

    Args:
        key: source of the run's random numbers.
        model: an `nnx` module with the attributes `discriminator` and `generator`, left as it is.
        discriminator: its objective and optimizer.
        generator: likewise.
        batches: as for `fit`; each is cut into `discriminator_steps` equal parts, the last of which
            the generator sees as well.
        steps: batches to train on in all, each one move of the generator.
        out: folder for rows and checkpoints; None leaves no files.
        discriminator_steps: moves of the discriminator for each of the generator.
        ema_decay: of moving averages of the parameters, which `evaluate` and the result then use.
        augment: `(key, batch) -> batch` on whole batches, compiled into the step.
        evaluate: `model -> metrics`, under names that training does not use; always at the end.
        evaluate_every: steps between evaluations; None evaluates at the end only.
        best: metric of `evaluate` to maximize: its best checkpoint is kept and returned.
        save_every: steps between checkpoints; the last step is always saved.
        log_every: steps between rows.

    Returns:
        The model, as `fit` returns it, and the rows: `discriminator_loss`, `generator_loss`, `loss`
        (their sum), the norms of the gradients, and what the objectives measure.

    Raises:
        NonFiniteError: as `fit`, as the other errors.
        Stopped: after SIGTERM and a checkpoint, if there is `out`.
        ValueError: if the model lacks a player, or as `fit`.
        OSError: if `out` cannot be written.
    """
    players: dict[str, Player] = dict(zip(PLAYERS, (discriminator, generator), strict=True))
    structure, state = init(key, model, _starts(players), ema=ema_decay is not None)
    return drive(
        make_adversarial_step(
            structure,
            discriminator,
            generator,
            discriminator_steps=discriminator_steps,
            ema_decay=ema_decay,
            augment=augment,
        ),
        structure,
        state,
        batches,
        diagnose=partial(explain, structure, partial(_both, players, discriminator_steps), augment),
        steps=steps,
        out=out,
        evaluate=evaluate,
        evaluate_every=evaluate_every,
        best=best,
        save_every=save_every,
        log_every=log_every,
    )


def make_adversarial_step(
    structure: nnx.GraphDef,
    discriminator: Player,
    generator: Player,
    *,
    discriminator_steps: int = 1,
    ema_decay: float | None = None,
    augment: Augment | None = None,
) -> Step:
    """Returns one turn of both players, compiled on its first call.

    While one moves, nothing of the other changes: neither parameters nor buffers, such as the
    averages of batch normalization. The state is that of `init`, with an optimizer state for each
    player; as in `make_step` it is consumed, and stays as it was when a number is not finite.

    Args:
        structure: of the model with both networks, as `init` returned it.
        discriminator: moves first, `discriminator_steps` times.
        generator: moves once, against the discriminator that has moved.
        discriminator_steps: equal parts into which a batch is cut.
        ema_decay: of the moving averages, or None.
        augment: `(key, batch) -> batch`, applied to the whole batch.

    Returns:
        `step(state, batch) -> (state, metrics)`.

    Raises:
        ValueError: if `discriminator_steps` is not positive, or does not divide a batch.

    Source:
        Goodfellow et al. (2014), algorithm 1.
    """
    if discriminator_steps < 1:
        raise ValueError(f"discriminator_steps must be at least 1, got {discriminator_steps}.")

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key, key_augment, key_objective = split_key(state.key)
        examples = augment(key_augment, batch) if augment else batch
        keys = jax.random.split(key_objective, discriminator_steps + 1)
        parts = _parts(examples, discriminator_steps)
        moved, finite, metrics = state, jnp.bool_(True), {}
        for n, part in enumerate([*parts, parts[-1]]):
            name = PLAYERS[n == discriminator_steps]
            player = generator if name == "generator" else discriminator
            moved, good, found = _move(structure, name, player, moved, part, keys[n])
            finite, metrics = finite & good, metrics | found
        metrics["loss"] = metrics["discriminator_loss"] + metrics["generator_loss"]
        proposed = moved._replace(
            ema=average(state, moved.params, moved.buffers, None, ema_decay),
            key=key,
            step=state.step + 1,
        )
        return advance(state, proposed, finite, batch), metrics

    return jax.jit(step, donate_argnums=0)


def _move(
    structure: nnx.GraphDef, name: str, player: Player, state: TrainState, batch: Batch, key: Key
) -> tuple[TrainState, Bool[Array, ""], Metrics]:
    """Moves one player; returns the state, whether all was finite, and what was measured."""

    def loss_of(own: dict) -> tuple[Array, tuple[Metrics, dict]]:
        model = nnx.merge(structure, {**state.params, name: own}, state.buffers, copy=True)
        loss, metrics = player.objective(model, batch, key)
        buffers = nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))
        return loss, (metrics, buffers.get(name, {}))

    own = state.params[name]
    (loss, (metrics, buffers)), grads = jax.value_and_grad(loss_of, has_aux=True)(own)
    updates, optimizer_state = player.optimizer.update(grads, state.optimizer_state[name], own)
    norms = norm(grads), norm(updates)
    finite = jnp.isfinite(loss) & jnp.isfinite(norms[0]) & jnp.isfinite(norms[1])
    moved = state._replace(
        params={**state.params, name: optax.apply_updates(own, updates)},
        buffers={**state.buffers, **({name: buffers} if buffers else {})},
        optimizer_state={**state.optimizer_state, name: optimizer_state},
    )
    named = {f"{name}_loss": loss, f"{name}_grad_norm": norms[0]}
    return moved, finite, {**metrics, **named}


def _starts(players: dict[str, Player]) -> optax.GradientTransformation:
    """Both optimizers' first states, for `init`; the updates are each player's own."""

    def start(params: Any) -> dict:
        if missing := set(PLAYERS) - set(params):
            raise ValueError(f"model must have parameters of {PLAYERS}, got none of {missing}.")
        return {name: player.optimizer.init(params[name]) for name, player in players.items()}

    return optax.GradientTransformation(start, optax.identity().update)


def _parts(batch: Batch, count: int) -> Sequence[Batch]:
    n = len(jax.tree.leaves(batch)[0])
    if n % count:
        raise ValueError(f"discriminator_steps must divide the {n} rows of a batch, got {count}.")
    starts = range(0, n, n // count)
    return [jax.tree.map(partial(_rows, start, n // count), batch) for start in starts]


def _rows(start: int, size: int, x: Array) -> Array:
    return x[start : start + size]


def _both(
    players: dict[str, Player], discriminator_steps: int, model: Any, batch: Batch, key: Key
) -> tuple[Array, Metrics]:
    """Both objectives with the numbers that a step draws, for the search for a fault."""
    keys = jax.random.split(key, discriminator_steps + 1)
    parts = _parts(batch, discriminator_steps)
    for part, own in zip(parts, keys[:-1], strict=True):
        players["discriminator"].objective(model, part, own)
    return players["generator"].objective(model, parts[-1], keys[-1])
