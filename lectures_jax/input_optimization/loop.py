"""The loop under all of it: an optimizer moves a tree of inputs, and the network stays as it is.

Functions that are handed in, such as a network or an objective, are arguments of the compiled
program where they are trees of arrays: a Flax module, one of its methods, `jax.tree_util.Partial`.
Another network of the same structure, other targets and another learning rate then compile nothing.
A plain function is part of the program: define it once, and not anew for each call.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float

from lectures_jax.typing import Key

Objective = Callable[[Any, Key], Float[Array, "*b"]]
"""`(inputs, key) -> losses`: a number, or one for each example."""

RankedObjective = Callable[[Any, Key], tuple[Float[Array, " b"], Float[Array, " b"]]]
"""`(inputs, key) -> (losses, ranks)`: the losses are descended, the lowest rank is kept."""

MakeOptimizer = Callable[[Any], optax.GradientTransformation]
"""`learning_rate -> optimizer`, such as `optax.adam`."""


class Optimized(NamedTuple):
    """Inputs after the last step.

    Attributes:
        inputs: a tree like the first ones.
        losses: of the inputs before each step.
    """

    inputs: Any
    losses: Float[Array, "steps *b"]


class Best(NamedTuple):
    """The best inputs of all steps, for each example.

    Attributes:
        inputs: a tree like the first ones.
        losses: before each step and after the last.
        ranks: of the best inputs; their losses, unless the objective ranks by something else.
    """

    inputs: Any
    losses: Float[Array, "steps b"]
    ranks: Float[Array, " b"]


class _State(NamedTuple):
    inputs: Any
    optimizer_state: Any
    best: Any
    best_ranks: Any


def optimize_inputs(
    key: Key,
    objective: Objective,
    inputs: Any,
    *,
    steps: int,
    learning_rate: float,
    optimizer: MakeOptimizer = optax.adam,
    project: Callable[[Any], Any] | None = None,
    every: int | None = None,
    callback: Callable[[int, Any], Any] | None = None,
) -> Optimized:
    """Moves inputs until the sum of their losses is low, in one compiled program.

    Args:
        key: for an objective that draws numbers; each step has its own.
        objective: `(inputs, key) -> losses`.
        inputs: a tree of float arrays, where to begin.
        steps: updates.
        learning_rate: of the optimizer.
        optimizer: `learning_rate -> Optax transformation`; one that searches along a line, such as
            `optax.lbfgs`, wants an objective that draws nothing.
        project: `inputs -> inputs`, applied to the first inputs and after each step.
        every: steps between two calls of `callback`, None for none.
        callback: `(step, inputs) -> None`, on the host; also after the last step.

    Raises:
        ValueError: if `steps` or `every` is below 1.
    """
    every = steps if every is None else every
    for name, count in {"steps": steps, "every": every}.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}.")
    functions = as_argument(objective), as_argument(project or _identity)
    state = _begin(functions[1], inputs, learning_rate, optimizer=optimizer)
    losses = []
    for start in range(0, steps, every):
        keys = jax.random.split(jax.random.fold_in(key, start), min(every, steps - start))
        state, part = _advance(*functions, state, keys, learning_rate, optimizer=optimizer)
        losses.append(part)
        if callback is not None:
            callback(start + len(keys), state.inputs)
    return Optimized(state.inputs, jnp.concatenate(losses))


def descend(
    key: Key,
    objective: Objective | RankedObjective,
    inputs: Any,
    optimizer: optax.GradientTransformation,
    *,
    steps: int,
    project: Callable[[Any], Any],
) -> Best:
    """Returns for each example the best inputs of all steps; to be compiled with what is around it.

    Args:
        key: each evaluation of the objective has its own.
        objective: `(inputs, key) -> losses`, one for each example, or `(losses, ranks)` where the
            best inputs are not those of the lowest loss: one may descend a smooth loss, and keep
            what fools a network by the widest margin.
        inputs: arrays with the examples along the leading axis, where to begin.
        optimizer: an Optax transformation.
        steps: updates, at least 0.
        project: `inputs -> inputs`, applied to the first inputs and after each step.
    """
    inputs = project(inputs)
    keys = jax.random.split(key, steps + 1)
    ranks = jax.eval_shape(lambda inputs: _with_ranks(objective(inputs, key))[1], inputs)
    worst = jnp.full(ranks.shape, jnp.inf, ranks.dtype)
    state = _State(inputs, optimizer.init(inputs), inputs, worst)
    step = partial(_step, objective, project, optimizer, keep_best=True)
    state, losses = jax.lax.scan(step, state, keys[:-1])
    last, ranks = _with_ranks(objective(state.inputs, keys[-1]))
    state = _keep_best(state, ranks)
    return Best(state.best, jnp.concatenate([losses, last[None]]), state.best_ranks)


def as_argument(function: Callable) -> Callable:
    """Returns a function as a tree, so that a compiled program takes it as an argument.

    Args:
        function: a tree that can be called, such as a Flax module; a method of one; or a plain
            function, which becomes a tree without arrays.
    """
    if jax.tree_util.all_leaves([function]):
        owner, method = getattr(function, "__self__", None), getattr(function, "__func__", None)
        if method is not None and not jax.tree_util.all_leaves([owner]):
            return Partial(method, owner)
        return Partial(function)
    return function


def _identity(inputs: Any) -> Any:
    return inputs


@partial(jax.jit, static_argnames="optimizer")
def _begin(
    project: Callable, inputs: Any, learning_rate: Any, *, optimizer: MakeOptimizer
) -> _State:
    inputs = project(inputs)
    return _State(inputs, optimizer(learning_rate).init(inputs), None, None)


@partial(jax.jit, static_argnames="optimizer", donate_argnums=2)
def _advance(
    objective: Objective,
    project: Callable,
    state: _State,
    keys: Array,
    learning_rate: Any,
    *,
    optimizer: MakeOptimizer,
) -> tuple[_State, Array]:
    step = partial(_step, objective, project, optimizer(learning_rate), keep_best=False)
    return jax.lax.scan(step, state, keys)


def _step(
    objective: Objective | RankedObjective,
    project: Callable,
    optimizer: optax.GradientTransformation,
    state: _State,
    key: Key,
    *,
    keep_best: bool,
) -> tuple[_State, Array]:
    def total(inputs: Any) -> tuple[Array, tuple[Array, Array]]:
        losses, ranks = _with_ranks(objective(inputs, key))
        return jnp.sum(losses), (losses, ranks)

    (value, (losses, ranks)), gradient = jax.value_and_grad(total, has_aux=True)(state.inputs)
    if keep_best:
        state = _keep_best(state, ranks)
    updates, optimizer_state = optax.with_extra_args_support(optimizer).update(
        gradient,
        state.optimizer_state,
        state.inputs,
        value=value,
        grad=gradient,
        value_fn=lambda inputs: total(inputs)[0],
    )
    inputs = project(optax.apply_updates(state.inputs, updates))
    return state._replace(inputs=inputs, optimizer_state=optimizer_state), losses


def _with_ranks(evaluated: Any) -> tuple[Array, Array]:
    return evaluated if isinstance(evaluated, tuple) else (evaluated, evaluated)


def _keep_best(state: _State, ranks: Array) -> _State:
    better = ranks < state.best_ranks

    def choose(old: Array, new: Array) -> Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    best = jax.tree.map(choose, state.best, state.inputs)
    return state._replace(best=best, best_ranks=jnp.where(better, ranks, state.best_ranks))
