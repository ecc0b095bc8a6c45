"""A learner, the pair of pure functions that training repeats, and the guard around its step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float

from lectures_jax.train.arguments import loss_and_metrics
from lectures_jax.train.state import TrainState
from lectures_jax.typing import Batch, Key, Metrics, is_typed_key

Augment = Callable[[Key, Batch], Batch]
"""`(key, batch) -> batch`, of a whole batch."""

Step = Callable[..., tuple[TrainState, Metrics]]
"""`(state, batch, fixed=None) -> (state, metrics)`, compiled; it consumes its state."""

SMALL = 4096  # entries of an array up to which a copy costs less than a kernel of its own


class Learner(NamedTuple):
    """A kind of training: how it begins, and what one batch changes.

    Attributes:
        init: `(key, model) -> (structure, state)`.
        step: `(structure, state, batch, fixed) -> (state, metrics)`, pure. The new state's `failed`
            says whether anything was not finite; `guarded` then keeps the old one, and it alone
            counts steps and moves the key on. `metrics` has the `loss`. `fixed` is what training
            was given under that name: arrays that the step reads and never changes, or None.
        augment: applied to the batch by the step with the first of `split_key`'s two keys.
        forward: `(model, batch, key, fixed) -> Any`, what the step computes of the augmented batch
            with the second of these keys: the search for what was not finite runs it layer by
            layer. None leaves that search out.
        players: names of the networks that are updated, in the order of their turns, where there
            are several: metrics of one begin with its name, and parameters lie under it.
    """

    init: Callable[[Key, Any], tuple[nnx.GraphDef, TrainState]]
    step: Callable[[nnx.GraphDef, TrainState, Batch, Any], tuple[TrainState, Metrics]]
    augment: Augment | None = None
    forward: Callable[[Any, Batch, Key, Any], Any] | None = None
    players: tuple[str, ...] = ()


class Update(NamedTuple):
    """One move of an optimizer.

    Attributes:
        params: after the move.
        optimizer_state: after the move.
        grad_norm: Euclidean norm of all gradients together.
        finite: whether the loss and the norms of gradients and updates are finite.
    """

    params: Any
    optimizer_state: Any
    grad_norm: Float[Array, ""]
    finite: Bool[Array, ""]


def compile_step(structure: nnx.GraphDef, learner: Learner) -> Step:
    """Returns a learner's step, guarded, and compiled on its first call.

    The step consumes its state: the arrays passed in are donated and must not be used again. Where
    the learner's step failed, the state stays as it was, at that step and at every later one, and
    `failed` is set.

    Args:
        structure: as `learner.init` returned it.
        learner: whose step it is.

    Returns:
        `step(state, batch, fixed=None) -> (state, metrics)`; a batch may hold NumPy arrays.
    """

    def step(state: TrainState, batch: Batch, fixed: Any = None) -> tuple[TrainState, Metrics]:
        return guarded(structure, learner, state, batch, fixed)

    return jax.jit(step, donate_argnums=0)


def guarded(
    structure: nnx.GraphDef, learner: Learner, state: TrainState, batch: Batch, fixed: Any
) -> tuple[TrainState, Metrics]:
    """Takes a step, counts it and moves the key on, but keeps the state if it failed; not compiled.

    Raises:
        ValueError: if the metrics have no `loss`.
    """
    proposed, metrics = learner.step(structure, state, batch, fixed)
    if "loss" not in metrics:
        raise ValueError(f"a learner's step must measure a 'loss', got {sorted(metrics)}.")
    proposed = proposed._replace(step=state.step + 1, key=split_key(state.key)[0])
    failed = state.failed | proposed.failed
    state = jax.tree.map(lambda old, new: _select(failed, old, new), state, proposed)
    return state._replace(failed=failed), metrics


def split_key(key: Key) -> tuple[Key, Key, Key]:
    """Returns the next step's key and this step's, for the augmentation and for the objective.

    Args:
        key: of the state.
    """
    key, key_augment, key_objective = jax.random.split(key, 3)
    return key, key_augment, key_objective


def update(
    optimizer: optax.GradientTransformation,
    loss: Float[Array, ""],
    grads: Any,
    optimizer_state: Any,
    params: Any,
) -> Update:
    """Returns what an optimizer makes of gradients, and whether all of it is finite.

    Args:
        optimizer: an Optax transformation.
        loss: that the gradients belong to.
        grads: tree like `params`.
        optimizer_state: of `optimizer`.
        params: to update.
    """
    updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
    grad_norm = _norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm) & jnp.isfinite(_norm(updates))
    return Update(optax.apply_updates(params, updates), optimizer_state, grad_norm, finite)


def call_objective(
    objective: Any, model: Any, batch: Batch, key: Key, fixed: Any
) -> tuple[Array, Metrics]:
    """Returns an objective's result.

    Args:
        objective: `(model, batch, key) -> (scalar, metrics)`.
        model: to call.
        batch: of examples.
        key: for random numbers.
        fixed: the objective's fourth argument, None for three arguments.

    Raises:
        ValueError: if the objective returns anything but a scalar and a dictionary.
    """
    arguments = (model, batch, key) if fixed is None else (model, batch, key, fixed)
    return loss_and_metrics(objective(*arguments))


def learning_rate(optimizer_state: Any) -> Metrics:
    """Returns the `learning_rate` of the last update, where the optimizer's state keeps it.

    Args:
        optimizer_state: of Optax; `optax.inject_hyperparams` keeps the rate there. Of several rates
            the first one is returned.
    """
    rates = optax.tree.get_all_with_path(optimizer_state, "learning_rate")
    return {"learning_rate": jnp.asarray(rates[0][1])} if rates else {}


def _norm(tree: Any) -> Float[Array, ""]:
    """Returns the Euclidean norm of all entries together; small arrays as one, to spare kernels."""
    leaves = jax.tree.leaves(tree)
    small = [x.ravel() for x in leaves if x.size <= SMALL]
    large = [x for x in leaves if x.size > SMALL]
    return optax.tree.norm([jnp.concatenate(small), *large] if small else large)


def average(
    state: TrainState, params: Any, buffers: dict, optimizer_state: Any, decay: float | None
) -> dict | None:
    """Moves the averages by `ema ← d · ema + (1 − d) · new`, `d = min(decay, (1 + n) / (10 + n))`.

    `n` counts the optimizer's moves: with accumulated gradients the averages rest in between, too.

    Args:
        state: before the step.
        params: after it.
        buffers: after it.
        optimizer_state: after it, or None where no optimizer accumulates.
        decay: in [0, 1), None for no averages.

    Returns:
        The averages after the step, None where `decay` is None.

    Raises:
        ValueError: if there is a decay and no averages in the state, or averages and no decay.
    """
    if decay is None or state.ema is None:
        if (decay is None) != (state.ema is None):
            raise ValueError(
                f"ema_decay must be set exactly where init had ema=True, got {decay} and "
                f"ema={state.ema is not None}."
            )
        return None
    due, count = jnp.bool_(True), state.step
    if isinstance(optimizer_state, optax.MultiStepsState):
        due, count = optimizer_state.mini_step == 0, optimizer_state.gradient_step - 1
    share = jnp.where(due, 1 - jnp.minimum(decay, (1 + count) / (10 + count)), 0.0)
    new = {"params": params, "buffers": buffers}
    return jax.tree.map(lambda old, x: _mix(old, x, share), state.ema, new)


def _mix(old: Array, new: Array, share: Float[Array, ""]) -> Array:
    if not jnp.issubdtype(old.dtype, jnp.floating):
        return new
    return old + share.astype(old.dtype) * (new.astype(old.dtype) - old)


def _select(failed: Bool[Array, ""], old: Array, new: Array) -> Array:
    if is_typed_key(old):
        return jnp.where(failed, old, new)
    # The dtype of the first step stays, so that the step is traced once.
    return jnp.where(failed, old, new.astype(old.dtype))
