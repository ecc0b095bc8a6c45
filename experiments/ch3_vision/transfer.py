"""What a network learnt of some classes helps with others. CPU, 2 min; gain at 50 labels 0.3.

A network learns digits 0 to 4 from many drawn images, then 5 to 9 from few: anew, or starting
from what it knows, with everything but the last layer frozen, with the last stage unfrozen, with
one rate for all, or with a lower rate for what is already learnt. `--data idx --root DIR` does the
same with the halves of a set in MNIST's format. All ways take the same steps at the same rate.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np
import optax
from classification import accuracy
from flax import nnx

from lectures_jax import data, objectives, optim, report, runtime, train
from lectures_jax.models.cnn import Cnn
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot

TINY = {"images": 160, "source_steps": 2, "steps": 2, "labels": (2, 4), "seeds": 1}
HALF = 5  # classes of each task


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Literal["scenes", "idx"] = "scenes"
    """drawn images of one digit each, or four files in MNIST's format"""
    root: Path | None = None
    """folder of {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz"""
    pictures: int = 8000
    """drawn to learn from, all ten classes together"""
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
    seeds: int = 3
    """repetitions of each training on the new classes"""
    seed: int = 0
    """of the images and of the first network"""


class Task(NamedTuple):
    """Images to learn from and to test with, of five classes."""

    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]


class Way(NamedTuple):
    """A way to learn the new classes.

    Attributes:
        known: starts from the old network, with a new last layer.
        frozen: beginnings of the paths of parameters that stay.
        slowly: what the rate of the other parameters but the last layer's is multiplied by.
    """

    known: bool = True
    frozen: tuple[str, ...] = ()
    slowly: float = 1.0


WAYS = {
    "anew": Way(known=False),
    "last layer": Way(frozen=("stages",)),
    "last stage": Way(frozen=("stages/0", "stages/1")),
    "all": Way(),
    "all, body at 0.3": Way(slowly=0.3),
}


def run(config: Config, out: Path) -> dict[str, float]:
    """Learns the old classes, then the new ones in every way, and writes the report."""
    old, new = read(config)
    source, history = learn_source(config, old, out)
    found = {name: compare(config, way, source, new) for name, way in WAYS.items()}
    middle = len(config.labels) // 2
    gain = {
        name: values[:, middle].mean() - found["anew"][:, middle].mean()
        for name, values in found.items()
    }
    numbers = {
        "source_accuracy": accuracy(source, old.test),
        "anew": float(found["anew"][:, middle].mean()),
        "best_gain": float(max(gain.values())),
        **{f"gain_{name.replace(', ', '_').replace(' ', '_')}": float(gain[name]) for name in gain},
    }
    del numbers["gain_anew"]
    write_report(config, out, old, new, history, found, numbers)
    if config == Config() and numbers["best_gain"] < 0.15:
        raise RuntimeError(f"expected a gain of 0.15 over learning anew, got {numbers}.")
    return numbers


