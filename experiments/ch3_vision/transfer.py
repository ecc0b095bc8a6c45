"""A network trained on some classes helps with others. CPU, 2 min; gain at 50 labels 0.3.

A network is trained on digits 0 to 4 from many drawn images, then on 5 to 9 from few: from scratch,
or starting from what it knows, with everything but the last layer frozen, with the last stage
unfrozen, with one rate for all, or with a lower rate for what is already trained. `--data idx
--root DIR` does the same with the halves of a set in MNIST's format. All strategies take the same
steps at the same rate.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, objectives, optim, report, runtime, train, weights
from lectures_jax.models.cnn import Cnn
from lectures_jax.recipes import optimizers
from lectures_jax.recipes.classifier import accuracy
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot
from lectures_jax.train.history import Row
from lectures_jax.typing import Batch

TINY = {"images": 40, "source_steps": 1, "steps": 1, "labels": (1,), "seeds": 1, "channels": 2}
EXPECTED = {"source_accuracy": (0.9, None), "best_gain": (0.15, None)}
HALF = 5  # classes of each task


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Literal["scenes", "idx"] = "scenes"
    """drawn images of one digit each, or four files in MNIST's format"""
    root: Path | None = None
    """folder of {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz"""
    images: int = 8000
    """drawn to train on, all ten classes together"""
    labels: tuple[int, ...] = (10, 50, 500)
    """examples of each new class"""
    source_steps: int = 1500
    """training steps on the old classes"""
    steps: int = 300
    """training steps on the new classes"""
    batch_size: int = 32
    """images per step"""
    learning_rate: float = 3e-3
    """highest of Adam's one-cycle schedule"""
    channels: int = 16
    """of the first convolution; the second has twice, the third four times as many"""
    seeds: int = 3
    """repetitions of each training on the new classes"""
    seed: int = 0
    """of the images and of the first network"""


class Task(NamedTuple):
    """Five classes: images to train on and to test with."""

    train: Batch
    test: Batch
    classes: tuple[str, ...]


class Strategy(NamedTuple):
    """How a network comes to tell the new classes.

    Attributes:
        pretrained: it starts from the network of the old classes, with a new last layer.
        frozen: beginnings of the paths of parameters that do not change.
        rate_factor: multiplies the rate of what is neither frozen nor the last layer.
    """

    pretrained: bool = True
    frozen: tuple[str, ...] = ()
    rate_factor: float = 1.0


