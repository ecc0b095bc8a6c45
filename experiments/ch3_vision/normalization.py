"""Normalized layers train at larger rates. CPU, 2 min; largest rate 3.2, without 0.15.

A perceptron of eight hidden layers on digits, plain, and normalized over the batch, the layer, or
groups of units: the rates at which it trains, how fast, from which first weights; how the input of
a layer changes over the training; and batch normalization by the statistics of other batches.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, objectives, ops, report, runtime, train
from lectures_jax.nn.initializers import he_normal
from lectures_jax.nn.normalization import BatchNorm
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import MUTED, color, plot
from lectures_jax.typing import Batch, Key

KINDS = ("none", "batch", "layer", "group")
WIDTH, GROUPS = 64, 8  # units of a hidden layer, and their groups
RATE, SCALES = 10**-1.25, (0.5, 2.0)  # of comparisons at one rate; factors of all first weights
TARGET = 0.9  # validation accuracy to which the steps are counted
SAME_CLASS = 32  # images of one class that are normalized together
EXPECTED = {
    "none_rate": (0.05, 0.29),
    "batch_rate": (1.5, None),
    "layer_rate": (0.3, 1.2),
    "steps_ratio": (2.5, None),
    "scaled_accuracy_gap": (0.6, None),
    "change_ratio": (8, None),
    "running_accuracy": (0.94, None),
    "one_class_accuracy": (None, 0.3),
}
TINY = {"depth": 2, "steps": 2, "every": 1, "rates": (0.1,), "sizes": (4,), "seeds": 1}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    depth: int = 8
    """hidden layers"""
    rates: tuple[float, ...] = tuple(10 ** (k / 4) for k in range(-7, 4))
    """learning rates of gradient descent, constant, that are tried"""
    steps: int = 300
    """of each training"""
    every: int = 10
    """steps from one measurement on validation digits to the next"""
    batch_size: int = 64
    """digits per step"""
    sizes: tuple[int, ...] = (4, 16, 64)
    """digits per step of further trainings, whose statistics are compared"""
    seeds: int = 3
    """networks of each kind"""
    seed: int = 0
    """the first of them: of parameters and order"""


class Network(nnx.Module):
    """Dense layers, each with its normalization and ReLU, and a last one without either."""

    def __init__(self, kind: str, depth: int, *, rngs: nnx.Rngs):
        widths = (64, *(WIDTH,) * depth)
        self.layers = nnx.List(
            nnx.Linear(a, b, kernel_init=he_normal, rngs=rngs) for a, b in pairwise(widths)
        )
        # All kinds have a scale and a bias for each unit, and those of this layer will do.
        self.norms = nnx.List(BatchNorm(n, momentum=0.9, rngs=rngs) for n in widths[1:])
        self.classify = nnx.Linear(WIDTH, 10, kernel_init=he_normal, rngs=rngs)
        self.kind = kind

    def normalize(self, norm: BatchNorm, x: jax.Array) -> jax.Array:
        """The sums of a layer, normalized."""
        scale, bias = norm.scale[...], norm.bias[...]
        if self.kind == "layer":
            return ops.layer_norm(x, scale, bias)
        if self.kind == "group":  # a unit is a channel of a map of one cell
            return ops.group_norm(x[:, None, None], scale, bias, groups=GROUPS)[:, 0, 0]
        return norm(x) if self.kind == "batch" else x

    def hidden(self, images: jax.Array) -> list[jax.Array]:
        """The outputs of the hidden layers, each the input of the layer after it."""
        x, outputs = images.reshape(len(images), -1), []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = jax.nn.relu(self.normalize(norm, layer(x)))
            outputs.append(x)
        return outputs

    def __call__(self, images: jax.Array, *, key: Key | None = None) -> jax.Array:
        """Scores of the classes."""
        return self.classify(self.hidden(images)[-1])


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains all, and writes the report."""
    settings = [*((rate, 1.0) for rate in config.rates), *((RATE, x) for x in (1.0, *SCALES))]
    tried = partial(train_networks, np.array(settings), size=config.batch_size, config=config)
    trained = {kind: jax.device_get(tried(kind=kind)) for kind in KINDS}
    scores = {kind: measure(config, kind, x) for kind, x in trained.items()}
    sized = partial(train_networks, np.array([(RATE, 1.0)]), kind="batch", config=config)
    sizes = {n: batch_accuracies(config, sized(size=n)["weights"]) for n in config.sizes}
    (out / "figures").mkdir(parents=True, exist_ok=True)
    draw_rates(config, trained, out / "figures" / "rates.svg")
    draw_inputs(config, trained, out / "figures" / "inputs.svg")
    write_report(config, out, scores, sizes)
    none, batch, last = scores["none"], scores["batch"], sizes[config.sizes[-1]]
    gaps = [batch[f"weights × {s:g}"] - none[f"weights × {s:g}"] for s in SCALES]
    numbers = {
        **{f"{kind}_rate": x["largest rate"].mean() for kind, x in scores.items()},
        "steps_ratio": none["steps"].mean() / batch["steps"].mean(),
        "scaled_accuracy_gap": np.mean(gaps),
        "change_ratio": none["change"].mean() / batch["change"].mean(),
        "running_accuracy": last["running averages"].mean(),
        "one_class_accuracy": last["one class"].mean(),
    }
    return {name: float(value) for name, value in numbers.items()}


