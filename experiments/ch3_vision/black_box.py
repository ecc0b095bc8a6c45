"""A classifier is fooled by asking it: evolution and random search. CPU, 4 min; fooled 0.9.

The attacks see the scores of a network of handwritten digits, and no gradient: random squares,
gradients estimated from scores, single pixels chosen by differential evolution. Evolution also
makes images from noise that the network takes for digits.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from lectures_jax import data, input_optimization, report, runtime
from lectures_jax.input_optimization import Queried
from lectures_jax.recipes import classifier
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot
from lectures_jax.typing import Batch

TINY = {
    "training": classifier.Settings(steps=2, batch_size=4, channels=2),
    **{"images": 4, "queries": 6, "population": 6, "generations": 2},
}
EXPECTED = {"square_fooled": (0.8, None), "evolved_confidence": (0.95, None)}
SAMPLES = 25  # directions of an estimated gradient


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    epsilon: float = 0.15
    """largest change of a pixel by squares and by estimated gradients"""
    pixels: tuple[int, ...] = (1, 3)
    """that the search for single pixels may change"""
    images: int = 100
    """test images that are attacked"""
    queries: int = 1000
    """for each image, at most"""
    population: int = 50
    """of evolution and of the search for pixels"""
    generations: int = 200
    """of evolution from noise"""
    seed: int = 0
    """of the network and of the attacks"""
    training: classifier.Settings = field(
        default_factory=lambda: classifier.Settings(channels=16, steps=400)
    )
    """of the network and its training"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains the network, attacks it, and writes the report."""
    splits = data.read_classified("digits")
    settings = classifier.with_defaults(config.training, "digits")
    model, history = classifier.train(settings, splits, out, seed=config.seed)
    right = classifier.probabilities(model, splits.test["image"]).argmax(1) == splits.test["labels"]
    rows = np.flatnonzero(right)[: config.images] if right.any() else np.arange(config.images)
    test = {name: values[rows] for name, values in splits.test.items()}
    results = attack(config, model, test)
    evolved = from_noise(config, model, len(splits.classes), test["image"].shape[1:])
    numbers = {
        "square_fooled": float(np.mean(results["random squares"].fooled)),
        "square_queries": median_queries(results["random squares"]),
        "nes_fooled": float(np.mean(results["estimated gradients"].fooled)),
        "evolved_confidence": float(np.mean([e.history[-1] for e in evolved])),
    }
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    report.page(
        out / "report.html",
        title="Attacks by scores",
        summary=f"A network answers questions about {len(rows)} test images that it classifies "
        "rightly, until it is wrong.",
        numbers={
            "fooled by squares": numbers["square_fooled"],
            "queries, median": numbers["square_queries"],
            "fooled by estimated gradients": numbers["nes_fooled"],
            "confidence in evolved noise": numbers["evolved_confidence"],
        },
        sections=[
            by_queries(config, results, figures / "queries.svg"),
            changed(results, model, test),
            evolution(evolved, figures / "evolution.svg"),
            report.training(
                history, figures, losses=[["loss"], ["accuracy"]], scores=[["test_accuracy"]]
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def attack(config: Config, model: Any, test: Batch) -> dict[str, Queried]:
    """What each attack makes of the test images; each image has draws of its own."""
    keys = jax.random.split(jax.random.key(config.seed), len(test["labels"]))
    given = (keys, model, test["image"], test["labels"])
    results = {
        "random squares": input_optimization.square_attack(
            *given, epsilon=config.epsilon, queries=config.queries
        ),
        "estimated gradients": input_optimization.nes_attack(
            *given,
            epsilon=config.epsilon,
            step_size=config.epsilon / 4,
            steps=max(config.queries // (2 * SAMPLES + 1), 1),
            samples=SAMPLES,
        ),
    }
    for count in config.pixels:
        results[f"{count} pixel{'s' * (count > 1)}"] = input_optimization.few_pixel_attack(
            *given,
            pixels=count,
            population=config.population,
            generations=max(config.queries // config.population - 1, 1),
        )
    return jax.tree.map(np.asarray, results)


def from_noise(
    config: Config, model: Any, classes: int, shape: tuple[int, ...]
) -> list[input_optimization.Evolved]:
    """A population for each class, evolved from noise until the network sees that class."""
    key_noise, key = jax.random.split(jax.random.key(config.seed))
    noise = jax.random.uniform(key_noise, (config.population, *shape))

    def probability(model: Callable, label: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.take(jax.nn.softmax(model(x)), label, axis=1)

    return [
        input_optimization.evolve(
            key,
            Partial(probability, input_optimization.as_argument(model), jnp.array(label)),
            noise,
            generations=config.generations,
        )
        for label in range(classes)
    ]


def median_queries(result: Queried) -> float:
    """The median over the images that fooled the network; of none, the most that was asked."""
    fooled = result.queries[result.fooled]
    return float(np.median(fooled if len(fooled) else result.queries))


def by_queries(config: Config, results: dict[str, Queried], path: Path) -> Section:
    """The share of fooled images over the number of queries."""
    with plot(path, height=3.0) as (ax,):
        for number, (name, result) in enumerate(results.items()):
            order = np.sort(np.where(result.fooled, result.queries, np.inf))
            shares = np.arange(1, len(order) + 1) / len(order)
            ends = np.isfinite(order)
            x = np.concatenate([[1], order[ends], [config.queries]])
            y = np.concatenate([[0], shares[ends], [np.mean(result.fooled)]])
            ax.step(x, y, where="post", color=color(number), label=name)
        ax.set_xscale("log")
        ax.set(xlabel="queries of an image", ylabel="share that is fooled", ylim=(-0.02, 1.02))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    rows = [
        (name, float(np.mean(result.fooled)), median_queries(result))
        for name, result in results.items()
    ]
    return Section(
        "Queries",
        f"Squares and estimated gradients change each pixel by {config.epsilon:g} at most; the "
        "search for pixels changes a few as far as it likes.",
        figures=[Figure(path, "Share of the images that fool the network by then.")],
        table=Table(("attack", "fooled", "median of queries"), rows),
    )


def changed(results: dict[str, Queried], model: Any, test: Batch) -> Section:
    """Images before and after each attack."""
    figures = []
    for name, result in results.items():
        rows = np.flatnonzero(result.fooled)[:10]
        if not len(rows):
            continue
        images = np.asarray(result.inputs)[rows]
        pair = np.concatenate([test["image"][rows], images])
        answers = classifier.probabilities(model, images).argmax(axis=1)
        caption = f"By {name}: images, and what is taken for {', '.join(map(str, answers))}."
        figures.append(Figure(report.sheet(pair, columns=len(rows)), caption))
    return Section("Images that fool", figures=figures)


def evolution(evolved: list[input_optimization.Evolved], path: Path) -> Section:
    """What evolution made of noise for each class, and how it came about."""
    with plot(path, height=2.6) as (ax,):
        for label, result in enumerate(evolved):
            number = np.arange(1, len(result.history) + 1)
            ax.plot(number, result.history, color=color(label), label=str(label))
        ax.set_xscale("log")
        ax.set(xlabel="generation, the first is noise", ylabel="probability", ylim=(-0.02, 1.02))
        ax.legend(loc="lower right", ncols=5)
    best = np.stack([np.asarray(result.inputs[0]) for result in evolved])
    confidences = ", ".join(f"{result.history[-1]:.3f}" for result in evolved)
    return Section(
        "Evolution from noise",
        f"Each population was scored by the probability of one class, {evolved[0].queries} times. "
        "Children are made of two parents and change at random; the fittest stay.",
        figures=[
            Figure(report.sheet(best, columns=len(best)), f"Taken for 0 to 9, with {confidences}."),
            Figure(path, "Highest probability of each class's population."),
        ],
    )