STRATEGIES = {
    "from scratch": Strategy(pretrained=False),
    "last layer": Strategy(frozen=("stages",)),
    "last stage": Strategy(frozen=("stages/0", "stages/1")),
    "all": Strategy(),
    "all, body at 0.3": Strategy(rate_factor=0.3),
}


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains on the old classes, then on the new ones by every strategy, and writes the report."""
    old, new = read(config)
    source, history = train_source(config, old, out)
    accuracies = {
        name: fine_tune(config, strategy, source, new) for name, strategy in STRATEGIES.items()
    }
    middle = len(config.labels) // 2
    means = {name: float(values[:, middle].mean()) for name, values in accuracies.items()}
    scratch = means.pop("from scratch")
    gains = {name: mean - scratch for name, mean in means.items()}
    numbers = {
        "source_accuracy": accuracy(source, old.test),
        "from_scratch": scratch,
        "best_gain": max(0.0, *gains.values()),
        **{"gain_" + name.replace(",", "").replace(" ", "_"): gain for name, gain in gains.items()},
    }
    write_report(config, out, (old, new), history, accuracies, numbers)
    return numbers


def read(config: Config) -> tuple[Task, Task]:
    """The task of the first five classes, and that of the last five."""
    names = tuple("0123456789")
    if config.data == "idx":
        *sets, names, _ = data.read_classified("idx", config.root)
    else:
        key, count = jax.random.key(config.seed), config.images
        sets = [draw(key, count, "train"), draw(key, max(count // 4, 80), "test")]

    def task(first: int) -> Task:
        return Task(half(sets[0], first), half(sets[1], first), names[first : first + HALF])

    return task(0), task(HALF)


def half(examples: Batch, first: int) -> Batch:
    """The examples of five classes, whose labels then begin at 0."""
    rows = (examples["labels"] // HALF) * HALF == first
    return {"image": examples["image"][rows], "labels": examples["labels"][rows] - first}


def draw(key: jax.Array, count: int, split: Literal["train", "test"]) -> Batch:
    """Images of one tinted digit each on a textured ground, 24×24 pixels in color."""
    digit = {"min_digits": 1, "max_digits": 1, "min_size": 16.0, "max_size": 23.0}
    scenes = data.digit_scenes(key, count=count, split=split, size=24, **digit)
    images = np.stack([np.asarray(record.image) for record in scenes]).astype(np.float32) / 255
    return {"image": images, "labels": np.concatenate([record.labels for record in scenes])}


def architecture(config: Config, task: Task) -> dict:
    """The settings of a network of three convolutions and a last layer for five classes."""
    height, width, inputs = task.train["image"].shape[1:]
    return {
        "network": "cnn",
        "classes": list(task.classes),
        "image_size": [height, width],
        "inputs": inputs,
        "channels": [[config.channels], [2 * config.channels], [4 * config.channels]],
    }


def network(config: Config, task: Task, seed: int) -> Cnn:
    """The network before any training."""
    return weights.build_model("classifier", architecture(config, task), rngs=nnx.Rngs(seed))


def train_source(config: Config, old: Task, out: Path) -> tuple[Cnn, list[Row]]:
    """The network of the old classes, which is also written to `model.safetensors`."""
    rng = np.random.default_rng(config.seed)
    model, history = train.fit(
        jax.random.key(config.seed),
        network(config, old, config.seed),
        objectives.classification,
        optimizers.adam(optax.cosine_onecycle_schedule(config.source_steps, config.learning_rate)),
        (batch(rng, old.train, config) for _ in range(config.source_steps)),
        steps=config.source_steps,
        out=out,
        evaluate=lambda model: {"test_accuracy": accuracy(model, old.test)},
        evaluate_every=max(config.source_steps // 5, 1),
    )
    settings = architecture(config, old)
    weights.save_model(out / "model.safetensors", model, kind="classifier", settings=settings)
    return model, history


def batch(rng: np.random.Generator, examples: Batch, config: Config) -> Batch:
    """Examples drawn with replacement."""
    rows = rng.integers(0, len(examples["labels"]), config.batch_size)
    return {name: values[rows] for name, values in examples.items()}


def fine_tune(config: Config, strategy: Strategy, source: Cnn, new: Task) -> np.ndarray:
    """Test accuracy after training on the new classes, [seeds, numbers of labels]."""
    optimizer = make_optimizer(config, strategy)
    model = initial_model(config, strategy, source, new, 0)
    structure, _ = train.init(jax.random.key(0), model, optimizer)
    step = train.make_step(structure, objectives.classification, optimizer)  # compiled once
    accuracies = np.zeros((config.seeds, len(config.labels)))
    for seed in range(config.seeds):
        rng = np.random.default_rng([config.seed, seed])
        for column, count in enumerate(config.labels):
            labelled = choose(rng, new.train, count)
            model = initial_model(config, strategy, source, new, seed)
            _, state = train.init(jax.random.key(seed), model, optimizer)
            for _ in range(config.steps):
                state, _ = step(state, batch(rng, labelled, config))
            accuracies[seed, column] = accuracy(train.rebuild(structure, state), new.test)
    return accuracies


def make_optimizer(config: Config, strategy: Strategy) -> optax.GradientTransformation:
    """Adam for the last layer, for the rest, and none for what is frozen."""

    def part(path: str) -> str:
        if path.startswith("classify"):
            return "last"
        return "frozen" if path.startswith(strategy.frozen) else "body"

    def adam(rate: float) -> optax.GradientTransformation:
        return optax.adam(optax.cosine_onecycle_schedule(config.steps, rate))

    rate = config.learning_rate
    parts = {"last": adam(rate), "body": adam(rate * strategy.rate_factor)}
    return optim.by_path(part, {**parts, "frozen": optax.set_to_zero()})


def initial_model(config: Config, strategy: Strategy, source: Cnn, new: Task, seed: int) -> Cnn:
    """The network before the new classes; what is frozen keeps its averages of batch norm."""
    model = network(config, new, 1000 + seed)
    if not strategy.pretrained:
        return model
    pretrained = nnx.clone(source)
    for number, stage in enumerate(pretrained.stages):
        frozen = f"stages/{number}".startswith(strategy.frozen)
        model.stages[number] = stage if frozen else nnx.view(stage, use_running_average=False)
    return model


def choose(rng: np.random.Generator, examples: Batch, count: int) -> Batch:
    """As many examples of each class as `count` says, or all if there are fewer."""
    members = (np.flatnonzero(examples["labels"] == label) for label in range(HALF))
    rows = np.concatenate([rng.permutation(m)[:count] for m in members])
    return {name: values[rows] for name, values in examples.items()}


def write_report(
    config: Config,
    out: Path,
    tasks: tuple[Task, Task],
    history: list[Row],
    accuracies: dict[str, np.ndarray],
    numbers: dict[str, float],
) -> None:
    """Writes `report.html`."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    middle = config.labels[len(config.labels) // 2]
    report.page(
        out / "report.html",
        title="Transfer learning",
        summary=f"What training on {len(tasks[0].train['labels'])} images of five classes is worth "
        f"for five others, of which {' / '.join(map(str, config.labels))} each are labelled.",
        numbers={
            f"accuracy from scratch, {middle} labels": numbers["from_scratch"],
            f"best gain, {middle} labels": numbers["best_gain"],
            "accuracy on the old classes": numbers["source_accuracy"],
        },
        sections=[
            strategies(config, accuracies, figures / "strategies.svg"),
            examples(*tasks),
            report.training(
                history, figures, losses=[["loss"], ["accuracy"]], scores=[["test_accuracy"]]
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def strategies(config: Config, accuracies: dict[str, np.ndarray], path: Path) -> Section:
    """Accuracy over the number of labels, and the same in numbers."""
    positions, heads = np.arange(len(config.labels)), [f"{n} labels" for n in config.labels]
    with plot(path, height=3.4) as (ax,):
        for number, (name, values) in enumerate(accuracies.items()):
            shift = 0.03 * (number - len(accuracies) / 2)
            mean, deviation = values.mean(axis=0), values.std(axis=0, ddof=min(1, len(values) - 1))
            style = {"color": color(number), "marker": "o", "markersize": 3, "capsize": 2}
            ax.errorbar(positions + shift, mean, deviation, label=name, **style)
        ax.set_xticks(positions, heads)
        ax.set(xlabel="per new class", ylabel="test accuracy", ylim=(0, 1.02))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    fewest = {name: values[:, 0] for name, values in accuracies.items()}
    spread = report.mean_and_deviation
    rows = [(n, *(spread(v, digits=3) for v in values.T)) for n, values in accuracies.items()]
    return Section(
        "Strategies for the new classes",
        f"Mean and standard deviation over {config.seeds} seeds, after {config.steps} steps each. "
        f"With {heads[0]}: {report.best_by_seeds(fewest, than=next(iter(fewest)))}",
        figures=[Figure(path, "Test accuracy by the number of labels.")],
        table=Table(("what is trained", *heads), rows),
    )


def examples(old: Task, new: Task) -> Section:
    """Some images of both tasks."""
    grids = [report.sheet(t.train["image"][:16], columns=8, width=72) for t in (old, new)]
    figures = [Figure(grids[0], "Old classes."), Figure(grids[1], "New classes.")]
    return Section("Images", figures=figures)
