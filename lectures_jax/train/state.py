"""What training carries from step to step: plain dictionaries of arrays, and nothing else."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Int

from lectures_jax.typing import Key, is_typed_key


class TrainState(NamedTuple):
    """All that a step reads and writes, but for its batch.

    Attributes:
        params: what the optimizer updates, a nested dictionary.
        buffers: what the network keeps but does not train, such as batch-norm's averages.
        optimizer_state: Optax's.
        ema: moving averages of `params` and of the float `buffers`, in a dictionary with these two
            names, or None.
        key: source of all random numbers to come; each step splits it.
        step: steps taken.
        failed: whether a loss, gradient or update was not finite. From then on nothing changes.
    """

    params: dict
    buffers: dict
    optimizer_state: Any
    ema: dict | None
    key: Key
    step: Int[Array, ""]
    failed: Bool[Array, ""]


def init(
    key: Key, model: nnx.Module, optimizer: optax.GradientTransformation, *, ema: bool = False
) -> tuple[nnx.GraphDef, TrainState]:
    """Splits a model into its structure and the first `TrainState`.

    Args:
        key: source of the run's random numbers.
        model: left as it is; the state holds copies, because a step consumes what it is given.
        optimizer: an Optax transformation.
        ema: keep moving averages of the parameters and float buffers.

    Returns:
        The structure, which is static and hashable, and the state.

    Raises:
        ValueError: if the model has no parameter.
    """
    structure, params, buffers = nnx.split(model, nnx.Param, ...)
    if not jax.tree.leaves(params):
        raise ValueError(f"model must have an nnx.Param to train, got {type(model).__name__}.")
    params, buffers = nnx.to_pure_dict(params), nnx.to_pure_dict(buffers)
    state = TrainState(
        params=params,
        buffers=buffers,
        optimizer_state=optimizer.init(params),
        ema={"params": params, "buffers": buffers} if ema else None,
        key=key,
        step=jnp.zeros((), jnp.int32),
        failed=jnp.zeros((), bool),
    )
    return structure, jax.tree.map(_own, state)


def assemble(structure: nnx.GraphDef, params: Any, buffers: Any) -> Any:
    """Returns the model of a structure and its arrays: the only place where the two meet.

    Args:
        structure: as `init` returned it.
        params: dictionary or `nnx.State` of the parameters.
        buffers: dictionary or `nnx.State` of all other arrays.
    """
    # Without a copy batch norm would write into variables of an outer trace.
    return nnx.merge(structure, params, buffers, copy=True)


def buffers_of(model: Any) -> dict:
    """Returns all arrays of a model but its parameters, as `TrainState` keeps them.

    Args:
        model: an `nnx` module.
    """
    return nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))


def rebuild(structure: nnx.GraphDef, state: TrainState) -> Any:
    """Returns the model of a state for use: with the averaged parameters if there are any.

    Dropout is off and batch norm uses its running averages. To train the result further, turn both
    back with `nnx.view(model, deterministic=False, use_running_average=False)`.

    Args:
        structure: as `init` returned it.
        state: its arrays are copied.
    """
    source = state.ema or {"params": state.params, "buffers": state.buffers}
    params, buffers = jax.tree.map(jnp.copy, (source["params"], source["buffers"]))
    return evaluation_view(assemble(structure, params, buffers))


def evaluation_view(model: Any) -> Any:
    """Returns the model, arrays shared, without dropout and with batch norm's averages."""
    return nnx.view(model, deterministic=True, use_running_average=True, raise_if_not_found=False)


def frozen(fixed: Any) -> Any:
    """Returns what training keeps fixed, with every module of it in its evaluation view.

    Args:
        fixed: any tree of arrays and `nnx` modules.
    """

    def view(part: Any) -> Any:
        return evaluation_view(part) if isinstance(part, nnx.Module) else part

    return jax.tree.map(view, fixed, is_leaf=lambda part: isinstance(part, nnx.Module))


def _own(x: Any) -> Array:
    """Copies a leaf to a strongly typed array, so that every step sees the types of the first."""
    x = jnp.array(x)
    return x if is_typed_key(x) else jnp.array(x, dtype=x.dtype)
