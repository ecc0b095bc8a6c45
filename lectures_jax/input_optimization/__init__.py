"""The network is fixed, and the input changes: what a network looks for, and what fools it."""

from lectures_jax.input_optimization.loop import Optimized, as_argument, descend, optimize_inputs

__all__ = [
    "Optimized",
    "as_argument",
    "descend",
    "optimize_inputs",
]
