"""What a network learnt from some classes helps with others. CPU, 2 min; 10 labels: 0.92 to 0.97.

A convolutional network learns half of the classes with all their labels. The other half has few
labels: is it better to start anew, to train only a new last layer, or to fine-tune all layers, the
old ones at a lower rate? Measured on test pictures, for three sets of labels.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, metrics, objectives, optim, report, train
from lectures_jax.models.cnn import Cnn
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot

TINY = {"pretraining": 2, "steps": 2, "seeds": 1, "labels": (2,), "channels": ((4,), (4,))}

Examples = dict[str, np.ndarray]


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Literal["digits", "idx"] = "digits"
    """the built-in digits, or four files in MNIST's format"""
    root: Path | None = None
    """folder of {train,t10k}-{images-idx3,labels-idx1}-ubyte.gz"""
    channels: tuple[tuple[int, ...], ...] = ((16,), (32, 32))
    """of the convolutions of each stage"""
    labels: tuple[int, ...] = (3, 10, 50)
    """labels per class of the new task"""
    pretraining: int = 600
    """steps on the old task"""
    steps: int = 200
    """steps on the new task"""
    batch_size: int = 32
    """pictures per step"""
    learning_rate: float = 3e-3
    """of Adam, falling along a cosine"""
    slower: float = 0.1
    """share of that rate which fine-tuning gives to the old layers"""
    seeds: int = 3
    """sets of labels, each with its own start and order"""
    seed: int = 0
    """the first of them"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Learns the old task once and the new one in each way, and compares."""
    old, new, test = read(config)
    key = jax.random.key(config.seed)
    rates = {"all": optim.adam(falling(config.learning_rate, config.pretraining))}
    teacher = network(key, config, classes=old["labels"].max() + 1, like=old)
    teacher = learner(teacher, rates, lambda path: "all")(
        key, teacher, old, config.pretraining, config.batch_size
    )
    scores: dict[str, dict[int, list[float]]] = {}
    for name, start, choose in methods():
        adapt: Callable | None = None
        for count in config.labels:
            for seed in range(config.seeds):
                key = jax.random.key(config.seed + seed)
                key_model, key_labels, key_order = jax.random.split(key, 3)
                model = network(key_model, config, classes=new["labels"].max() + 1, like=new)
                model = start(model, teacher)
                adapt = adapt or learner(model, rates_for(config), choose)
                few = pick(key_labels, new, count)
                model = adapt(key_order, model, few, config.steps, config.batch_size)
                scores.setdefault(name, {}).setdefault(count, []).append(accuracy(model, test))
    numbers = {
        f"{name.split()[0]}_{count}": float(np.mean(values))
        for name, by_count in scores.items()
        for count, values in by_count.items()
    }
    write_report(config, out, numbers, scores)
    if config == Config() and numbers["fine-tuning_3"] < numbers["scratch_3"] + 0.02:
        raise RuntimeError(f"expected that fine-tuning gains with few labels, got {numbers}.")
    return numbers


def methods() -> list[tuple[str, Callable, Callable]]:
    """Name, how the network starts, and which rate each parameter gets."""

    def anew(model: Cnn, teacher: Cnn) -> Cnn:
        return model

    def carried(model: Cnn, teacher: Cnn) -> Cnn:
        model.stages = nnx.clone(teacher.stages)
        return model

    def frozen(model: Cnn, teacher: Cnn) -> Cnn:
        # Frozen batch norm must not go on averaging, nor use the batch's moments.
        model.stages = nnx.view(nnx.clone(teacher.stages), use_running_average=True)
        return model

    def is_head(path: str) -> bool:
        return path.startswith("classify")

    return [
        ("scratch", anew, lambda path: "fast"),
        ("last layer only", frozen, lambda path: "fast" if is_head(path) else "frozen"),
        ("fine-tuning", carried, lambda path: "fast" if is_head(path) else "slow"),
    ]


def rates_for(config: Config) -> dict[str, optax.GradientTransformation]:
    """The optimizers of the new task."""
    rate = config.learning_rate
    return {
        "fast": optim.adam(falling(rate, config.steps)),
        "slow": optim.adam(falling(config.slower * rate, config.steps)),
        "frozen": optax.set_to_zero(),
    }


def falling(rate: float, steps: int) -> optax.Schedule:
    """From the rate to zero along a cosine."""
    return optax.cosine_decay_schedule(rate, steps)


