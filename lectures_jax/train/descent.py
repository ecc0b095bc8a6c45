"""Gradient descent on one objective, the usual learner."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import DTypeLike

from lectures_jax.nn.precision import compute_in
from lectures_jax.train.arguments import check_updates
from lectures_jax.train.learner import (
    Augment,
    Learner,
    Step,
    average,
    call_objective,
    compile_step,
    learning_rate,
    split_key,
    update,
)
from lectures_jax.train.state import TrainState, assemble, buffers_of, init
from lectures_jax.typing import Batch, Key, Metrics, Objective


def descent(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    ema_decay: float | None = None,
    accumulate: int = 1,
    augment: Augment | None = None,
    precision: DTypeLike | None = None,
) -> Learner:
    """Returns the learner that minimizes an objective.

    Args:
        objective: `(model, batch, key) -> (scalar to minimize, metrics)`; where training has
            `fixed`, it is called with that as a fourth argument.
        optimizer: an Optax transformation.
        ema_decay: of moving averages of the parameters, None for no averages; at the beginning the
            decay is lower, `(1 + n) / (10 + n)` after `n` updates.
        accumulate: batches whose gradients are averaged before the optimizer updates.
        augment: `(key, batch) -> batch` of the whole batch, compiled into the step. A function of
            one example is passed as
            `lambda key, batch: jax.vmap(one)(jax.random.split(key, n), batch)`.
        precision: float dtype that the layers compute in during training, such as `jnp.bfloat16`
            (see `nn.precision`): parameters, statistics, gradients and losses keep theirs, and so
            does the model that training returns. None for each layer's own.

    Returns:
        A learner whose metrics are the objective's, `loss`, `grad_norm`, and `learning_rate` where
        the optimizer keeps it (`optax.inject_hyperparams`).

    Raises:
        ValueError: if `accumulate` is below 1, `ema_decay` outside [0, 1), `precision` no float
            dtype or the model has no layer with a `dtype`, or the optimizer is not Optax's.
    """
    check_updates(optimizer, ema_decay=ema_decay, precision=precision)
    if accumulate < 1:
        raise ValueError(f"accumulate must be at least 1, got {accumulate}.")
    if accumulate > 1:
        optimizer = optax.MultiSteps(optimizer, accumulate).gradient_transformation()

    def begin(key: Key, model: nnx.Module) -> tuple[nnx.GraphDef, TrainState]:
        return init(key, model, optimizer, ema=ema_decay is not None)

    def forward(model: Any, batch: Batch, key: Key, fixed: Any) -> Any:
        return call_objective(objective, in_precision(model), batch, key, fixed)

    def in_precision(model: Any) -> Any:
        return model if precision is None else compute_in(model, precision)

    def step(
        structure: nnx.GraphDef, state: TrainState, batch: Batch, fixed: Any
    ) -> tuple[TrainState, Metrics]:
        _, key_augment, key_objective = split_key(state.key)
        examples = augment(key_augment, batch) if augment else batch

        def loss_of(params: dict) -> Any:
            model = in_precision(assemble(structure, params, state.buffers))
            loss, metrics = call_objective(objective, model, examples, key_objective, fixed)
            loss = loss.astype(jnp.promote_types(loss.dtype, jnp.float32))
            return loss, (metrics, buffers_of(model))

        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, (metrics, buffers)), grads = gradient(state.params)
        new = update(optimizer, loss, grads, state.optimizer_state, state.params)
        metrics = {**metrics, "loss": loss, "grad_norm": new.grad_norm}
        proposed = state._replace(
            params=new.params,
            buffers=buffers,
            optimizer_state=new.optimizer_state,
            ema=average(state, new.params, buffers, new.optimizer_state, ema_decay),
            failed=~new.finite,
        )
        return proposed, metrics | learning_rate(new.optimizer_state)

    return Learner(begin, step, augment, forward)


def make_step(
    structure: nnx.GraphDef,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    ema_decay: float | None = None,
    augment: Augment | None = None,
) -> Step:
    """Returns one step of gradient descent, compiled on its first call.

    The step consumes its state: the arrays passed in are donated and must not be used again. When
    the loss, the norm of the gradients or the norm of the updates is not finite, the state stays as
    it was, at that step and at every later one, and `failed` is set.

    Args:
        structure: of the model, as `init` returned it.
        objective: `(model, batch, key) -> (scalar, metrics)`.
        optimizer: the one that `init` was given.
        ema_decay: of the moving averages, or None; the state must have been made with `ema` then.
        augment: `(key, batch) -> batch` of the whole batch, compiled into the step.

    Returns:
        `step(state, batch, fixed=None) -> (state, metrics)`, as of `descent`.
    """
    learner = descent(objective, optimizer, ema_decay=ema_decay, augment=augment)
    return compile_step(structure, learner)
