"""Where a training's arrays lie: the only place that knows of more than one device."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import jax
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from lectures_jax.train.learner import Learner
from lectures_jax.train.state import TrainState
from lectures_jax.typing import Batch, Key

Tree = TypeVar("Tree")

DATA, FSDP = "data", "fsdp"
"""The mesh's axes: examples are split over both, parameters over the second."""

SMALL = 4096  # entries of an array up to which a copy on each device costs less than gathering it

_in_use: ContextVar[Mesh | None] = ContextVar("mesh", default=None)


def make_mesh(*, data: int | None = None, fsdp: int = 1) -> Mesh:
    """Returns the devices of all processes as a mesh with the axes `data` and `fsdp`.

    Args:
        data: groups of devices, each with all parameters; None: as many as there are.
        fsdp: devices of a group, over which parameters and the optimizer's state are split.

    Raises:
        ValueError: if there are fewer devices than the mesh needs, or, with several processes, any
            other number.

    Source:
        Rajbhandari et al. (2020), "ZeRO", sec. 5: parameters, gradients and optimizer state split.
    """
    there = jax.device_count()
    if data is None and fsdp > 0:
        data = max(there // fsdp, 1)
    if data is None or min(data, fsdp) < 1:
        raise ValueError(f"data and fsdp must be at least 1, got {data} and {fsdp}.")
    if data * fsdp > there or (jax.process_count() > 1 and data * fsdp < there):
        raise ValueError(f"data · fsdp must be {there}, the devices, got {data} · {fsdp}.")
    devices = jax.devices()[: data * fsdp]
    return jax.make_mesh(
        (data, fsdp), (DATA, FSDP), axis_types=(AxisType.Auto, AxisType.Auto), devices=devices
    )


@contextmanager
def use_mesh(mesh: Mesh | None) -> Iterator[None]:
    """Lets every training in the block use the mesh: `fit`, `fit_adversarial` and `run`.

    The examples of a batch are split over all its devices; parameters, averages and the optimizer's
    state over `fsdp`, each array along its longest axis that this divides. Statistics of a
    batch, such as batch normalization's, are of the whole batch, and the numbers those of one
    device but for the order in which floats are added.

    Args:
        mesh: as `make_mesh` returns it; None trains on one device.
    """
    token = _in_use.set(mesh)
    try:
        yield
    finally:
        _in_use.reset(token)


def begin(learner: Learner, key: Key, model: Any) -> tuple[nnx.GraphDef, TrainState]:
    """Returns a learner's beginning, made where the mesh in use has its arrays, by one program.

    Args:
        learner: whose `init` is called.
        key: of the run.
        model: left as it is.
    """
    graph, arrays = nnx.split(model)
    structures = []

    def init(key: Key, arrays: Any) -> TrainState:
        structure, state = learner.init(key, nnx.merge(graph, arrays))
        structures.append(structure)
        return state

    mesh = _in_use.get()
    where = mesh and _of_state(mesh, jax.eval_shape(init, key, arrays))
    state = jax.jit(init, out_shardings=where)(key, arrays)
    return structures[0], state


def place_batch(batch: Batch) -> Batch:
    """Returns a batch with its examples split over the devices of the mesh in use.

    Where their number is no multiple of the devices', each device has them all.

    Args:
        batch: arrays whose first axis is the examples.
    """
    mesh = _in_use.get()
    if mesh is None:
        return batch
    sharding = _of_batch(mesh, batch)
    return jax.tree.map(lambda x: jax.device_put(x, sharding), batch)


def place_fixed(fixed: Tree) -> Tree:
    """Returns arrays with a copy on each device of the mesh in use.

    Args:
        fixed: any tree of arrays.
    """
    mesh = _in_use.get()
    if mesh is None:
        return fixed
    return jax.device_put(fixed, NamedSharding(mesh, PartitionSpec()))


def outputs(state: TrainState, batch: Batch) -> dict[str, Any]:
    """Returns options of `jax.jit` that leave a step's `(state, batch, metrics)` where they are.

    Args:
        state: of the step.
        batch: of the step, as `place_batch` returned it.
    """
    mesh = _in_use.get()
    if mesh is None:
        return {}
    shardings = jax.tree.map(lambda x: x.sharding, state)
    whole = NamedSharding(mesh, PartitionSpec())
    return {"out_shardings": (shardings, _of_batch(mesh, batch), whole)}


def _of_state(mesh: Mesh, shapes: Tree) -> Tree:
    """Where each array of a state lies, by its shape alone."""

    def of(x: Any) -> NamedSharding:
        parts, axes = mesh.shape[FSDP], [None] * x.ndim
        fit = [axis for axis in range(x.ndim) if x.shape[axis] % parts == 0]
        if fit and x.size > SMALL and parts > 1:
            axes[max(fit, key=lambda axis: x.shape[axis])] = FSDP
        return NamedSharding(mesh, PartitionSpec(*axes))

    return jax.tree.map(of, shapes)


def _of_batch(mesh: Mesh, batch: Batch) -> NamedSharding:
    rows = np.shape(jax.tree.leaves(batch)[0])[0]
    return NamedSharding(mesh, PartitionSpec((DATA, FSDP) if rows % mesh.size == 0 else None))