def read(config: Config) -> tuple[Examples, Examples, Examples]:
    """The first half of the classes, and the second half to learn and to be measured on."""
    if config.data == "digits":
        learnt, test = data.digits(split="train"), data.digits(split="test")
    else:
        if config.root is None:
            raise ValueError("--root must name a folder for --data idx, got none.")
        learnt, test = (
            data.stack(
                data.read_idx(
                    config.root / f"{name}-images-idx3-ubyte.gz",
                    config.root / f"{name}-labels-idx1-ubyte.gz",
                )
            )
            for name in ("train", "t10k")
        )
    half = (learnt["labels"].max() + 1) // 2

    def part(examples: Examples, chosen: np.ndarray, shift: int) -> Examples:
        return {
            "image": examples["image"][chosen],
            "labels": examples["labels"][chosen].astype(np.int32) - shift,
        }

    return (
        part(learnt, learnt["labels"] < half, 0),
        part(learnt, learnt["labels"] >= half, half),
        part(test, test["labels"] >= half, half),
    )


def network(key: jax.Array, config: Config, *, classes: int, like: Examples) -> Cnn:
    """A network with random parameters."""
    inputs = like["image"].shape[-1]
    return Cnn(int(classes), channels=config.channels, inputs=inputs, rngs=nnx.Rngs(key))


def pick(key: jax.Array, examples: Examples, count: int) -> Examples:
    """So many examples of each class, or all there are."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    rows = [
        rng.permutation(np.flatnonzero(examples["labels"] == label))[:count]
        for label in np.unique(examples["labels"])
    ]
    return {name: value[np.concatenate(rows)] for name, value in examples.items()}


def learner(
    model: Cnn, transforms: dict[str, optax.GradientTransformation], choose: Callable[[str], str]
) -> Callable[..., Cnn]:
    """A training loop for networks like this one, whose step is compiled once."""
    optimizer = optim.by_path(choose, transforms)
    structure, _ = train.init(jax.random.key(0), model, optimizer)
    step = train.make_step(structure, objectives.classification, optimizer)

    def learn(key: jax.Array, model: Cnn, examples: Examples, steps: int, size: int) -> Cnn:
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        _, state = train.init(key, model, optimizer)
        for _ in range(steps):
            rows = rng.integers(0, len(examples["labels"]), size)
            state, _ = step(state, {name: value[rows] for name, value in examples.items()})
        return train.rebuild(structure, state)

    return learn


@nnx.jit
def logits(model: Cnn, images: jax.Array) -> jax.Array:
    return model(images)


def accuracy(model: Cnn, examples: Examples) -> float:
    """The share of right answers."""
    size = 500
    parts = [
        logits(model, examples["image"][i : i + size])
        for i in range(0, len(examples["labels"]), size)
    ]
    return float(metrics.accuracy(jnp.concatenate(parts), jnp.asarray(examples["labels"])))


def write_report(config: Config, out: Path, numbers: dict[str, float], scores: dict) -> None:
    """Draws accuracy over labels for each method, and writes the page."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    rows: list[tuple[Any, ...]] = []
    with plot(figures / "transfer.svg", height=3.2) as (ax,):
        for i, (name, by_count) in enumerate(scores.items()):
            counts = np.array(list(by_count))
            values = np.array([by_count[count] for count in counts])
            spread = values.std(axis=1, ddof=min(1, config.seeds - 1))
            ax.errorbar(
                counts * 1.04**i, values.mean(axis=1), spread, color=color(i), label=name, capsize=3
            )
            ax.plot(np.repeat(counts * 1.04**i, config.seeds), values.ravel(), ".", color=color(i))
            shown = [
                f"{100 * v.mean():.1f} ± {100 * s:.1f}" for v, s in zip(values, spread, strict=True)
            ]
            rows.append((name, *shown))
        ax.set(xscale="log", xlabel="labels per class", ylabel="test accuracy")
        ax.set_xticks(config.labels, map(str, config.labels), minor=False)
        ax.minorticks_off()
        ax.legend(loc="lower right")
    header = ("method", *(f"{count} labels, %" for count in config.labels))
    report.page(
        out / "report.html",
        title="Transfer learning",
        summary="A network that learnt half of the classes meets the other half with few labels.",
        numbers=numbers,
        sections=[
            Section(
                "Accuracy",
                f"Means and standard deviations over {config.seeds} sets of labels.",
                figures=[Figure(figures / "transfer.svg", "Dots are single runs.")],
                table=Table(header, rows),
            ),
            report.configuration(asdict(config)),
        ],
        footer=train.environment(),
    )
