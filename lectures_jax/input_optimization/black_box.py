"""Attacks by scores alone: the network is asked, and its gradient is unknown."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from lectures_jax.input_optimization.attack_arguments import (
    Budget,
    Inputs,
    Labels,
    Logits,
    prepared,
)
from lectures_jax.input_optimization.perturbation import (
    Keys,
    choose,
    draw,
    fold,
    is_fooled,
    margin,
    project,
)
from lectures_jax.losses import cross_entropy
from lectures_jax.typing import Key, check_count, check_positive


class Queried(NamedTuple):
    """What an attack by scores has led to.

    Attributes:
        inputs: those that fool the network, or the best so far.
        fooled: whether the likeliest class was the wrong one.
        queries: images that the network was asked about, until it was fooled.
    """

    inputs: Float[Array, "b *d"]
    fooled: Bool[Array, " b"]
    queries: Int32[Array, " b"]


class Search(NamedTuple):
    """A search on its way, per example but for `number`.

    Attributes:
        number: proposals so far.
        x: the best so far.
        margin: of the best.
        fooled: whether the network answers wrongly to it, which ends the search.
        queries: images that the network was asked about.
    """

    number: Array
    x: Array
    margin: Array
    fooled: Array
    queries: Array


def nes_attack(
    key: Keys,
    logits_fn: Logits,
    x: Inputs,
    labels: Labels,
    *,
    epsilon: Budget,
    step_size: Budget,
    steps: int,
    samples: int = 25,
    sigma: float = 0.01,
    targeted: bool = False,
) -> Queried:
    """Returns inputs after PGD with gradients that are estimated from scores at random neighbors.

    `∇L(x) ≈ 1/(2nσ) Σ uᵢ (L(x + σ uᵢ) − L(x − σ uᵢ))`, u normal: natural evolution strategies

    Args:
        key: one for all examples, which then get the same directions, or one for each.
        logits_fn: `images -> logits`.
        x: inputs in [0, 1].
        labels: true classes, or the classes to be answered.
        epsilon: largest change of an entry, for all or for each example.
        step_size: change of an entry in a step, for all or for each example.
        steps: how many, each of `2 samples + 1` queries.
        samples: n, directions of each step.
        sigma: distance of the neighbors.
        targeted: whether the labels are targets.

    Raises:
        ValueError: if ε is negative, a label is no class, x is not in [0, 1], or a number is out of
            range.

    Source:
        Ilyas et al. (2018), sec. 2.2 and algorithm 1.
    """
    check_count(steps=steps, samples=samples)
    check_positive(sigma=sigma)
    given = prepared(logits_fn, x, labels, epsilon=epsilon, step_size=step_size)
    options = {"steps": steps, "samples": samples, "targeted": targeted}
    return _nes(key, *given, jnp.asarray(sigma, given[1].dtype), **options)


@partial(jax.jit, static_argnames=("steps", "samples", "targeted"))
def _nes(
    key: Keys,
    logits_fn: Any,
    x: Array,
    labels: Array,
    epsilon: Array,
    step_size: Array,
    sigma: Array,
    *,
    steps: int,
    samples: int,
    targeted: bool,
) -> Queried:
    def normal(key: Key) -> Array:
        return jax.random.normal(key, (x[0].size,), x.dtype).reshape(x.shape[1:])

    def loss(x: Array) -> Array:
        value = cross_entropy(logits_fn(x), labels)
        return -value if targeted else value

    def estimate(at: Array, number: Array) -> Array:
        def add(total: Array, sample: Array) -> tuple[Array, None]:
            u = draw(fold(key, number * samples + sample), normal)
            difference = loss(at + sigma * u) - loss(at - sigma * u)
            return total + difference.reshape(-1, *[1] * (x.ndim - 1)) * u, None

        total, _ = jax.lax.scan(add, jnp.zeros_like(x), jnp.arange(samples))
        return total  # its factor 1 / (2 n sigma) does not change the sign

    def step(state: tuple[Search, Array]) -> tuple[Search, Array]:
        best, at = state
        at = at + step_size * jnp.sign(estimate(at, best.number))
        at = project(at, x, epsilon, norm="linf")
        return ask(logits_fn, labels, targeted, best, at, cost=2 * samples + 1), at

    def goes_on(state: tuple[Search, Array]) -> Array:
        return (state[0].number < steps) & ~jnp.all(state[0].fooled)

    state = (first_search(logits_fn, x), x)
    return answer(jax.lax.while_loop(goes_on, step, state)[0])


def first_search(logits_fn: Logits, x: Array) -> Search:
    """Returns a search before any question.

    Args:
        logits_fn: a tree, from `prepared`.
        x: inputs.
    """
    count, dtype = x.shape[:1], jax.eval_shape(logits_fn, x).dtype
    none = jnp.zeros(count, jnp.int32)
    worst = jnp.full(count, jnp.inf, dtype)
    return Search(jnp.array(0), x, worst, jnp.zeros(count, bool), none)


def ask(
    logits_fn: Logits, labels: Array, targeted: bool, state: Search, x: Array, *, cost: int
) -> Search:
    """Returns the search with what has a lower margin, where the network is not fooled yet.

    Args:
        logits_fn: `images -> logits`.
        labels: true classes, or the classes to be answered.
        targeted: whether the labels are targets.
        state: the search so far.
        x: what is proposed for each example.
        cost: images that the network was asked about for one proposal, this one included.
    """
    logits = logits_fn(x)
    new = margin(logits, labels, targeted=targeted)
    better = ~state.fooled & (new < state.margin)
    fooled = better & is_fooled(logits, labels, targeted=targeted)
    return Search(
        number=state.number + 1,
        x=choose(better, x, state.x),
        margin=jnp.where(better, new, state.margin),
        fooled=state.fooled | fooled,
        queries=state.queries + cost * ~state.fooled,
    )


def answer(state: Search) -> Queried:
    """Returns what a search has led to.

    Args:
        state: the search at its end.
    """
    return Queried(state.x, state.fooled, state.queries)
