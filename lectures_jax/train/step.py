"""One optimizer step as a pure function, compiled once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float

from lectures_jax.train.state import TrainState
from lectures_jax.typing import Batch, Key, Metrics, Objective

Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
"""`(state, batch) -> (state, metrics)`."""

Augment = Callable[[Key, Batch], Batch]
"""`(key, batch) -> batch`, of a whole batch."""

SMALL = 4096  # entries of an array up to which a copy costs less than a kernel of its own


def make_step(
    structure: nnx.GraphDef,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    ema_decay: float | None = None,
    augment: Augment | None = None,
) -> Step:
    """Returns one training step, compiled on its first call.

    The step consumes its state: the arrays passed in are donated and must not be used again. A
    batch may hold NumPy arrays. When the loss, the norm of the gradients or the norm of the updates
    is not finite, the state stays as it was, now and at every later step, `failed` is set and
    `suspect` keeps the batch.

    Args:
        structure: of the model, as `init` returned it.
        objective: `(model, batch, key) -> (scalar, metrics)`.
        optimizer: the one that `init` was given.
        ema_decay: of the moving averages, or None; the state must have been made with `ema` then.
        augment: `(key, batch) -> batch`, applied to the whole batch before the objective, inside
            the compiled step. A function of one example is passed as
            `lambda key, batch: jax.vmap(one)(jax.random.split(key, n), batch)`.

    Returns:
        `step(state, batch) -> (state, metrics)`: the objective's metrics, `loss`, `grad_norm`, and
        `learning_rate` where the optimizer keeps it (`optax.inject_hyperparams`).
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key, key_augment, key_objective = split_key(state.key)
        examples = augment(key_augment, batch) if augment else batch

        def loss_of(params: dict) -> tuple[Float[Array, ""], tuple[Metrics, dict]]:
            # Without a copy batch norm would write into variables of an outer trace.
            model = nnx.merge(structure, params, state.buffers, copy=True)
            loss, metrics = objective(model, examples, key_objective)
            return loss, (metrics, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param))))

        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, (metrics, buffers)), grads = gradient(state.params)
        updates, optimizer_state = optimizer.update(grads, state.optimizer_state, state.params)
        params = optax.apply_updates(state.params, updates)
        proposed = state._replace(
            params=params,
            buffers=buffers,
            optimizer_state=optimizer_state,
            ema=average(state, params, buffers, optimizer_state, ema_decay),
            key=key,
            step=state.step + 1,
        )
        grad_norm = norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        finite &= jnp.isfinite(norm(updates))
        metrics = {**metrics, "loss": loss, "grad_norm": grad_norm}
        return advance(state, proposed, finite, batch), metrics | _learning_rate(optimizer_state)

    return jax.jit(step, donate_argnums=0)


def norm(tree: Any) -> Float[Array, ""]:
    """Returns the Euclidean norm of all entries together; small arrays as one, to spare kernels."""
    leaves = jax.tree.leaves(tree)
    small = [x.ravel() for x in leaves if x.size <= SMALL]
    large = [x for x in leaves if x.size > SMALL]
    return optax.tree.norm([jnp.concatenate(small), *large] if small else large)


def split_key(key: Key) -> tuple[Key, Key, Key]:
    """Returns the next step's key and this step's, for the augmentation and for the objective."""
    key, key_augment, key_objective = jax.random.split(key, 3)
    return key, key_augment, key_objective


def advance(
    state: TrainState, proposed: TrainState, finite: Bool[Array, ""], batch: Batch
) -> TrainState:
    """Moves on while all is well; otherwise keeps the state and, the first time, the batch."""
    suspect = state.suspect
    state, proposed = state._replace(suspect=None), proposed._replace(suspect=None)
    if suspect is not None:
        _check_shapes(suspect, batch)
        first = ~finite & ~state.failed
        suspect = jax.lax.cond(first, lambda: batch, lambda: suspect)
    failed = state.failed | ~finite
    moved = jax.tree.map(lambda old, new: _select(failed, old, new), state, proposed)
    return moved._replace(failed=failed, suspect=suspect)


def _check_shapes(first: Batch, batch: Batch) -> None:
    """Refuses at trace time a batch unlike the first, which would also compile the step again."""
    expected, got = (jax.tree.map(lambda x: str(jax.typeof(x)), b) for b in (first, batch))
    if expected != got:
        raise ValueError(f"every batch must be like the first, {expected}, got {got}.")


def _select(failed: Bool[Array, ""], old: Array, new: Array) -> Array:
    if jnp.issubdtype(old.dtype, jax.dtypes.prng_key):
        return jnp.where(failed, old, new)
    # The dtype of the first step stays, so that the step is traced once.
    return jnp.where(failed, old, new.astype(old.dtype))


def average(
    state: TrainState, params: Any, buffers: dict, optimizer_state: Any, decay: float | None
) -> dict | None:
    """Moves the averages by `ema ← d · ema + (1 − d) · new`, `d = min(decay, (1 + n) / (10 + n))`.

    `n` counts the optimizer's moves: with accumulated gradients the averages rest in between, too.
    """
    if decay is None or state.ema is None:
        if (decay is None) != (state.ema is None):
            raise ValueError(
                f"ema_decay must be set exactly where init had ema=True, got {decay} and "
                f"ema={state.ema is not None}."
            )
        return None
    moved, count = jnp.bool_(True), state.step
    if isinstance(optimizer_state, optax.MultiStepsState):
        moved, count = optimizer_state.mini_step == 0, optimizer_state.gradient_step - 1
    share = jnp.where(moved, 1 - jnp.minimum(decay, (1 + count) / (10 + count)), 0.0)
    new = {"params": params, "buffers": buffers}
    return jax.tree.map(lambda old, x: _mix(old, x, share), state.ema, new)


def _mix(old: Array, new: Array, share: Float[Array, ""]) -> Array:
    if not jnp.issubdtype(old.dtype, jnp.floating):
        return new
    return old + share.astype(old.dtype) * (new.astype(old.dtype) - old)


def _learning_rate(optimizer_state: Any) -> Metrics:
    found = optax.tree.get_all_with_path(optimizer_state, "learning_rate")
    return {"learning_rate": jnp.asarray(found[0][1])} if found else {}
