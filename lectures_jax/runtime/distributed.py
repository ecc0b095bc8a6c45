"""Several processes that run one program, each with devices of its own."""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

HEARTBEAT = 30  # seconds without a sign of life after which a process counts as dead
ERRORS: dict[str, type[Exception]] = {"ValueError": ValueError, "OSError": OSError}


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Makes this process one of several, before any device starts.

    When one of them dies, the others end within a minute, with a message.

    Args:
        coordinator: `host:port` of the first process; None: what Slurm, Open MPI, Kubernetes or
            Cloud TPU says about all three.
        processes: how many there are.
        process: which one this is, from 0.

    Raises:
        ValueError: if some of the three are given and others are not, or the process is none of
            them.
    """
    given = [coordinator, processes, process]
    if None in given and given != [None] * 3:
        raise ValueError(
            "coordinator, processes and process must be given together or not at all, got "
            f"{coordinator}, {processes} and {process}."
        )
    if processes is not None and process is not None and not 0 <= process < processes:
        raise ValueError(f"process must be one of {processes} from 0, got {process}.")
    jax.distributed.initialize(coordinator, processes, process, heartbeat_timeout_seconds=HEARTBEAT)


def is_first() -> bool:
    """Returns whether this process is the one that writes what people read."""
    return jax.process_index() == 0


def from_first(make: Callable[[], Any]) -> Any:
    """Returns on every process what a function returns on the first one, as JSON holds it.

    All processes call it at the same place. An error there is raised on all.

    Args:
        make: called on the first process only.
    """
    if jax.process_count() == 1:
        return make()
    content, error = {}, None
    if is_first():
        try:
            content = {"value": make()}
        except Exception as caught:
            kind = "OSError" if isinstance(caught, OSError) else type(caught).__name__
            content, error = {"kind": kind, "message": str(caught)}, caught
    text = np.frombuffer(json.dumps(content).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(text.size)))
    text = multihost_utils.broadcast_one_to_all(np.resize(text, size))
    if error is not None:
        raise error
    content = json.loads(np.asarray(text).tobytes())
    if "kind" in content:
        raise ERRORS.get(content["kind"], RuntimeError)(content["message"])
    return content["value"]


def on_any(flag: bool) -> bool:
    """Returns on every process whether it is so on one of them.

    Args:
        flag: of this process.
    """
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.bool_(flag))))