@partial(jax.jit, static_argnames=("kind", "size", "config"))
def train_networks(settings: jax.Array, *, kind: str, size: int, config: Config) -> dict[str, Any]:
    """Trains a network for each setting, a rate and a factor of the first weights, and seed.

    Returns arrays [setting, seed, ...]: the training's `loss` and the validation's `accuracy` by
    round, `mean` and `deviation` of hidden units before it [round, layer, unit], and `weights`.
    """
    sets = (data.digits(split=name) for name in ("train", "validation"))
    examples, validation = (jax.tree.map(jnp.asarray, x) for x in sets)

    def one(setting: jax.Array, seed: jax.Array) -> dict[str, Any]:
        key_init, key_train, key_batch = jax.random.split(jax.random.key(seed), 3)
        model = Network(kind, config.depth, rngs=nnx.Rngs(key_init))
        for layer in (*model.layers, model.classify):
            layer.kernel[...] = setting[1] * layer.kernel[...]
        optimizer = optax.sgd(setting[0])
        structure, state = train.init(key_train, model, optimizer)
        step = train.make_step(structure, objectives.classification, optimizer)

        def one_step(state: Any, key: Key) -> Any:
            rows = jax.random.randint(key, (size,), 0, len(examples["labels"]))
            return step(state, jax.tree.map(lambda x: x[rows], examples))

        def one_round(state: Any, key: Key) -> Any:
            model = train.assemble(structure, state.params, state.buffers)
            outputs = jnp.stack(model.hidden(validation["image"]))
            state, metrics = jax.lax.scan(one_step, state, jax.random.split(key, config.every))
            model = train.rebuild(structure, state)
            _, scores = objectives.classification(model, validation, key)
            moments = {"mean": jnp.mean(outputs, axis=1), "deviation": jnp.std(outputs, axis=1)}
            return state, scores | moments | {"loss": metrics["loss"].mean()}

        keys = jax.random.split(key_batch, config.steps // config.every)
        state, rows = jax.lax.scan(one_round, state, keys)
        return {**rows, "weights": (state.params, state.buffers)}

    seeds = config.seed + jnp.arange(config.seeds)
    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(settings, seeds)


def accuracy(
    config: Config, kind: str, weights: Any, examples: Batch, *, size: int | None = None
) -> np.ndarray:
    """Accuracy [setting, seed] by running averages, or by the statistics of batches of a size."""
    structure = nnx.graphdef(Network(kind, config.depth, rngs=nnx.Rngs(0)))
    count = len(examples["labels"]) if size is None else size
    batches = {name: x.reshape(-1, count, *x.shape[1:]) for name, x in examples.items()}

    def of_batch(weights: Any, batch: Batch) -> jax.Array:
        model = train.assemble(structure, *weights)
        model = nnx.view(model, use_running_average=size is None)
        return jnp.mean(jnp.argmax(model(batch["image"]), axis=-1) == batch["labels"])

    of_seeds = jax.vmap(jax.vmap(of_batch, (None, 0)), (0, None))
    return np.asarray(jax.jit(jax.vmap(of_seeds, (0, None)))(weights, batches)).mean(axis=-1)


def batch_accuracies(config: Config, weights: Any) -> dict[str, np.ndarray]:
    """Test accuracies [seed] of batch normalization by the statistics of several batches."""
    test = data.digits(split="test")
    rows = np.concatenate([np.flatnonzero(test["labels"] == k)[:SAME_CLASS] for k in range(10)])
    mixed = np.random.default_rng(config.seed).permutation(rows)
    by_class, mixed = ({name: x[i] for name, x in test.items()} for i in (rows, mixed))
    of_batch = partial(accuracy, config, "batch", weights)
    return {
        "running averages": of_batch(mixed)[0],
        **{f"{n} images": of_batch(mixed, size=n)[0] for n in (64, 16, 4, 2)},
        "one class": of_batch(by_class, size=SAME_CLASS)[0],
    }


def measure(config: Config, kind: str, trained: dict[str, Any]) -> dict[str, np.ndarray]:
    """What is compared, by name [seed]."""
    count = len(config.rates)
    tested = accuracy(config, kind, trained["weights"], data.digits(split="test"))
    reached = trained["accuracy"][:count] >= TARGET
    reached[..., -1] = True  # so many steps at the least
    steps = config.every * (1 + np.argmax(reached, axis=-1))
    best = np.argmin(steps.mean(axis=1))
    return {
        "largest rate": largest_rates(np.array(config.rates), trained["loss"][:count, :, -1]),
        "steps": steps[best],
        "test accuracy": tested[best],
        **{f"weights × {s:g}": x for s, x in zip(SCALES, tested[count + 1 :], strict=True)},
        "change": change(trained["mean"][count], trained["deviation"][count])[:, -1, -1],
    }


def largest_rates(rates: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """The largest rate [seed] whose loss [rate, seed] is below half of chance's; or the least."""
    trains = loss < np.log(10) / 2  # NaN is not
    return np.max(np.where(trains, rates[:, None], rates.min()), axis=0)


def change(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """2-Wasserstein distance [seed, round, layer] of units from their first normal distribution."""
    squares = (mean - mean[:, :1]) ** 2 + (deviation - deviation[:, :1]) ** 2
    return np.sqrt(squares.mean(axis=-1) / np.mean(deviation[:, :1] ** 2, axis=-1))


def draw_rates(config: Config, trained: dict[str, Any], path: Path) -> None:
    """Training loss at the end over the rate, a line for each kind and a dot for each seed."""
    with plot(path, height=3.0) as (ax,):
        ax.axhline(np.log(10), color=MUTED, lw=0.8, ls=":")
        for number, (kind, x) in enumerate(trained.items()):
            loss = np.fmin(x["loss"][: len(config.rates), :, -1], 9)  # also instead of NaN
            ax.plot(config.rates, loss, "o", color=color(number), ms=2.5)
            ax.plot(config.rates, np.median(loss, axis=1), color=color(number), label=kind)
        ax.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="training loss, nats")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4)


def draw_inputs(config: Config, trained: dict[str, Any], path: Path) -> None:
    """Mean and deviation of units of the last hidden layer over the steps, for the first seed."""
    with plot(path, rows=len(KINDS), height=5.0) as axes:
        for ax, (kind, x) in zip(axes, trained.items(), strict=True):
            rows = len(config.rates), 0
            mean, deviation = (x[name][*rows, :, -1, :4] for name in ("mean", "deviation"))
            steps = config.every * np.arange(len(mean))
            for i, (m, s) in enumerate(zip(mean.T, deviation.T, strict=True), len(KINDS)):
                ax.plot(steps, m, color=color(i))
                ax.fill_between(steps, m - s, m + s, color=color(i), alpha=0.15, lw=0)
            ax.set(ylabel=f"input, {kind}")
        axes[-1].set(xlabel="step")


def table(first: str, scores: Mapping[Any, dict[str, np.ndarray]]) -> Table:
    """A row for each name, a column for each score: mean and deviation over the seeds."""
    digits, spread = {"largest rate": 2, "steps": 0, "change": 2}, report.mean_and_deviation
    cells = ([spread(v, digits=digits.get(k, 3)) for k, v in x.items()] for x in scores.values())
    return Table(
        (first, *next(iter(scores.values()))),
        [(name, *row) for name, row in zip(scores, cells, strict=True)],
    )


def write_report(config: Config, out: Path, scores: Any, sizes: Any) -> None:
    """Writes `report.html`."""
    rates, inputs = (out / "figures" / name for name in ("rates.svg", "inputs.svg"))
    report.page(
        out / "report.html",
        title="Normalization",
        summary=f"A perceptron of {config.depth} hidden layers on digits, without normalization "
        f"and with it over the batch, the layer, or groups of units; seeds: {config.seeds}.",
        numbers={f"largest rate, {kind}": x["largest rate"].mean() for kind, x in scores.items()},
        sections=[
            Section(
                "Rates and first weights",
                "The largest rate is the largest at which a training ends below half of chance's "
                f"loss; steps are those to a validation accuracy of {TARGET} at the rate with the "
                f"fewest. Then all first weights are multiplied, at a rate of {RATE:.3f}: what "
                "normalized layers compute at first is the same as before.",
                [Figure(rates, "At the end of the training; 9 is 9 or more, dotted is chance.")],
                table("normalization", scores),
            ),
            Section(
                "The input of a layer",
                f"What the last layer sees, at a rate of {RATE:.3f}. 'Change' in the table above "
                "is how far its distribution has gone from the first, in deviations. Batch "
                "normalization keeps it, unit by unit; that over a layer or groups does not.",
                [Figure(inputs, "Four units: mean and deviation over validation digits.")],
            ),
            Section(
                "Statistics in training and in use",
                "Test accuracy of batch normalization by running averages, and by the statistics "
                "of so many test digits. A row is a training with so many digits a step. In a "
                f"batch of {SAME_CLASS} digits of one class, what tells the class is subtracted.",
                table=table("digits per step", sizes),
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
