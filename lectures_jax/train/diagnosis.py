"""Where a number stopped being finite."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.core import Tracer

from lectures_jax.nn.capture import Call, capture_calls
from lectures_jax.train.learner import Learner, split_key
from lectures_jax.train.state import TrainState, assemble
from lectures_jax.typing import Batch


class NonFiniteError(ArithmeticError):
    """A loss, gradient or update was infinite or not a number. The state before it was kept."""


def explain(
    structure: nnx.GraphDef,
    learner: Learner,
    state: TrainState,
    batch: Batch | None,
    fixed: Any,
    metrics: Mapping[str, Any],
) -> NonFiniteError:
    """Runs the failed step's forward pass again, layer by layer, and says where it went wrong.

    Args:
        structure: of the model.
        learner: whose step failed.
        state: as the failed step left it: what that step was given.
        batch: of the failed step.
        fixed: arrays that the step only read.
        metrics: of the failed step.

    Returns:
        An error of one line: the step, what was not finite, and the first place.
    """
    wrong = [name for name, x in metrics.items() if not _is_finite(x)]
    player = _failed_player(structure, learner, state, batch, fixed)
    if player:  # whose failure may have reached the other's metrics, and the sum of their losses
        wrong = [name for name in wrong if name.startswith(f"{player}_")]
    what = f"the {player or 'optimizer'}'s update is not finite"
    if wrong:
        what = f"{wrong[0]} is {metrics[wrong[0]]}"
    where = _first_place(structure, learner, state, batch or {}, fixed)
    return NonFiniteError(f"step {int(state.step) + 1}: {what}; {where}.")


def _failed_player(
    structure: nnx.GraphDef, learner: Learner, state: TrainState, batch: Any, fixed: Any
) -> str | None:
    """Takes the step of several players again, and returns the first whose parameters it broke."""
    if not learner.players:
        return None
    step = jax.jit(lambda *arrays: learner.step(structure, *arrays))
    params = step(state, batch, fixed)[0].params
    return next((name for name in learner.players if not _is_finite(params[name])), None)


def _first_place(
    structure: nnx.GraphDef, learner: Learner, state: TrainState, batch: Batch, fixed: Any
) -> str:
    _, key_augment, key_objective = split_key(state.key)
    for name, x in batch.items():
        if not _is_finite(x):
            return f"the batch's {name!r} is not finite"
    if learner.augment:
        batch = learner.augment(key_augment, batch)
        for name, x in batch.items():
            if not _is_finite(x):
                return f"augment's {name!r} is not finite"
    if learner.forward is None:
        return "the batch is finite, and the learner has no forward pass to search"
    places: list[str] = []

    def note(call: Call) -> None:
        if not _is_finite(call.output):
            kind = type(call.module).__name__
            places.append(f"{call.path or 'the model'} ({kind})")

    model = assemble(structure, state.params, state.buffers)
    learner.forward(capture_calls(model, note), batch, key_objective, fixed)
    if places:
        return f"the first layer whose output is not finite is {places[0]}"
    return "every layer's output is finite, so look at the loss and its gradient"


def _is_finite(tree: Any) -> bool:
    """Returns whether all concrete float arrays of a tree are finite; inside `jit` nobody knows."""
    return all(
        bool(jnp.all(jnp.isfinite(x)))
        for x in jax.tree.leaves(tree)
        if not isinstance(x, Tracer) and jnp.issubdtype(jnp.result_type(x), jnp.inexact)
    )