def read(config: Config) -> tuple[Task, Task]:
    """The task of the first five classes, and that of the last five."""
    if config.data == "idx":
        splits = data.read_classified("idx", config.root)
        sets = (splits.train, splits.test)
    else:
        key = jax.random.key(config.seed)
        sets = (
            draw(key, config.pictures, "train"),
            draw(key, max(config.pictures // 4, 80), "test"),
        )
    tasks = []
    for first in (0, HALF):
        halves = []
        for examples in sets:
            rows = (examples["labels"] // HALF) * HALF == first
            halves.append(
                {"image": examples["image"][rows], "labels": examples["labels"][rows] - first}
            )
        tasks.append(Task(*halves))
    return tasks[0], tasks[1]


def draw(key: jax.Array, count: int, split: Literal["train", "test"]) -> dict[str, np.ndarray]:
    """Images of one tinted digit each on a textured ground, 24×24 pixels in color."""
    scenes = data.digit_scenes(
        key,
        count=count,
        split=split,
        size=24,
        min_digits=1,
        max_digits=1,
        min_size=16.0,
        max_size=23.0,
    )
    images = np.stack([np.asarray(record.image) for record in scenes])
    labels = np.concatenate([record.labels for record in scenes])
    return {"image": images.astype(np.float32) / 255, "labels": labels}


def network(examples: dict[str, np.ndarray], seed: int) -> Cnn:
    """Three convolutions and a last layer for five classes."""
    inputs = examples["image"].shape[-1]
    return Cnn(HALF, channels=((16,), (32,), (64,)), inputs=inputs, rngs=nnx.Rngs(seed))


def learn_source(config: Config, old: Task, out: Path) -> tuple[Cnn, list]:
    """The network of the old classes."""
    rng = np.random.default_rng(config.seed)
    return train.fit(
        jax.random.key(config.seed),
        network(old.train, config.seed),
        objectives.classification,
        optax.adam(optax.cosine_onecycle_schedule(config.source_steps, config.learning_rate)),
        (batch(rng, old.train, config) for _ in range(config.source_steps)),
        steps=config.source_steps,
        out=out,
        evaluate=lambda model: {"test_accuracy": accuracy(model, old.test)},
        evaluate_every=max(config.source_steps // 5, 1),
    )


def batch(rng: np.random.Generator, examples: dict, config: Config) -> dict[str, np.ndarray]:
    """Examples drawn with replacement."""
    rows = rng.integers(0, len(examples["labels"]), config.batch_size)
    return {name: values[rows] for name, values in examples.items()}


def compare(config: Config, way: Way, source: Cnn, new: Task) -> np.ndarray:
    """Test accuracy after learning the new classes one way, [seeds, numbers of labels]."""
    optimizer = make_optimizer(config, way)
    structure, _ = train.init(jax.random.key(0), begin(way, source, new, 0), optimizer)
    step = train.make_step(structure, objectives.classification, optimizer)  # compiled once
    found = np.zeros((config.seeds, len(config.labels)))
    for seed in range(config.seeds):
        rng = np.random.default_rng([config.seed, seed])
        for column, count in enumerate(config.labels):
            few = choose(rng, new.train, count)
            model = begin(way, source, new, seed)
            _, state = train.init(jax.random.key(seed), model, optimizer)
            for _ in range(config.steps):
                state, _ = step(state, batch(rng, few, config))
            found[seed, column] = accuracy(train.rebuild(structure, state), new.test)
    return found


def make_optimizer(config: Config, way: Way) -> optax.GradientTransformation:
    """Adam for the last layer, for the rest, and none for what is frozen."""

    def part(path: str) -> str:
        if path.startswith("classify"):
            return "last"
        return "frozen" if path.startswith(way.frozen or "\0") else "body"

    def adam(rate: float) -> optax.GradientTransformation:
        return optax.adam(optax.cosine_onecycle_schedule(config.steps, rate))

    return optim.by_path(
        part,
        {
            "last": adam(config.learning_rate),
            "body": adam(config.learning_rate * way.slowly),
            "frozen": optax.set_to_zero(),
        },
    )


def begin(way: Way, source: Cnn, new: Task, seed: int) -> Cnn:
    """The network before the new classes; what is frozen keeps its averages of batch norm."""
    model = network(new.train, 1000 + seed)
    if not way.known:
        return model
    known = nnx.clone(source)
    for number in range(len(model.stages)):
        stage = known.stages[number]
        if not f"stages/{number}".startswith(way.frozen or "\0"):
            stage = nnx.view(stage, use_running_average=False)
        model.stages[number] = stage
    return model


def choose(rng: np.random.Generator, examples: dict, count: int) -> dict[str, np.ndarray]:
    """So many examples of each class."""
    rows = np.concatenate(
        [
            rng.permutation(np.flatnonzero(examples["labels"] == label))[:count]
            for label in range(HALF)
        ]
    )
    return {name: values[rows] for name, values in examples.items()}


def write_report(
    config: Config,
    out: Path,
    old: Task,
    new: Task,
    history: list,
    found: dict[str, np.ndarray],
    numbers: dict[str, float],
) -> None:
    """Writes `report.html`."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    middle = config.labels[len(config.labels) // 2]
    report.page(
        out / "report.html",
        title="Transfer learning",
        summary=f"Five classes learnt from {len(old.train['labels'])} images help with five "
        f"others, of which {' / '.join(map(str, config.labels))} each are labelled.",
        numbers={
            f"accuracy anew, {middle} labels": numbers["anew"],
            f"best gain, {middle} labels": numbers["best_gain"],
            "accuracy on the old classes": numbers["source_accuracy"],
        },
        sections=[
            ways(config, found, figures / "ways.svg"),
            pictures(old, new),
            report.training(
                history, figures, losses=[["loss"], ["accuracy"]], scores=[["test_accuracy"]]
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def ways(config: Config, found: dict[str, np.ndarray], path: Path) -> Section:
    """Accuracy over the number of labels, and the same in numbers."""
    places = np.arange(len(config.labels))
    with plot(path, height=3.4) as (ax,):
        for number, (name, values) in enumerate(found.items()):
            shift = 0.03 * (number - len(found) / 2)
            mean, spread = values.mean(axis=0), values.std(axis=0)
            style = {"color": color(number), "marker": "o", "markersize": 3, "capsize": 2}
            ax.errorbar(places + shift, mean, spread, label=name, **style)
        ax.set_xticks(places, [str(count) for count in config.labels])
        ax.set(xlabel="labels per new class", ylabel="test accuracy", ylim=(0, 1.02))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    rows = [
        (name, *(f"{v.mean():.3f} ± {v.std():.3f}" for v in values.T))
        for name, values in found.items()
    ]
    heads = tuple(f"{count} labels" for count in config.labels)
    return Section(
        "Ways to learn the new classes",
        f"Mean and standard deviation over {config.seeds} seeds, after {config.steps} steps each.",
        figures=[Figure(path, "What starts from the old network needs fewer labels.")],
        table=Table(("what moves", *heads), rows),
    )


def pictures(old: Task, new: Task) -> Section:
    """Some images of both tasks."""
    large = [task.train["image"][:16].repeat(3, axis=1).repeat(3, axis=2) for task in (old, new)]
    grids = [report.grid(images, columns=8) for images in large]
    return Section(
        "Images",
        figures=[Figure(grids[0], "Old classes."), Figure(grids[1], "New classes.")],
    )
