"""The process and its devices: memory, compiler flags, signals, files, and what a run ran on."""

from lectures_jax.runtime.cpu import keep_memory, threaded_convolutions
from lectures_jax.runtime.distributed import from_first, is_first, join, on_any
from lectures_jax.runtime.environment import environment
from lectures_jax.runtime.files import atomic_write, parse_object, read_json, sync, write_json
from lectures_jax.runtime.lock import folder_lock
from lectures_jax.runtime.output import open_standard_streams, optional_output, say
from lectures_jax.runtime.signals import StopRequest, current_request, stop_request

__all__ = [
    "StopRequest",
    "atomic_write",
    "current_request",
    "environment",
    "folder_lock",
    "from_first",
    "is_first",
    "join",
    "keep_memory",
    "on_any",
    "open_standard_streams",
    "optional_output",
    "parse_object",
    "read_json",
    "say",
    "stop_request",
    "sync",
    "threaded_convolutions",
    "write_json",
]
