"""First stages serve another task, last ones less. CPU, 2 min; accuracy, first 0.71, last 0.53.

A network of four stages is trained on one task, textures of photographs or digits. Some of its
stages, the first or the last, are taken over and frozen, and the rest is trained on the other task
from few labels; beside it, the same number of first stages is frozen as it was drawn.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, objectives, report, runtime, train
from lectures_jax.models.cnn import Cnn
from lectures_jax.recipes.feature_network import textures
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot
from lectures_jax.typing import Batch

EXPECTED = {
    "first_over_last": (0.1, None),
    "first_over_nothing": (-0.1, None),
}
TINY = {"patches": 8, "labels": 2, "source_steps": 2, "steps": 2, "channels": (2, 2), "seeds": 1}
SIDE = 24  # rows and columns of the images
ADAM = optax.scale_by_adam()
STRATEGIES = ("first taken over", "first random", "last taken over")


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    patches: int = 200
    """of each photograph, and a fourth as many to test on"""
    labels: int = 30
    """examples of each class of the second task"""
    channels: tuple[int, ...] = (8, 16, 32, 32)
    """of the stages; the map is halved between two of them"""
    source_steps: int = 400
    """of a training on the first task"""
    steps: int = 200
    """of a training on the second task"""
    batch_size: int = 32
    """images per step"""
    learning_rate: float = 5e-3
    """highest of Adam's one-cycle schedule"""
    seeds: int = 3
    """networks of each kind"""
    seed: int = 0
    """the first of them: of parameters, order and labels"""


Stages = tuple[int, ...]  # their numbers, from 0


Accuracies = dict[str, dict[tuple[str, int], np.ndarray]]
"""By the second task, what is frozen and how many stages of it [seed]."""


class Weights(NamedTuple):
    """What a network computes with."""

    params: dict
    buffers: dict


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains on each task and then on the other, and writes the report."""
    tasks = read(config)
    accuracies: Accuracies = {}
    for name, target in tasks.items():
        (source,) = (task for other, task in tasks.items() if other != name)
        rows = [transfer(config, source, target, config.seed + i) for i in range(config.seeds)]
        accuracies[name] = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    means = {
        strategy: [average(accuracies, strategy, count) for count in range(1, len(config.channels))]
        for strategy in STRATEGIES
    }
    nothing = average(accuracies, "nothing", 0)
    first, random, last = (means[strategy] for strategy in STRATEGIES)
    numbers = {
        "nothing_frozen": nothing,
        "first_taken_over": first[-1],
        "first_random": random[-1],
        "last_taken_over": last[-1],
        "first_over_last": first[-1] - last[-1],
        "first_over_random": first[-1] - random[-1],
        "first_over_nothing": first[-1] - nothing,
    }
    write_report(config, out, accuracies, numbers)
    return numbers


def average(accuracies: Accuracies, strategy: str, count: int) -> float:
    """The mean over both tasks and all seeds."""
    return float(np.mean([rows[strategy, count] for rows in accuracies.values()]))


def read(config: Config) -> dict[str, data.Splits]:
    """Both tasks of ten classes: the photograph of a patch, and the digit."""
    patches, digits = textures(count=config.patches), data.read_classified("digits")
    return {
        name: task._replace(train=gray(task.train), test=gray(task.test))
        for name, task in {"textures": patches, "digits": digits}.items()
    }


def gray(examples: Batch) -> Batch:
    """Images without color, of one size, in [0, 1]."""
    images = jnp.mean(jnp.asarray(examples["image"]), axis=-1, keepdims=True)
    images = jax.image.resize(images, (len(images), SIDE, SIDE, 1), "cubic")
    return {"image": np.asarray(jnp.clip(images, 0, 1)), "labels": examples["labels"]}


def transfer(
    config: Config, source: data.Splits, target: data.Splits, seed: int
) -> dict[tuple[str, int], float]:
    """Test accuracy on the second task, by what is frozen and how many stages of it."""
    rng, depth = np.random.default_rng([config.seed, seed]), len(config.channels)
    few = choose(rng, target.train, config.labels)
    (_, first), (_, fresh) = (build(config, n + seed) for n in (0, 1000))
    taken = fit(config, first, source.train, frozen=(), steps=config.source_steps, seed=seed)
    fine_tune = partial(fit, config, examples=few, steps=config.steps, seed=seed)
    accuracies = {("nothing", 0): accuracy(config, fine_tune(fresh, frozen=()), target.test)}
    for count in range(1, depth):
        first, last = tuple(range(count)), tuple(range(depth - count, depth))
        starts = (with_stages(fresh, taken, first), fresh, with_stages(fresh, taken, last))
        for strategy, start, frozen in zip(STRATEGIES, starts, (first, first, last), strict=True):
            trained = fine_tune(start, frozen=frozen)
            accuracies[strategy, count] = accuracy(config, trained, target.test)
    return accuracies


def choose(rng: np.random.Generator, examples: Batch, count: int) -> Batch:
    """So many examples of each class."""
    members = (np.flatnonzero(examples["labels"] == label) for label in range(10))
    rows = np.concatenate([rng.permutation(m)[:count] for m in members])
    return {name: values[rows] for name, values in examples.items()}


def build(config: Config, seed: int) -> tuple[Any, Weights]:
    """A network before training: its structure and its arrays."""
    model = Cnn(10, channels=[[n] for n in config.channels], inputs=1, rngs=nnx.Rngs(seed))
    structure, params, buffers = nnx.split(model, nnx.Param, ...)
    return structure, Weights(nnx.to_pure_dict(params), nnx.to_pure_dict(buffers))


def with_stages(weights: Weights, others: Weights, stages: Stages) -> Weights:
    """The arrays with some stages of another network."""

    def mixed(own: dict, other: dict) -> dict:
        parts = {n: other["stages"][n] if n in stages else x for n, x in own["stages"].items()}
        return {**own, "stages": parts}

    return Weights(*map(mixed, weights, others))


def trainable(params: dict, frozen: Stages) -> dict:
    """1 for each array that changes, 0 for those of frozen stages."""

    def of_part(part: dict, value: float) -> dict:
        return jax.tree.map(lambda _: value, part)

    stages = {n: of_part(part, float(n not in frozen)) for n, part in params["stages"].items()}
    return {**of_part(params, 1.0), "stages": stages}


def fit(
    config: Config, weights: Weights, examples: Batch, *, frozen: Stages, steps: int, seed: int
) -> Weights:
    """Trains all but the frozen stages, whose kernels, scales and biases stay as they are."""
    structure, _ = build(config, 0)
    schedule = optax.cosine_onecycle_schedule(steps, config.learning_rate)
    rates = np.asarray(jax.vmap(schedule)(jnp.arange(steps)))
    moments = ADAM.init(weights.params)
    factors = trainable(weights.params, frozen)
    batches = data.batches(examples, batch_size=config.batch_size, seed=seed)
    for rate in rates:
        moving = jax.tree.map(lambda x, rate=rate: np.float32(-rate * x), factors)
        weights, moments = update(structure, weights, moments, moving, next(batches))
    return weights


@partial(jax.jit, static_argnames="structure")
def update(
    structure: Any, weights: Weights, moments: Any, factors: dict, batch: Batch
) -> tuple[Weights, Any]:
    """A step of Adam, each array's by its own factor; one program for all trainings."""

    def loss(params: dict) -> Any:
        model = train.assemble(structure, params, weights.buffers)
        value, _ = objectives.classification(model, batch, jax.random.key(0))
        return value, nnx.to_pure_dict(nnx.state(model, nnx.Not(nnx.Param)))

    grads, buffers = jax.grad(loss, has_aux=True)(weights.params)
    updates, moments = ADAM.update(grads, moments)
    params = jax.tree.map(lambda p, f, u: p + f * u, weights.params, factors, updates)
    return Weights(params, buffers), moments


