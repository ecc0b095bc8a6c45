"""Attacks without a budget: the nearest input that the network answers otherwise to."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from lectures_jax.input_optimization.attack_arguments import (
    Inputs,
    Labels,
    Logits,
    check_norm,
    logits_shape,
    prepared,
)
from lectures_jax.input_optimization.loop import descend
from lectures_jax.input_optimization.perturbation import (
    choose,
    is_fooled,
    margin,
)
from lectures_jax.typing import check_count, check_positive, check_range

BEYOND = 1e-4  # logits by which a step of DeepFool passes the boundary
INSIDE = 1e-3  # of [-1, 1], where the hyperbolic tangent has an inverse and is not yet flat
GROWTH = 10.0  # of Carlini and Wagner's weight as long as nothing fools the network


def deepfool(
    logits_fn: Logits,
    x: Inputs,
    labels: Labels,
    *,
    steps: int = 50,
    norm: Literal["l2", "linf"] = "l2",
    overshoot: float = 0.02,
    candidates: int = 10,
) -> Float[Array, "b *d"]:
    """Returns inputs just beyond the nearest boundary of the network's linear approximations.

    Args:
        logits_fn: `images -> logits`.
        x: inputs in [0, 1].
        labels: classes to get away from.
        steps: approximations, at most; an example that fools the network stays as it is.
        norm: of the perturbation that is to be small.
        overshoot: share by which the perturbation is longer than the approximation asks for.
        candidates: likeliest other classes that are looked at, one gradient each.

    Returns:
        Inputs in [0, 1]. One that does not fool the network is where the last step has led.

    Raises:
        ValueError: if a label is no class, x is not in [0, 1], or a number is out of range.

    Source:
        Moosavi-Dezfooli et al. (2016), algorithm 2; other norms: sec. 3.3, eq. 10 and 11.
    """
    check_norm(norm, allowed=("l2", "linf"))
    check_count(steps=steps, candidates=candidates)
    check_range(overshoot=overshoot, low=0)
    logits_fn, x, labels = prepared(logits_fn, x, labels)
    others = logits_shape(logits_fn, x)[1] - 1
    if not others:
        raise ValueError("logits_fn must give logits of two classes at least, got one.")
    count = min(candidates, others)
    return _deepfool(logits_fn, x, labels, overshoot, steps=steps, norm=norm, count=count)


def carlini_wagner(
    logits_fn: Logits,
    x: Inputs,
    labels: Labels,
    *,
    targeted: bool = False,
    confidence: float = 0.0,
    steps: int = 200,
    searches: int = 6,
    learning_rate: float = 0.05,
    first_weight: float = 0.1,
) -> Float[Array, "b *d"]:
    """Returns the nearest inputs, in L2, that fool the network, by Carlini and Wagner's attack.

    `min ‖δ‖² + c · max(margin(x + δ) + κ, 0)` with `x + δ = (tanh w + 1) / 2`, by Adam on w; c is
    sought for each example by bisection.

    Args:
        logits_fn: `images -> logits`.
        x: inputs in [0, 1].
        labels: true classes, or the classes to be answered.
        targeted: whether the labels are targets.
        confidence: κ, logits by which the network is to be mistaken.
        steps: of Adam for each weight.
        searches: weights that are tried.
        learning_rate: of Adam.
        first_weight: c that is tried first.

    Returns:
        Inputs in [0, 1]; x itself where it fools the network as it is, or where nothing did.

    Raises:
        ValueError: if a label is no class, x is not in [0, 1], or a number is out of range.

    Source:
        Carlini & Wagner (2017), sec. VI.A.
    """
    check_count(steps=steps, searches=searches)
    check_positive(learning_rate=learning_rate, first_weight=first_weight)
    check_range(confidence=confidence, low=0)
    given = prepared(logits_fn, x, labels)
    numbers = _Numbers(confidence, learning_rate, first_weight)
    return _carlini_wagner(*given, numbers, targeted=targeted, steps=steps, searches=searches)


class _Numbers(NamedTuple):
    confidence: Any
    learning_rate: Any
    first_weight: Any


class _Search(NamedTuple):
    """Of each example: what is nearest, its squared distance, and the interval of the weight."""

    best: Array
    distance: Array
    low: Array
    high: Array
    weight: Array


@partial(jax.jit, static_argnames=("targeted", "steps", "searches"))
def _carlini_wagner(
    logits_fn: Any,
    x: Array,
    labels: Array,
    numbers: _Numbers,
    *,
    targeted: bool,
    steps: int,
    searches: int,
) -> Array:
    axes = tuple(range(1, x.ndim))
    start = jnp.arctanh((2 * x - 1) * (1 - INSIDE))

    def objective(weight: Array, w: Array, key: Any) -> tuple[Array, Array]:
        adversarial = _from_line(w)
        distance = jnp.sum((adversarial - x) ** 2, axis=axes)
        short = margin(logits_fn(adversarial), labels, targeted=targeted) + numbers.confidence
        loss = distance + weight * jnp.maximum(short, 0)
        return loss, jnp.where(short < 0, distance, jnp.inf)

    def search(state: _Search, _: None) -> tuple[_Search, None]:
        result = descend(
            jax.random.key(0),
            partial(objective, state.weight),
            start,
            optax.adam(numbers.learning_rate),
            steps=steps,
            project=lambda w: w,
        )
        return _next_weight(state, _from_line(result.inputs), result.ranks), None

    already = margin(logits_fn(x), labels, targeted=targeted) + numbers.confidence < 0
    nothing = jnp.zeros(x.shape[:1], x.dtype)
    distance = jnp.where(already, 0, jnp.inf).astype(x.dtype)
    weight = jnp.full_like(nothing, numbers.first_weight)
    state = _Search(x, distance, nothing, jnp.full_like(nothing, jnp.inf), weight)
    return jax.lax.scan(search, state, length=searches)[0].best


def _next_weight(state: _Search, result: Array, distance: Array) -> _Search:
    """Keeps what is nearer, and halves the interval of the weight."""
    fooled, nearer = jnp.isfinite(distance), distance < state.distance
    low = jnp.where(fooled, state.low, jnp.maximum(state.low, state.weight))
    high = jnp.where(fooled, jnp.minimum(state.high, state.weight), state.high)
    middle = jnp.where(jnp.isfinite(high), (low + high) / 2, GROWTH * low)
    distance = jnp.where(nearer, distance, state.distance)
    return _Search(choose(nearer, result, state.best), distance, low, high, middle)


def _from_line(w: Array) -> Array:
    return (jnp.tanh(w) + 1) / 2


@partial(jax.jit, static_argnames=("steps", "norm", "count"))
def _deepfool(
    logits_fn: Any, x: Array, labels: Array, overshoot: Any, *, steps: int, norm: str, count: int
) -> Array:
    others = _likeliest_others(logits_fn(x), labels, count)

    def at(moves: Array) -> Array:
        return jnp.clip(x + (1 + overshoot) * moves, 0, 1)

    def is_open(moves: Array) -> Array:
        return ~is_fooled(logits_fn(at(moves)), labels, targeted=False)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        number, moves, unfooled = state
        move = _to_boundary(logits_fn, jnp.clip(x + moves, 0, 1), labels, others, norm)
        moves = choose(unfooled, moves + move, moves)
        return number + 1, moves, is_open(moves)

    def goes_on(state: tuple[Array, Array, Array]) -> Array:
        return (state[0] < steps) & jnp.any(state[2])

    none = jnp.zeros_like(x)
    _, moves, _ = jax.lax.while_loop(goes_on, step, (jnp.array(0), none, is_open(none)))
    return choose(jnp.any(moves != 0, axis=tuple(range(1, x.ndim))), at(moves), x)


def _likeliest_others(logits: Array, labels: Array, count: int) -> Array:
    own = jax.nn.one_hot(labels, logits.shape[-1], dtype=bool)
    return jax.lax.top_k(jnp.where(own, -jnp.inf, logits), count)[1]


def _to_boundary(
    logits_fn: Callable[[Array], Array], x: Array, labels: Array, others: Array, norm: str
) -> Array:
    """The shortest move that takes each example's linear approximation over a boundary."""
    logits, pull = jax.vjp(logits_fn, x)
    axes = tuple(range(1, x.ndim))

    def towards(other: Array) -> tuple[Array, Array, Array]:
        rows = jnp.arange(len(labels))
        change = jnp.zeros_like(logits).at[rows, other].add(1).at[rows, labels].add(-1)
        (gradient,) = pull(change)
        gap = jnp.abs(jnp.sum(change * logits, axis=1)) + BEYOND
        size = jnp.abs(gradient) if norm == "linf" else gradient**2  # of the dual norm
        size = jnp.sum(size, axis=axes)
        size = jnp.where(size > 0, size, jnp.inf)
        distance = gap / (size if norm == "linf" else jnp.sqrt(size))
        return jnp.where(jnp.isfinite(size), distance, jnp.inf), gap / size, gradient

    distances, lengths, gradients = jax.lax.map(towards, others.T)
    nearest, rows = jnp.argmin(distances, axis=0), jnp.arange(len(labels))
    gradient, length = gradients[nearest, rows], lengths[nearest, rows]
    direction = jnp.sign(gradient) if norm == "linf" else gradient
    return length.reshape(-1, *[1] * (x.ndim - 1)) * direction
