"""The process and its devices: memory, compiler flags, signals, files, and what a run ran on."""

from lectures_jax.runtime.cpu import keep_memory, threaded_convolutions
from lectures_jax.runtime.environment import environment
from lectures_jax.runtime.files import atomic_write, write_json
from lectures_jax.runtime.signals import StopRequest, stop_request

__all__ = [
    "StopRequest",
    "atomic_write",
    "environment",
    "keep_memory",
    "stop_request",
    "threaded_convolutions",
    "write_json",
]
