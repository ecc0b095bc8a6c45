"""A training that ends early because the process was asked to end."""

import jax

from lectures_jax.runtime import StopRequest


class Stopped(Exception):  # noqa: N818  (it reports a request that was met, not an error)
    """Training ended early on a signal, with nothing lost. The same call again resumes."""


def check(request: StopRequest) -> None:
    """Returns if nothing has arrived.

    Args:
        request: that a signal may have set.

    Raises:
        Stopped: if it has.
    """
    if request.arrived and jax.process_count() == 1:  # several stop together, between two steps
        raise Stopped(f"stopped by {request.arrived}; run again to resume.")
