"""Vanishing gradients keep early layers in place. CPU, 1 min; accuracy, sigmoid 0.10, ReLU 0.97.

Perceptrons of 2 to 12 hidden layers with sigmoid or ReLU are trained on digits. The travel of a
layer is the distance of its kernel from where it began, over its norm there. With sigmoids, the
gradient and the travel of the first layer fall with the depth, and then the network does not train;
ReLU was designed against that.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, objectives, report, runtime, train
from lectures_jax.models.mlp import Mlp
from lectures_jax.nn.initializers import he_normal, lecun_normal
from lectures_jax.ops.activation import ACTIVATIONS
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot
from lectures_jax.typing import Key

KINDS = {"sigmoid": lecun_normal, "relu": he_normal}  # each with the weights that suit it
EXPECTED = {
    "sigmoid_first_travel": (None, 1e-4),
    "sigmoid_first_over_last": (None, 0.01),
    "sigmoid_accuracy": (None, 0.3),
    "sigmoid_shallow_accuracy": (0.9, None),
    "relu_first_travel": (0.05, None),
    "relu_first_over_last": (0.7, None),
    "relu_accuracy": (0.9, None),
}
TINY = {"depths": (2,), "rates": (0.1,), "steps": 2, "width": 4, "seeds": 1}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    depths: tuple[int, ...] = (2, 3, 4, 6, 8, 12)
    """hidden layers"""
    width: int = 64
    """units of each"""
    rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0)
    """of gradient descent, of which each network has the one of the least training loss"""
    steps: int = 800
    """of each training"""
    batch_size: int = 64
    """digits per step"""
    seeds: int = 3
    """networks of each kind"""
    seed: int = 0
    """the first of them: of parameters and order"""


class Trained(NamedTuple):
    """What trainings left [seed, ...] at the rate of the least training loss."""

    loss: np.ndarray  # mean over the last tenth of the steps
    accuracy: np.ndarray  # on test digits
    travel: np.ndarray  # of each layer after each step, of its first norm [seed, step, layer]
    gradient: np.ndarray  # its norm for each layer, of its first norm [seed, step, layer]
    rate: float


Runs = dict[tuple[str, int], Trained]  # by activation and depth


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains all, and writes the report."""
    runs = {(kind, n): train_networks(config, kind, n) for kind in KINDS for n in config.depths}
    shallow, deep, numbers = min(config.depths), max(config.depths), {}
    for kind in KINDS:
        x = runs[kind, deep]
        numbers[f"{kind}_first_travel"] = x.travel[:, -1, 0].mean()
        numbers[f"{kind}_first_over_last"] = first_over_last(x).mean()
        numbers[f"{kind}_first_gradient"] = x.gradient[:, :, 0].mean()
        numbers[f"{kind}_accuracy"] = x.accuracy.mean()
        numbers[f"{kind}_shallow_accuracy"] = runs[kind, shallow].accuracy.mean()
    numbers = {name: float(value) for name, value in numbers.items()}
    write_report(config, out, runs, numbers)
    return numbers


def first_over_last(trained: Trained) -> np.ndarray:
    """The travel of the first layer over that of the last hidden one, at the end [seed]."""
    return trained.travel[:, -1, 0] / np.maximum(trained.travel[:, -1, -2], 1e-30)


