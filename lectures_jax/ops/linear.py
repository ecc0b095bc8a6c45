"""Weighted sums: the dense layer, and the perceptron with its training rule."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from lectures_jax.ops._precision import in_float32
from lectures_jax.typing import check_range, checked


class PerceptronFit(NamedTuple):
    """A trained perceptron.

    Attributes:
        weights: one per input.
        bias: the negative threshold.
        updates: number of mistakes during training, each of which changed the weights.
        separated: whether the last pass over the examples made no mistake.
    """

    weights: Float[Array, " n"]
    bias: Float[Array, ""]
    updates: Int[Array, ""]
    separated: Bool[Array, ""]


@checked
def linear(
    x: Float[Array, "*b n"], kernel: Float[Array, "n m"], bias: Float[Array, " m"] | None = None
) -> Float[Array, "*b m"]:
    """Returns `x W + b`, the dense layer without its activation.

    Args:
        x: inputs, one example per row.
        kernel: W, one column per output (the course's matrix, transposed).
        bias: b; None adds nothing.

    Returns:
        One row of m outputs per example.

    Raises:
        ValueError: if the sizes do not fit.

    Source:
        Rumelhart, Hinton & Williams (1986), eq. 1.
    """
    y = x @ kernel
    return y if bias is None else _with_bias(y, bias)


@in_float32
def _with_bias(y: Array, bias: Array) -> Array:
    return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


@checked
@in_float32
def perceptron(
    x: Float[Array, "*b n"], weights: Float[Array, " n"], bias: Float[Array, ""]
) -> Float[Array, "*b"]:
    """Returns 1 where `w · x + b ≥ 0`, else 0; its gradient is 0 everywhere.

    Args:
        x: inputs, one example per row.
        weights: w, one per input.
        bias: b, the negative threshold.

    Returns:
        One output per example, in the dtype that the arguments have in common.

    Source:
        Rosenblatt (1958).
    """
    return (x @ weights + bias >= 0).astype(x.dtype)


@checked
def train_perceptron(
    x: Float[Array, "m n"], y: Float[Array, " m"], *, max_passes: int | Int[Array, ""] = 1000
) -> PerceptronFit:
    """Trains a perceptron by Rosenblatt's rule, example after example, from zero weights.

    `w ← w + (y − ŷ) x`, `b ← b + (y − ŷ)`: nothing changes where the output is right. If some
    perceptron `(w*, b*)` of norm 1 classifies every example with a margin of at least γ, and every
    example with its constant input 1 has norm at most R, there are at most `(R / γ)²` mistakes.

    Args:
        x: examples, one per row.
        y: targets, 0 or 1.
        max_passes: most passes over the examples; training ends earlier after one without mistake.

    Returns:
        Weights and bias, the number of mistakes, and whether the examples are separated.

    Raises:
        ValueError: if `max_passes` is not positive.

    Source:
        Rosenblatt (1958); the bound: Novikoff (1962), theorem 1.
    """
    check_range(max_passes=max_passes, low=1)
    return _train(x, y, max_passes)


@jax.jit
@in_float32
def _train(x: Array, y: Array, max_passes: int | Array) -> PerceptronFit:
    def train_on(carry, example):
        weights, bias, updates = carry
        x, y = example
        step = y - perceptron(x, weights, bias)
        return (weights + step * x, bias + step, updates + (step != 0).astype(jnp.int32)), None

    def one_pass(carry):
        n, _, before = carry
        after, _ = jax.lax.scan(train_on, before, (x, y))
        return n + 1, before[2], after

    def unfinished(carry):
        n, updates, (_, _, updates_now) = carry
        return (n < max_passes) & ((n == 0) | (updates != updates_now))

    zero = jnp.zeros((), jnp.int32)
    start = (zero, zero, (jnp.zeros_like(x, shape=x.shape[1:]), jnp.zeros_like(x, shape=()), zero))
    _, updates, (weights, bias, updates_now) = jax.lax.while_loop(unfinished, one_pass, start)
    return PerceptronFit(weights, bias, updates_now, updates == updates_now)
