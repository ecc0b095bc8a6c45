"""The course's optimizers, by their equations, as Optax transformations.

θ are the parameters, g the gradient of the loss, η the learning rate; all operations are by
element. Each equals Optax's optimizer of that name step by step, and can replace it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

Rate = float | optax.Schedule
"""A constant, or a function of the step."""


class AdamState(NamedTuple):
    """The state of Adam: the number of steps done, and moving averages of g and g²."""

    step: Int[Array, ""]
    first: Any
    second: Any


def gradient_descent(learning_rate: Rate) -> optax.GradientTransformation:
    """Returns `θ ← θ − η g`: full-batch, mini-batch or online as the batches are.

    The course prints `θ + η g`, which climbs.

    Args:
        learning_rate: η.

    Source:
        Cauchy (1847); with single examples: Robbins & Monro (1951).
    """
    return optax.scale_by_learning_rate(learning_rate)


def momentum(learning_rate: Rate, *, decay: float = 0.9) -> optax.GradientTransformation:
    """Returns `v ← μ v + g`, `θ ← θ − η v`: the velocity averages the gradients.

    Args:
        learning_rate: η.
        decay: μ in [0, 1), the share of the velocity that remains.

    Raises:
        ValueError: if `decay` is not in [0, 1).

    Source:
        Polyak (1964), eq. 9.
    """
    return _with_velocity(learning_rate, decay, lambda velocity, gradient: velocity)


def nesterov(learning_rate: Rate, *, decay: float = 0.9) -> optax.GradientTransformation:
    """Returns `v ← μ v + g`, `θ ← θ − η (μ v + g)`: momentum with the next velocity.

    Args:
        learning_rate: η.
        decay: μ in [0, 1).

    Raises:
        ValueError: if `decay` is not in [0, 1).

    Source:
        Nesterov (1983), in the form of Sutskever et al. (2013), sec. 2, for the parameters after
        the momentum step.
    """
    return _with_velocity(
        learning_rate, decay, lambda velocity, gradient: decay * velocity + gradient
    )


def adagrad(
    learning_rate: Rate, *, initial: float = 0.1, epsilon: float = 1e-7
) -> optax.GradientTransformation:
    """Returns `s ← s + g²`, `θ ← θ − η g / √(s + ε)`: rates that fall where gradients were large.

    Args:
        learning_rate: η.
        initial: first value of s.
        epsilon: ε, under the root.

    Source:
        Duchi, Hazan & Singer (2011), fig. 1, diagonal form.
    """

    def init(params):
        return jax.tree.map(lambda p: jnp.full_like(p, initial), params)

    def update(grads, sums, params=None):
        sums = jax.tree.map(lambda s, g: s + g * g, sums, grads)
        return jax.tree.map(lambda g, s: g * jax.lax.rsqrt(s + epsilon), grads, sums), sums

    return _with_rate(learning_rate, init, update)


def rmsprop(
    learning_rate: Rate, *, decay: float = 0.9, epsilon: float = 1e-8
) -> optax.GradientTransformation:
    """Returns `s ← ρ s + (1 − ρ) g²`, `θ ← θ − η g / √(s + ε)`: AdaGrad with a moving average.

    Args:
        learning_rate: η.
        decay: ρ in [0, 1).
        epsilon: ε, under the root.

    Raises:
        ValueError: if `decay` is not in [0, 1).

    Source:
        Tieleman & Hinton (2012), lecture 6.5.
    """
    _check_share("decay", decay)

    def init(params):
        return jax.tree.map(jnp.zeros_like, params)

    def update(grads, squares, params=None):
        squares = _average(squares, jax.tree.map(jnp.square, grads), decay)
        return jax.tree.map(lambda g, s: g * jax.lax.rsqrt(s + epsilon), grads, squares), squares

    return _with_rate(learning_rate, init, update)


def adam(
    learning_rate: Rate, *, b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-8
) -> optax.GradientTransformation:
    """Returns Adam: momentum over RMSProp, both corrected for their start at zero.

    `m ← β₁ m + (1 − β₁) g`, `s ← β₂ s + (1 − β₂) g²`,
    `θ ← θ − η m̂ / (√ŝ + ε)` with `m̂ = m / (1 − β₁ᵗ)`, `ŝ = s / (1 − β₂ᵗ)`.

    Args:
        learning_rate: η, about the size of a step.
        b1: β₁ in [0, 1).
        b2: β₂ in [0, 1).
        epsilon: ε.

    Raises:
        ValueError: if `b1` or `b2` is not in [0, 1).

    Source:
        Kingma & Ba (2015), algorithm 1.
    """
    return adamw(learning_rate, b1=b1, b2=b2, epsilon=epsilon, weight_decay=0.0)


def adamw(
    learning_rate: Rate,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 1e-4,
) -> optax.GradientTransformation:
    """Returns Adam with decoupled weight decay, `θ ← θ − η (m̂ / (√ŝ + ε) + λ θ)`.

    Decoupled: λ θ is not divided by √ŝ, as it would be if it were part of the gradient.

    Args:
        learning_rate: η.
        b1: β₁ in [0, 1).
        b2: β₂ in [0, 1).
        epsilon: ε.
        weight_decay: λ.

    Raises:
        ValueError: if `b1` or `b2` is not in [0, 1).

    Source:
        Loshchilov & Hutter (2019), algorithm 2.
    """
    _check_share("b1", b1)
    _check_share("b2", b2)

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(grads, state, params=None):
        step = state.step + 1
        first = _average(state.first, grads, b1)
        second = _average(state.second, jax.tree.map(jnp.square, grads), b2)
        missing1, missing2 = 1 - b1**step, 1 - b2**step

        def direction(m, s):
            root = jnp.sqrt(s / missing2.astype(s.dtype))
            return m / missing1.astype(m.dtype) / (root + epsilon)

        steps = jax.tree.map(direction, first, second)
        if weight_decay:
            steps = jax.tree.map(lambda s, p: s + weight_decay * p, steps, params)
        return steps, AdamState(step, first, second)

    return _with_rate(learning_rate, init, update)


def _with_velocity(
    learning_rate: Rate, decay: float, direction: Callable[[Array, Array], Array]
) -> optax.GradientTransformation:
    _check_share("decay", decay)

    def init(params):
        return jax.tree.map(jnp.zeros_like, params)

    def update(grads, velocity, params=None):
        velocity = jax.tree.map(lambda v, g: decay * v + g, velocity, grads)
        return jax.tree.map(direction, velocity, grads), velocity

    return _with_rate(learning_rate, init, update)


def _with_rate(learning_rate: Rate, init: Any, update: Any) -> optax.GradientTransformation:
    """Multiplies a direction by −η, a constant or a schedule."""
    direction = optax.GradientTransformation(init, update)
    return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))


def _average(old: Any, new: Any, decay: float) -> Any:
    return jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, old, new)


def _check_share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}.")