def train_networks(config: Config, kind: str, depth: int) -> Trained:
    """Trains a network of each seed at each rate, in one program, and keeps the best rate."""
    splits = [data.digits(split=name) for name in ("train", "test")]
    examples, test = jax.tree.map(jnp.asarray, splits)
    sizes = (64, *(config.width,) * depth, 10)
    options = {"activation": ACTIVATIONS[kind].value, "kernel_init": KINDS[kind]}
    seeds = range(config.seed, config.seed + config.seeds)
    models = [Mlp(sizes, **options, rngs=nnx.Rngs(seed)) for seed in seeds]
    structure = nnx.split(models[0])[0]
    states = [nnx.to_pure_dict(nnx.state(model)) for model in models]
    params = jax.tree.map(lambda *x: jnp.stack(x), *states)

    def norms(tree: Any) -> jax.Array:
        layers = train.assemble(structure, tree, {}).layers
        return jnp.stack([jnp.linalg.norm(layer.kernel[...]) for layer in layers])

    def one(rate: jax.Array, first: Any, key: Key) -> tuple[jax.Array, ...]:
        def loss(params: Any, batch: Any) -> Any:
            return objectives.classification(train.assemble(structure, params, {}), batch, key)

        def step(params: Any, key: Key) -> Any:
            rows = jax.random.randint(key, (config.batch_size,), 0, len(examples["labels"]))
            batch = jax.tree.map(lambda x: x[rows], examples)
            (value, _), grads = jax.value_and_grad(loss, has_aux=True)(params, batch)
            params = optax.apply_updates(params, jax.tree.map(lambda g: -rate * g, grads))
            travel = norms(jax.tree.map(jnp.subtract, params, first))
            return params, (value, travel / norms(first), norms(grads) / norms(first))

        keys = jax.random.split(key, config.steps)
        params, rows = jax.lax.scan(step, first, keys)
        return *rows, loss(params, test)[1]["accuracy"]

    keys = jax.random.split(jax.random.key(config.seed), len(models))
    everything = jax.jit(jax.vmap(jax.vmap(one, (None, 0, 0)), (0, None, None)))
    values = everything(jnp.array(config.rates), params, keys)
    losses, travel, gradient, accuracy = map(np.asarray, values)
    last = losses[..., -max(config.steps // 10, 1) :].mean(axis=-1)
    i = int(np.argmin(np.nan_to_num(last.mean(axis=1), nan=np.inf)))
    return Trained(last[i], accuracy[i], travel[i], gradient[i], config.rates[i])


def draw_layers(runs: Runs, path: Path) -> None:
    """Travel at the end and mean gradient over the layers, a column of axes for each activation."""
    depths = sorted({depth for _, depth in runs})
    with plot(path, rows=2, columns=len(KINDS), height=4.8) as axes:
        for (kind, depth), x in runs.items():
            column = list(KINDS).index(kind)
            for ax, values in ((axes[column], x.travel[:, -1]), (axes[column + 2], x.gradient)):
                mean = values.reshape(-1, values.shape[-1]).mean(axis=0)
                style = {"color": color(depths.index(depth)), "marker": "o", "ms": 2}
                ax.semilogy(range(1, len(mean) + 1), mean, label=f"{depth}", **style)
        for ax, kind in zip(axes, (*KINDS, "", ""), strict=True):
            ax.set(ylim=(1e-10, 10), title=kind)
        axes[0].set(ylabel="travel")
        axes[2].set(ylabel="gradient", xlabel="layer, from the input")
        axes[3].legend(loc="lower right", ncols=3, title="hidden layers")


def draw_times(runs: Runs, depth: int, path: Path) -> None:
    """Travel over the steps of the first, the middle and the last hidden layer."""
    with plot(path, height=3.0) as (ax,):
        for number, kind in enumerate(KINDS):
            travel = runs[kind, depth].travel.mean(axis=0)
            for layer, style in ((0, "-"), (depth // 2, "--"), (depth - 1, ":")):
                steps = np.arange(1, len(travel) + 1)
                label = f"{kind}, layer {layer + 1}"
                ax.loglog(steps, travel[:, layer], ls=style, color=color(number), label=label)
        ax.set(xlabel="step", ylabel="travel")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)


def layers_section(config: Config, runs: Runs, figures: Path) -> Section:
    """Travel and gradient of the layers, and what the networks reach."""
    spread, deep = report.mean_and_deviation, max(config.depths)
    draw_layers(runs, figures / "layers.svg")
    draw_times(runs, deep, figures / "steps.svg")
    rows = [
        (
            kind,
            depth,
            f"{x.rate:g}",
            spread(x.loss, digits=3),
            spread(x.accuracy, digits=3),
            float(x.travel[:, -1, 0].mean()),
            float(x.travel[:, -1, -2].mean()),
        )
        for (kind, depth), x in runs.items()
    ]
    header = ("activation", "hidden layers", "rate", "training loss", "test accuracy")
    return Section(
        "Layers",
        "Travel is the distance of a layer's kernel from where it began, and its gradient "
        "the mean norm over the steps, both over the norm of the kernel before training. "
        f"Gradient descent takes {config.steps} steps at the rate of the least training "
        "loss; sigmoids begin with LeCun's weights, ReLUs with He's. From layer to layer "
        "toward the input the gradient through sigmoids falls to about a fourth, and the "
        "travel with it. Networks of sigmoids train while their first layers travel; "
        "with six hidden layers and more these stay in place, and the network does not "
        "train at any of the rates. In the table, 'last hidden' is the travel of the last "
        "layer with an activation.",
        figures=[
            Figure(figures / "layers.svg", "At the end: travel above, gradient below."),
            Figure(figures / "steps.svg", f"Over the training, {deep} hidden layers."),
        ],
        table=Table((*header, "first travel", "last hidden"), rows),
    )


def write_report(config: Config, out: Path, runs: Runs, numbers: dict[str, float]) -> None:
    """Writes `report.html`."""
    figures, deep = out / "figures", max(config.depths)
    figures.mkdir(parents=True, exist_ok=True)
    report.page(
        out / "report.html",
        title="How far layers travel",
        summary=f"With {deep} hidden layers the first layer of a network of sigmoids travels "
        f"{numbers['sigmoid_first_travel']:.1g} of its norm, that of a network of ReLUs "
        f"{numbers['relu_first_travel']:.2f}.",
        numbers={
            "accuracy, sigmoid": numbers["sigmoid_accuracy"],
            "accuracy, ReLU": numbers["relu_accuracy"],
            "first over last travel, sigmoid": numbers["sigmoid_first_over_last"],
            "first over last travel, ReLU": numbers["relu_first_over_last"],
        },
        sections=[
            layers_section(config, runs, figures),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
