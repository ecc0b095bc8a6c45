"""The dense layer."""

from functools import partial

from flax import nnx

from lectures_jax.nn.initializers import lecun_normal

Linear = partial(nnx.Linear, kernel_init=lecun_normal)
"""Flax's layer, which starts with the same numbers and compiles their draw sooner."""
