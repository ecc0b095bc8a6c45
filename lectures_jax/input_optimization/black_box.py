"""Attacks by scores alone: the network is asked, and its gradient is unknown."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from lectures_jax.input_optimization.attack_arguments import (
    Budget,
    Inputs,
    Labels,
    Logits,
    check_attack,
    per_example,
)
from lectures_jax.input_optimization.loop import as_argument
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

FIRST_SHARE = 0.8  # of the image that the first square covers
HALVINGS = (
    10,
    50,
    200,
    500,
    1000,
    2000,
    4000,
    6000,
    8000,
)  # queries of 10,000 after which it halves


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


class _State(NamedTuple):
    number: Array
    x: Array
    margin: Array
    fooled: Array
    queries: Array


def square_attack(
    key: Keys,
    logits_fn: Logits,
    x: Inputs,
    labels: Labels,
    *,
    epsilon: Budget,
    queries: int = 1000,
    targeted: bool = False,
) -> Queried:
    """Returns images after a random search with squares whose pixels lie at the edge of the ball.

    It begins with vertical stripes of ±ε. Each query sets one square, of a place and of a color
    drawn at random, to ±ε; it stays if the margin has become lower. Squares become smaller.

    Args:
        key: one for all images, which then get the same squares, or one for each.
        logits_fn: `images -> logits`.
        x: images in [0, 1].
        labels: true classes, or the classes to be answered.
        epsilon: largest change of an entry, for all or for each image.
        queries: of each image, at most.
        targeted: whether the labels are targets.

    Raises:
        ValueError: if ε is negative, a label is no class, x is no batch of images in [0, 1], or
            `queries` is below 1.

    Source:
        Andriushchenko et al. (2020), algorithms 1 and 2, and sec. 3.2 for the sizes.
    """
    check_count(queries=queries)
    logits_fn = as_argument(logits_fn)
    x, labels = check_attack(logits_fn, x, labels, epsilon=epsilon)
    if x.ndim != 4:
        raise ValueError(
            f"x must be images of shape (batch, height, width, channels), got {x.shape}."
        )
    sides = jnp.asarray(_square_sides(queries, *x.shape[1:3]))
    return _square(key, logits_fn, x, labels, per_example(epsilon, x), sides, targeted=targeted)


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
    logits_fn = as_argument(logits_fn)
    x, labels = check_attack(logits_fn, x, labels, epsilon=epsilon, step_size=step_size)
    budget = per_example(epsilon, x), per_example(step_size, x)
    options = {"steps": steps, "samples": samples, "targeted": targeted}
    return _nes(key, logits_fn, x, labels, *budget, jnp.asarray(sigma, x.dtype), **options)


def _square_sides(queries: int, height: int, width: int) -> np.ndarray:
    """Returns the side of the square of each query, in pixels, falling.

    Args:
        queries: how many.
        height: of the images.
        width: of the images.
    """
    number = np.arange(queries) * 10_000 // queries
    share = FIRST_SHARE / 2.0 ** np.searchsorted(HALVINGS, number)
    sides = np.rint(np.sqrt(share * height * width)).astype(np.int32)
    return np.clip(sides, 1, max(min(height, width) - 1, 1))


@partial(jax.jit, static_argnames="targeted")
def _square(
    key: Keys,
    logits_fn: Any,
    x: Array,
    labels: Array,
    epsilon: Array,
    sides: Array,
    *,
    targeted: bool,
) -> Queried:
    def stripes(key: Key) -> Array:
        return jax.random.rademacher(key, (1, *x.shape[2:]), x.dtype)

    def propose(state: _State) -> Array:
        square = partial(_square_of, x.shape[1:], sides[state.number], x.dtype)
        covered, sign = draw(fold(key, state.number), square)
        edge = project(x + sign * epsilon, x, epsilon, norm="linf")
        return jnp.where(covered, edge, state.x)

    def step(state: _State) -> _State:
        return _ask(logits_fn, labels, targeted, state, propose(state), cost=1)

    def goes_on(state: _State) -> Array:
        return (state.number < len(sides)) & ~jnp.all(state.fooled)

    start = x + draw(fold(key, len(sides)), stripes) * epsilon
    start = project(start, x, epsilon, norm="linf")
    state = _ask(logits_fn, labels, targeted, _first(logits_fn, x), start, cost=1)
    return _answer(jax.lax.while_loop(goes_on, step, state))


def _square_of(shape: tuple[int, ...], side: Array, dtype: Any, key: Key) -> tuple[Array, Array]:
    """Which pixels a random square covers, [h, w, 1], and the sign of each channel in it."""
    height, width, channels = shape
    key_place, key_sign = jax.random.split(key)
    first = jax.random.randint(key_place, (2,), 0, jnp.array([height, width]) - side + 1)
    inside = [
        (jnp.arange(size) >= start) & (jnp.arange(size) < start + side)
        for size, start in zip((height, width), first, strict=True)
    ]
    covered = inside[0][:, None, None] & inside[1][None, :, None]
    return covered, jax.random.rademacher(key_sign, (1, 1, channels), dtype)


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

    def step(state: tuple[_State, Array]) -> tuple[_State, Array]:
        best, at = state
        at = at + step_size * jnp.sign(estimate(at, best.number))
        at = project(at, x, epsilon, norm="linf")
        return _ask(logits_fn, labels, targeted, best, at, cost=2 * samples + 1), at

    def goes_on(state: tuple[_State, Array]) -> Array:
        return (state[0].number < steps) & ~jnp.all(state[0].fooled)

    state = (_first(logits_fn, x), x)
    return _answer(jax.lax.while_loop(goes_on, step, state)[0])


def _first(logits_fn: Logits, x: Array) -> _State:
    """Before any question."""
    count, dtype = x.shape[:1], jax.eval_shape(logits_fn, x).dtype
    none = jnp.zeros(count, jnp.int32)
    worst = jnp.full(count, jnp.inf, dtype)
    return _State(jnp.array(0), x, worst, jnp.zeros(count, bool), none)


def _ask(
    logits_fn: Logits, labels: Array, targeted: bool, state: _State, x: Array, *, cost: int
) -> _State:
    """Keeps what has a lower margin, of the examples that do not fool the network yet."""
    logits = logits_fn(x)
    new = margin(logits, labels, targeted=targeted)
    better = ~state.fooled & (new < state.margin)
    fooled = better & is_fooled(logits, labels, targeted=targeted)
    return _State(
        number=state.number + 1,
        x=choose(better, x, state.x),
        margin=jnp.where(better, new, state.margin),
        fooled=state.fooled | fooled,
        queries=state.queries + cost * ~state.fooled,
    )


def _answer(state: _State) -> Queried:
    return Queried(state.x, state.fooled, state.queries)
