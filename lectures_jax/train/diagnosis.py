"""Where a number stopped being finite."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.core import Tracer

from lectures_jax.train.state import TrainState
from lectures_jax.train.step import Augment, split_key
from lectures_jax.typing import Objective


class NonFiniteError(ArithmeticError):
    """A loss, gradient or update was infinite or not a number. The state before it was kept."""


def explain(
    structure: nnx.GraphDef,
    objective: Objective,
    augment: Augment | None,
    state: TrainState,
    metrics: Mapping[str, Any],
) -> NonFiniteError:
    """Runs the failed step's forward pass again, layer by layer, and says where it went wrong.

    Args:
        structure: of the model.
        objective: as in training.
        augment: as in training.
        state: as the failed step left it: what that step was given, and its batch in `suspect`.
        metrics: of the failed step.

    Returns:
        An error of one line: the step, what was not finite, and the first place.
    """
    wrong = [f"{name} is {x}" for name, x in metrics.items() if not jnp.isfinite(x)]
    what = wrong[0] if wrong else "the optimizer's update is not finite"
    where = _first_place(structure, state, objective, augment)
    return NonFiniteError(f"step {int(state.step) + 1}: {what}; {where}.")


def _first_place(
    structure: nnx.GraphDef, state: TrainState, objective: Objective, augment: Augment | None
) -> str:
    _, key_augment, key_objective = split_key(state.key)
    batch = state.suspect or {}
    for name, x in batch.items():
        if not _is_finite(x):
            return f"the batch's {name!r} is not finite"
    if augment:
        batch = augment(key_augment, batch)
        for name, x in batch.items():
            if not _is_finite(x):
                return f"augment's {name!r} is not finite"
    model = nnx.merge(structure, state.params, state.buffers, copy=True)
    found = _watch(model)
    objective(model, batch, key_objective)
    if found:
        return f"the first layer whose output is not finite is {found[0]}"
    return "every layer's output is finite, so look at the loss and its gradient"


def _watch(model: Any) -> list[str]:
    """Makes a model list its modules whose outputs are not finite, in the order they return.

    Python looks `__call__` up on the class, so every module gets a class of its own: `model` must
    be a copy that is thrown away.
    """
    found: list[str] = []
    for path, module in list(nnx.iter_modules(model)):
        cls = type(module)
        if not callable(module):
            continue
        name = f"{'.'.join(map(str, path)) or 'the model'} ({cls.__name__})"

        def watched(self, *args, call=cls.__call__, name=name, **kwargs):
            output = call(self, *args, **kwargs)
            if not _is_finite(output):
                found.append(name)
            return output

        object.__setattr__(module, "__class__", type(cls.__name__, (cls,), {"__call__": watched}))
    return found


def _is_finite(tree: Any) -> bool:
    """Returns whether all concrete float arrays of a tree are finite; inside `jit` nobody knows."""
    return all(
        bool(jnp.all(jnp.isfinite(x)))
        for x in jax.tree.leaves(tree)
        if not isinstance(x, Tracer) and jnp.issubdtype(jnp.result_type(x), jnp.inexact)
    )
