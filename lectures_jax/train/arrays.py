"""Arrays on disk, by Orbax, with errors in the system's words."""

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from lectures_jax.train.state import TrainState

ThreadHook = Callable[[threading.ExceptHookArgs], Any]


def start_save(folder: Path, state: TrainState) -> Callable[[], None]:
    """Copies a state from the device and begins to write it; the result waits for the end.

    Args:
        folder: that will hold the arrays.
        state: may be donated once this returns.
    """
    context = ocp.Context()
    # Folders at once: where they cannot be made, Orbax's threads would wait 300 s for them.
    context.asynchronous.create_directories_asynchronously = False
    with context:
        response = ocp.save_checkpointables_async(str(folder), {"state": state}, overwrite=True)
    return response.result


def load(folder: Path, like: TrainState) -> TrainState:
    """Returns the state in a folder.

    Args:
        folder: as `start_save` filled it.
        like: a state of the same structure, for shapes, dtypes and devices.
    """
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
    )
    return ocp.load_checkpointables(str(folder), {"state": target})["state"]


def describe(state: TrainState) -> dict[str, str]:
    """Describes each array by its path, as in `params['conv']['kernel']: float32[3, 3, 3, 8]`.

    Parts without arrays, such as the states of Optax's stateless transformations, are there by
    their type: Orbax would refuse another one in words of its own.

    Args:
        state: of any learner.
    """
    leaves = jax.tree.leaves_with_path(state, is_leaf=lambda part: not jax.tree.leaves(part))
    return {
        jax.tree_util.keystr(path)[1:]: f"{x.dtype}{list(x.shape)}"
        if hasattr(x, "dtype")
        else f"an empty {type(x).__name__}"
        for path, x in leaves
    }


def difference(there: dict[str, str], like: TrainState) -> str | None:
    """Returns the first difference between a description and a state, in words, or None.

    Args:
        there: as `describe` returned it.
        like: a state.
    """
    here = describe(like)
    for name in here | there:
        if here.get(name) != there.get(name):
            names = there.get(name, "absent"), here.get(name, "absent")
            return f"{name} is {names[0]} there and {names[1]} here"
    return None


def cause(error: Exception) -> str:
    """Returns why files could not be written: the system's reason, or else the message's beginning.

    Args:
        error: of Orbax, TensorStore or the system.
    """
    code = re.search(r"os_error_code='(\d+)'", str(error))
    number = int(code[1]) if code else getattr(error, "errno", None)
    return os.strerror(number) if number else " ".join(str(error).split())[:200]


def quiet_threads() -> tuple[ThreadHook, ThreadHook]:
    """Returns the hook for exceptions of threads, and one without those that come up elsewhere.

    What Orbax's and TensorBoard's threads meet, the calls that wait for them raise as well.
    """
    hook = threading.excepthook

    def report(arguments: threading.ExceptHookArgs) -> None:
        trace, modules = arguments.exc_traceback, set()
        while trace is not None:
            modules.add(trace.tb_frame.f_globals.get("__name__", "").partition(".")[0])
            trace = trace.tb_next
        if not {"orbax", "tensorboardX"} & modules:
            hook(arguments)

    return hook, report
