"""Compilation that costs little, for programs that run once; and how often JAX traces."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.monitoring

UNOPTIMIZED = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
# A loop nest for each fused kernel, generated directly, compiles in a third of the time.
DIRECT = {"xla_cpu_use_fusion_emitters": False}

TRACE_EVENT = "/jax/core/compile/jaxpr_trace_duration"


def cheap_jit(fn: Callable[..., Any], **options: Any) -> Any:
    """Returns `jax.jit(fn, **options)`, which compiles with less effort on a CPU.

    XLA's rewriting of the program is the usual one; only the machine code is not optimized.
    """
    return jax.jit(fn, compiler_options=cheap_options() or None, **options)


@functools.cache
def cheap_options() -> dict[str, Any]:
    """Returns the compiler options that spare most effort and that this XLA knows."""
    if jax.default_backend() != "cpu":
        return {}
    for options in (UNOPTIMIZED | DIRECT, UNOPTIMIZED):
        try:
            jax.jit(lambda x: x + 1, compiler_options=options).lower(1.0).compile()
        except jax.errors.JaxRuntimeError:
            continue  # this XLA does not know an option
        return options
    return {}


@contextlib.contextmanager
def count_traces() -> Iterator[list[str]]:
    """Gives a list that grows by one entry whenever JAX traces a function inside of the context."""
    traces: list[str] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == TRACE_EVENT:
            traces.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield traces
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