def accuracy(config: Config, weights: Weights, examples: Batch) -> float:
    """The share of images whose class has the highest score."""
    model = train.assemble(build(config, 0)[0], *weights)
    model = nnx.view(model, use_running_average=True)
    logits = train.predict(model, examples["image"], batch_size=250)
    return float(np.mean(np.argmax(logits, axis=-1) == examples["labels"]))


def draw_accuracies(accuracies: Accuracies, path: Path) -> None:
    """Accuracy over the number of frozen stages, a panel for each second task."""
    with plot(path, rows=len(accuracies), height=5.0) as axes:
        for ax, (task, rows) in zip(axes, accuracies.items(), strict=True):
            ax.axhline(rows["nothing", 0].mean(), color=INK, lw=0.8, ls=":", label="nothing frozen")
            for number, strategy in enumerate(STRATEGIES):
                counts = sorted(count for name, count in rows if name == strategy)
                values = np.array([rows[strategy, count] for count in counts])
                deviation = values.std(axis=1, ddof=min(1, values.shape[1] - 1))
                style = {"color": color(number), "marker": "o", "markersize": 3, "capsize": 2}
                ax.errorbar(counts, values.mean(axis=1), deviation, label=strategy, **style)
                ax.set_xticks(counts)
            ax.set(ylabel=f"accuracy, {task}")
        axes[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
        axes[-1].set(xlabel="frozen stages")


def write_report(
    config: Config, out: Path, accuracies: Accuracies, numbers: dict[str, float]
) -> None:
    """Writes `report.html`."""
    figures, counts = out / "figures", range(1, len(config.channels))
    figures.mkdir(parents=True, exist_ok=True)
    draw_accuracies(accuracies, figures / "accuracy.svg")
    spread = partial(report.mean_and_deviation, digits=3)
    rows, remarks = [], []
    for task, of_task in accuracies.items():
        rows.append((task, "nothing", *[spread(of_task["nothing", 0])] * len(counts)))
        rows += [(task, k, *(spread(of_task[k, n]) for n in counts)) for k in STRATEGIES]
        deepest = {strategy: of_task[strategy, counts[-1]] for strategy in STRATEGIES}
        sentence = report.best_by_seeds(deepest, than=STRATEGIES[0])
        remarks.append(f"On {task}, {counts[-1]} frozen: {sentence}")
    report.page(
        out / "report.html",
        title="Frozen stages",
        summary="Which stages of a network that was trained on one task serve another.",
        numbers={name.replace("_", " "): numbers[name] for name in list(numbers)[:4]},
        sections=[
            Section(
                "What is frozen",
                "The first task is the other of the two: textures of photographs for digits, and "
                f"digits for textures. Of the second there are {config.labels} examples of each "
                "class. Frozen first stages cost little, and hardly more where they are random: "
                "they do not depend on the task, but are not worth much at this size either. "
                "Frozen last stages cost the more, the more of them there are, although all "
                "stages before them adapt.\n\n" + "\n\n".join(remarks),
                figures=[Figure(figures / "accuracy.svg", "Test accuracy on the second task.")],
                table=Table(
                    ("second task", "frozen", *(f"{n} of {len(config.channels)}" for n in counts)),
                    rows,
                ),
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
