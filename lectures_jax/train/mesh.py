"""Where a training's arrays lie: the only place that knows of more than one device."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from lectures_jax.train.learner import Learner
from lectures_jax.train.state import TrainState
from lectures_jax.typing import Batch, Key, is_typed_key

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
    state over `fsdp`, each array of more than 4096 entries along its longest axis that this
    divides. Statistics of a batch, such as batch normalization's, are of the whole batch, and the
    numbers those of one device but for the order in which floats are added.

    A model that is larger than a device begins as a function, with random numbers of its own:
    `fit(key, lambda: Unet(..., rngs=nnx.Rngs(0)), ...)`.

    Args:
        mesh: as `make_mesh` returns it; None trains on one device.
    """
    token = _in_use.set(mesh)
    try:
        yield
    finally:
        _in_use.reset(token)


def begin(learner: Learner, key: Key, model: Any) -> tuple[nnx.GraphDef, TrainState]:
    """Returns a learner's beginning, made where the mesh in use has its arrays.

    Args:
        learner: whose `init` is called.
        key: of the run.
        model: an `nnx` module, left as it is, or a function that makes one.

    Raises:
        ValueError: if the function makes something else; or if several processes have no mesh: each
            would train by itself, on batches in which the rows of the others are empty.
    """
    mesh = _in_use.get()
    if mesh is None:
        if jax.process_count() > 1:
            raise ValueError("several processes need a mesh: train within use_mesh(make_mesh()).")
        return learner.init(key, model if isinstance(model, nnx.Module) else _made(model))
    if isinstance(model, nnx.Module):
        graph, *arrays = nnx.split(model)
        build = partial(nnx.merge, graph)
    else:
        arrays = ()
        build = partial(_made, model)
    structures = []

    def init(key: Key, arrays: Any) -> TrainState:
        structure, state = learner.init(key, build(*arrays))
        structures.append(structure)
        return state

    where = _of_state(mesh, jax.eval_shape(init, key, arrays))
    state = jax.jit(init, out_shardings=where)(*place_everywhere((key, arrays)))
    return structures[0], state


def _made(make: Callable[[], Any]) -> nnx.Module:
    model = make()
    if not isinstance(model, nnx.Module):
        raise ValueError(f"model must make an nnx.Module, got {type(model).__name__}.")
    return model


def place_batch(batch: Batch) -> Batch:
    """Returns a batch with its examples split over the devices of the mesh in use.

    Where their number is no multiple of the devices', each device has them all.

    Args:
        batch: arrays whose first axis is the examples. Every process gives the whole batch, and may
            leave rows empty that are not its own.

    Raises:
        ValueError: if several processes cannot share the examples.
    """
    mesh = _in_use.get()
    if mesh is None:
        return batch
    sharding, rows = _of_batch(mesh, batch), len(jax.tree.leaves(batch)[0])
    if jax.process_count() == 1:
        return jax.tree.map(lambda x: jax.device_put(x, sharding), batch)
    if rows % mesh.size:
        raise ValueError(f"a batch must have a multiple of {mesh.size} examples, got {rows}.")
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(x.shape, sharding, np.asarray(x).__getitem__), batch
    )


def share_evaluation(model: Tree, batch: Batch) -> tuple[Tree, Batch]:
    """Returns arrays of a model and a batch where the devices of this process evaluate together.

    Of several processes each evaluates all of a set by itself, on its first device.

    Args:
        model: arrays, of which those of a training on the mesh stay where they are.
        batch: as for `place_batch`.
    """
    mesh = _in_use.get()
    if mesh is None or jax.process_count() > 1:
        return model, batch
    everywhere = NamedSharding(mesh, PartitionSpec())

    def put(x: Any) -> Any:
        there = isinstance(x, jax.Array) and isinstance(x.sharding, NamedSharding)
        return x if there else jax.device_put(x, everywhere)

    return jax.tree.map(put, model), place_batch(batch)


def undivided(batch: Batch) -> str:
    """Returns a line if each device has the whole batch, which is correct and gains nothing.

    Args:
        batch: as for `place_batch`.
    """
    mesh, rows = _in_use.get(), len(jax.tree.leaves(batch)[0])
    if mesh is None or rows % mesh.size == 0:
        return ""
    least = -(-rows // mesh.size) * mesh.size
    return f"each of {mesh.size} devices has all {rows} examples; {least} would be shared out"


def place_everywhere(tree: Tree) -> Tree:
    """Returns arrays with a copy on each device of the mesh in use.

    Args:
        tree: of arrays, the same in every process.
    """
    mesh = _in_use.get()
    if mesh is None:
        return tree
    everywhere = NamedSharding(mesh, PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, everywhere)

    def put(x: Any) -> jax.Array:
        if is_typed_key(x):
            return jax.random.wrap_key_data(
                put(jax.random.key_data(x)), impl=jax.random.key_impl(x)
            )
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, everywhere, x.__getitem__)

    return jax.tree.map(put, tree)


def gather(tree: Tree) -> Tree:
    """Returns arrays whole on a device of this process, where several processes share them.

    What one process does with them no other has to do at the same time.

    Args:
        tree: of arrays.
    """
    mesh = _in_use.get()
    if mesh is None or jax.process_count() == 1:
        return tree
    whole = jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, PartitionSpec()))(tree)
    return jax.tree.map(lambda x: jnp.asarray(x.addressable_data(0)), whole)


def zeros_like(batch: Batch, state: TrainState) -> Batch:
    """Returns zeros that lie where the batch does, or are bound to the state's device if it is.

    A step returns them so then, and would compile again for what it has returned.

    Args:
        batch: as `place_batch` returned it.
        state: of the step; a restored one is bound to its device.
    """
    mesh = _in_use.get()
    if mesh is not None:
        zeros = partial(jax.tree.map, jnp.zeros_like)
        return jax.jit(zeros, out_shardings=_of_batch(mesh, batch))(batch)
    zeros = jax.tree.map(jnp.zeros_like, batch)
    return jax.device_put(zeros, state.step.sharding) if state.step.committed else zeros


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


class Vote:
    """Whether any process was asked to stop, which all know after the same step.

    The answer comes some steps late, so that no process waits for the devices.
    """

    LATE = 2

    def __init__(self):
        self._asked = deque()

    def __call__(self, arrived: str, *, last: bool = False) -> str:
        """Returns what arrived here or elsewhere, empty if nothing did.

        Args:
            arrived: the name of this process's signal, or empty.
            last: whether the answer is due now.
        """
        mesh = _in_use.get()
        if mesh is None or jax.process_count() == 1:
            return arrived
        sharding = NamedSharding(mesh, PartitionSpec((DATA, FSDP)))
        own = np.full(mesh.size, bool(arrived))
        flags = jax.make_array_from_callback(own.shape, sharding, own.__getitem__)
        self._asked.append(_any(flags))
        if not last and len(self._asked) <= self.LATE:
            return ""
        answers = [self._asked.popleft() for _ in range(len(self._asked) if last else 1)]
        return arrived or "a signal to another process" if any(map(bool, answers)) else ""


_any = jax.jit(jnp.any)
