"""Evolution: mutation, crossover and selection change inputs by their scores alone."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lectures_jax.input_optimization.attack_arguments import (
    Inputs,
    Labels,
    Logits,
    check_inputs,
    prepared,
)
from lectures_jax.input_optimization.black_box import Queried
from lectures_jax.input_optimization.loop import as_argument
from lectures_jax.input_optimization.perturbation import (
    Keys,
    fold,
    is_fooled,
    margin,
    typed,
)
from lectures_jax.typing import Key, check_count, check_range

Scores = Callable[[Array], Float[Array, " n"]]
"""`inputs -> scores`: how fit each input is, the higher the fitter."""

FACTOR = 0.5  # F, of the difference of two in differential evolution


class Evolved(NamedTuple):
    """A population after its last generation.

    Attributes:
        inputs: the population, the fittest first.
        scores: of each of it.
        history: the highest score of each generation, the first population's at the beginning.
        queries: inputs that were scored.
    """

    inputs: Float[Array, "n *d"]
    scores: Float[Array, " n"]
    history: Float[Array, " generations"]
    queries: int


def evolve(
    key: Key,
    score_fn: Scores,
    x: Inputs,
    *,
    generations: int,
    elite: int = 2,
    tournament: int = 4,
    mutations: float = 0.05,
    strength: float = 0.3,
) -> Evolved:
    """Returns a population that was changed by evolution until its scores are high.

    In each generation an `elite` stays. All others are children: two parents each win a tournament
    (selection), a rectangle of the one is put into the other (crossover), and pixels and a
    rectangle change at random (mutation).

    Args:
        key: of all draws.
        score_fn: `images -> scores`; such as a class's probability.
        x: the first population, images in [0, 1], such as noise.
        generations: how many.
        elite: fittest images that stay as they are.
        tournament: images drawn at random, of which the fittest becomes a parent.
        mutations: share of a child's pixels that change by themselves.
        strength: deviation of a change.

    Raises:
        ValueError: if the population is no batch of two images in [0, 1] or more, the scores are
            not one for each, or a number is out of range.

    Source:
        Goldberg (1989), ch. 1 and 3; images that fool a network: Nguyen et al. (2015), sec. 2.2.
    """
    x = check_inputs(x)
    if x.ndim != 4 or len(x) < 2:
        expected = "(population, height, width, channels) with a population of 2 at least"
        raise ValueError(f"x must have the shape {expected}, got {x.shape}.")
    check_count(generations=generations, elite=elite, tournament=tournament)
    check_range(elite=elite, low=1, high=len(x) - 1)
    check_range(mutations=mutations, low=0, high=1)
    check_range(strength=strength, low=0)
    score_fn = as_argument(score_fn)
    if (shape := _scores.eval_shape(score_fn, x).shape) != (len(x),):
        raise ValueError(f"score_fn must give {len(x)} scores, one for each, got shape {shape}.")
    options = {"generations": generations, "elite": elite, "tournament": tournament}
    inputs, scores, history = _evolve(key, score_fn, x, mutations, strength, **options)
    return Evolved(inputs, scores, history, len(x) + generations * (len(x) - elite))


def few_pixel_attack(
    key: Keys,
    logits_fn: Logits,
    x: Inputs,
    labels: Labels,
    *,
    pixels: int = 1,
    population: int = 100,
    generations: int = 50,
    targeted: bool = False,
) -> Queried:
    """Returns images of which only some pixels are changed, by differential evolution.

    A candidate is a list of pixels, each a place and a color. A child is one candidate plus half
    the difference of two others, and takes its parent's seat if its margin is not higher.

    Args:
        key: one key for all images, which then get the same draws, or one for each.
        logits_fn: `images -> logits`.
        x: images in [0, 1].
        labels: true classes, or the classes to be answered.
        pixels: that change, at most.
        population: candidates of an image.
        generations: how many, at most; one candidate that fools the network ends it.
        targeted: whether the labels are targets.

    Raises:
        ValueError: if a label is no class, x is no batch of images in [0, 1], or a number is out of
            range.

    Source:
        Su et al. (2019), sec. III.B; Storn & Price (1997), DE/rand/1.
    """
    check_count(pixels=pixels, generations=generations)
    check_count(population=population, low=4)
    logits_fn, x, labels = prepared(logits_fn, x, labels)
    if x.ndim != 4:
        expected = "(batch, height, width, channels)"
        raise ValueError(f"x must be images of shape {expected}, got {x.shape}.")
    options = {"pixels": pixels, "population": population, "generations": generations}
    return _few_pixels(key, logits_fn, x, labels, targeted=targeted, **options)


@jax.jit
def _scores(score_fn: Scores, x: Array) -> Array:
    return score_fn(x)


@partial(jax.jit, static_argnames=("generations", "elite", "tournament"))
def _evolve(
    key: Key,
    score_fn: Any,
    x: Array,
    mutations: Any,
    strength: Any,
    *,
    generations: int,
    elite: int,
    tournament: int,
) -> tuple[Array, Array, Array]:
    count = len(x) - elite

    def generation(state: tuple[Array, Array], key: Key) -> tuple[tuple[Array, Array], Array]:
        inputs, scores = state  # the fittest first
        key_parents, key_cross, key_mutate = jax.random.split(key, 3)
        drawn = jax.random.randint(key_parents, (2, count, tournament), 0, len(x))
        mothers, fathers = inputs[jnp.min(drawn, axis=-1)]  # the fittest of each tournament
        children = _cross(key_cross, mothers, fathers)
        children = _mutate(key_mutate, children, mutations, strength)
        inputs = jnp.concatenate([inputs[:elite], children])
        state = _by_score(inputs, jnp.concatenate([scores[:elite], score_fn(children)]))
        return state, state[1][0]

    first = _by_score(x, score_fn(x))
    (inputs, scores), history = jax.lax.scan(generation, first, jax.random.split(key, generations))
    return inputs, scores, jnp.concatenate([first[1][:1], history])


def _by_score(inputs: Array, scores: Array) -> tuple[Array, Array]:
    order = jnp.argsort(-scores)
    return inputs[order], scores[order]


def _cross(key: Key, mothers: Array, fathers: Array) -> Array:
    return jnp.where(_rectangles(key, mothers.shape), fathers, mothers)


def _mutate(key: Key, children: Array, share: Any, strength: Any) -> Array:
    """Shifts single pixels, and one rectangle as a whole."""
    key_which, key_shift, key_where, key_color = jax.random.split(key, 4)
    count, height, width, channels = children.shape
    pixels = (count, height * width, 1)
    shift = jax.random.normal(key_shift, (children.size,), children.dtype).reshape(children.shape)
    which = jax.random.bernoulli(key_which, share, (count * height * width,)).reshape(pixels)
    shift = jnp.where(which.reshape(count, height, width, 1), shift, 0)
    color = jax.random.normal(key_color, (count, channels), children.dtype)[:, None, None, :]
    shift = shift + jnp.where(_rectangles(key_where, children.shape), color, 0)
    return jnp.clip(children + strength * shift, 0, 1)


def _rectangles(key: Key, shape: tuple[int, ...]) -> Array:
    """A random rectangle in each image, true inside, [n, h, w, 1]; all sizes are as likely."""
    count, *sides = shape[:3]
    masks = []
    for number, side in enumerate(sides):
        key_size, key_start = jax.random.split(jax.random.fold_in(key, number))
        size = jax.random.randint(key_size, (count, 1), 1, side + 1)
        start = jax.random.randint(key_start, (count, 1), 0, side - size + 1)
        place = jnp.arange(side)[None]
        masks.append((place >= start) & (place < start + size))
    return (masks[0][:, :, None] & masks[1][:, None, :])[..., None]


class _Candidates(NamedTuple):
    number: Array
    genes: Array
    margins: Array
    fooled: Array


@partial(jax.jit, static_argnames=("pixels", "population", "generations", "targeted"))
def _few_pixels(
    key: Keys,
    logits_fn: Any,
    x: Array,
    labels: Array,
    *,
    pixels: int,
    population: int,
    generations: int,
    targeted: bool,
) -> Queried:
    genes = (population, pixels * (2 + x.shape[-1]))
    key = typed(key)
    keys = key if key.ndim else jnp.broadcast_to(key, x.shape[:1])

    def attack(example: tuple[Key, Array, Array]) -> Queried:
        key, image, label = example
        everyone = jnp.full((population,), label)

        def evaluate(genes: Array) -> tuple[Array, Array]:
            logits = logits_fn(_painted(image, genes))
            fooled = is_fooled(logits, everyone, targeted=targeted)
            return margin(logits, everyone, targeted=targeted), fooled

        def generation(state: _Candidates) -> _Candidates:
            key_now = fold(key, state.number)
            children = jnp.clip(_differences(key_now, state.genes), 0, 1)
            margins, fooled = evaluate(children)
            better = margins <= state.margins
            return _Candidates(
                state.number + 1,
                jnp.where(better[:, None], children, state.genes),
                jnp.where(better, margins, state.margins),
                jnp.where(better, fooled, state.fooled),
            )

        def goes_on(state: _Candidates) -> Array:
            return (state.number <= generations) & ~jnp.any(state.fooled)

        first = jax.random.uniform(fold(key, 0), genes, x.dtype)
        state = _Candidates(jnp.array(1), first, *evaluate(first))
        state = jax.lax.while_loop(goes_on, generation, state)
        best = jnp.argmin(jnp.where(state.fooled, -jnp.inf, state.margins))
        painted = _painted(image, state.genes[best][None])[0]
        return Queried(painted, state.fooled[best], population * state.number.astype(jnp.int32))

    return jax.lax.map(attack, (keys, x, labels))


def _differences(key: Key, genes: Array) -> Array:
    """`a + F (b − c)` of three others for each candidate: shifts of one random order."""
    order = jax.random.permutation(key, len(genes))
    ahead = [genes[jnp.roll(order, shift)] for shift in (1, 2, 3)]
    a, b, c = (values[jnp.argsort(order)] for values in ahead)
    return a + FACTOR * (b - c)


def _painted(image: Array, genes: Array) -> Array:
    """The image with each candidate's pixels, [population, h, w, c]."""
    height, width, channels = image.shape
    genes = genes.reshape(len(genes), -1, 2 + channels)
    row = jnp.minimum((genes[..., 0] * height).astype(jnp.int32), height - 1)
    column = jnp.minimum((genes[..., 1] * width).astype(jnp.int32), width - 1)

    def paint(row: Array, column: Array, colors: Array) -> Array:
        return image.at[row, column].set(colors)

    return jax.vmap(paint)(row, column, genes[..., 2:])
