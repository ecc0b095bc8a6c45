"""Residual connections train deep networks. CPU, 1 min; at 44 layers, accuracy over plain 0.29.

Networks of 8, 20 and 44 dense layers are trained on digits: plain, with the input of each two
layers added to their output, or concatenated with it. The report shows loss and accuracy, the
gradient that reaches each layer, and how near a block, and a stack of them, comes to the identity
with the connection and without.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, losses, objectives, report, runtime, train
from lectures_jax.nn.initializers import he_normal, lecun_normal
from lectures_jax.nn.residual import ResidualConcat, ResidualSum
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot
from lectures_jax.typing import Key, Metrics

JOINS = {"plain": lambda f: f, "sum": ResidualSum, "concatenation": ResidualConcat}
INITS = {"He": he_normal, "LeCun": lecun_normal}
WIDTH, STACK = 32, 8  # units of a layer; blocks of the stack that becomes the identity
EXPECTED = {
    "shallow_gap": (-0.05, 0.05),
    "accuracy_gap": (0.15, None),
    "loss_ratio": (5, None),
    "concatenation_accuracy": (0.93, None),
    "plain_gradient": (None, 1e-4),
    "sum_gradient": (1, None),
    "identity_ratio": (5, None),
}
TINY = {"depths": (4,), "rates": (1e-3,), "steps": 2, "seeds": 1}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    depths: tuple[int, ...] = (8, 20, 44)
    """layers, even: the first, two in each block, and the last"""
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    """of Adam, of which each kind of network has the one of the least training loss"""
    steps: int = 400
    """of each training"""
    batch_size: int = 64
    """examples per step"""
    seeds: int = 3
    """networks of each kind"""
    seed: int = 0
    """the first of them: of parameters and order"""


class Branch(nnx.Module):
    """`F`, two dense layers, each after a ReLU."""

    def __init__(self, inputs: int, outputs: int, init: nnx.Initializer, *, rngs: nnx.Rngs):
        self.first = nnx.Linear(inputs, WIDTH, kernel_init=init, rngs=rngs)
        self.second = nnx.Linear(WIDTH, outputs, kernel_init=init, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(jax.nn.relu(self.first(jax.nn.relu(x))))


class Network(nnx.Module):
    """A dense layer, blocks, and a dense layer for ten classes."""

    def __init__(self, kind: str, blocks: int, init: nnx.Initializer, *, rngs: nnx.Rngs):
        # With so many outputs of each block, concatenation has about the parameters of the others.
        grows = kind == "concatenation"
        outputs = round(2 * WIDTH / (blocks + 1)) if grows else WIDTH
        widths = [WIDTH + grows * n * outputs for n in range(blocks + 1)]
        self.first = nnx.Linear(64, WIDTH, kernel_init=init, rngs=rngs)
        self.branches = nnx.List(Branch(n, outputs, init, rngs=rngs) for n in widths[:-1])
        self.last = nnx.Linear(widths[-1], 10, kernel_init=init, rngs=rngs)
        self.kind = kind

    def body(self, x: jax.Array) -> jax.Array:
        """The blocks alone."""
        for branch in self.branches:
            x = JOINS[self.kind](branch)(x)
        return x

    def __call__(self, images: jax.Array, *, key: Key | None = None) -> jax.Array:
        """Scores of the classes."""
        return self.last(jax.nn.relu(self.body(self.first(images.reshape(len(images), -1)))))

    def layers(self) -> list[nnx.Linear]:
        """The dense layers, the first of the network first."""
        inner = [layer for branch in self.branches for layer in (branch.first, branch.second)]
        return [self.first, *inner, self.last]


class Trained(NamedTuple):
    """What trainings left [seed, ...] at the rate of the least training loss."""

    loss: np.ndarray  # mean over the last tenth of the steps
    score: np.ndarray  # of the network at the end
    gradient: np.ndarray  # its norm for each layer's kernel [seed, step, layer]
    parameters: int  # of one network


Runs = dict[tuple[str, str], Trained]  # by kind and initialization
Identities = dict[tuple[int, str], Trained]  # by the number of blocks, and kind


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains all, and writes the report."""
    settings = [(kind, init) for kind in JOINS for init in INITS]
    digits = {n: {s: train_digits(config, *s, n) for s in settings} for n in config.depths}
    kinds = ("plain", "sum")  # the identity keeps the shape
    identities = {(n, k): train_identity(config, k, n) for n in (1, STACK) for k in kinds}
    shallow, deep = ({k: best(digits[f(digits)], k) for k in JOINS} for f in (min, max))
    gradients = {kind: digits[max(digits)][kind, "LeCun"].gradient[:, 0, 0] for kind in kinds}
    errors = {kind: identities[STACK, kind].score for kind in kinds}
    numbers = {
        "shallow_gap": np.mean(shallow["sum"].score - shallow["plain"].score),
        "accuracy_gap": np.mean(deep["sum"].score - deep["plain"].score),
        "loss_ratio": np.mean(deep["plain"].loss) / np.mean(deep["sum"].loss),
        "concatenation_accuracy": np.mean(deep["concatenation"].score),
        "plain_gradient": np.mean(gradients["plain"]),
        "sum_gradient": np.mean(gradients["sum"]),
        "identity_ratio": np.mean(errors["plain"]) / np.mean(errors["sum"]),
    }
    numbers = {name: float(value) for name, value in numbers.items()}
    write_report(config, out, digits, identities, numbers)
    return numbers


def best(runs: Runs, kind: str) -> Trained:
    """The trainings of a kind from the initialization of the least training loss."""
    return min((runs[kind, init] for init in INITS), key=lambda x: float(np.mean(x.loss)))


def train_digits(config: Config, kind: str, init: str, depth: int) -> Trained:
    """Networks of each seed that are trained to classify digits; the score is test accuracy."""
    splits = [data.digits(split=name) for name in ("train", "test")]
    examples, test = jax.tree.map(jnp.asarray, splits)

    def objective(model: Network, key: Key) -> tuple[jax.Array, Metrics]:
        rows = jax.random.randint(key, (config.batch_size,), 0, len(examples["labels"]))
        batch = jax.tree.map(lambda x: x[rows], examples)
        return objectives.classification(model, batch, key)

    def score(model: Network, key: Key) -> jax.Array:
        return objectives.classification(model, test, key)[1]["accuracy"]

    return fit(config, (kind, (depth - 2) // 2, INITS[init]), objective, score)


def train_identity(config: Config, kind: str, blocks: int) -> Trained:
    """Blocks that are trained to give what they are given; the score is the relative error.

    The sizes of normal numbers are positive, so that a ReLU leaves them as they are.
    """

    def error(model: Network, key: Key) -> jax.Array:
        x = jnp.abs(jax.random.normal(key, (config.batch_size, WIDTH)))
        return jnp.mean(losses.squared_error(model.body(x), x)) / jnp.mean(jnp.sum(x**2, axis=-1))

    return fit(config, (kind, blocks, lecun_normal), lambda *x: (error(*x), {}), error)


def fit(
    config: Config,
    network: tuple[str, int, nnx.Initializer],
    objective: Callable[[Network, Key], tuple[jax.Array, Metrics]],
    score: Callable[[Network, Key], jax.Array],
) -> Trained:
    """Trains a network of each seed at each rate, in one program, and keeps the best rate."""
    seeds = range(config.seed, config.seed + config.seeds)
    networks = [Network(*network, rngs=nnx.Rngs(seed)) for seed in seeds]
    structure = nnx.split(networks[0])[0]
    states = [nnx.to_pure_dict(nnx.state(network)) for network in networks]
    params = jax.tree.map(lambda *x: jnp.stack(x), *states)

    def one(rate: jax.Array, params: Any, key: Key) -> tuple[jax.Array, ...]:
        optimizer = optax.flatten(optax.adam(rate))
        key_steps, key_score = jax.random.split(key)

        def loss(params: Any, key: Key) -> tuple[jax.Array, Metrics]:
            return objective(train.assemble(structure, params, {}), key)

        def step(state: Any, key: Key) -> Any:
            params, moments = state
            (value, _), grads = jax.value_and_grad(loss, has_aux=True)(params, key)
            updates, moments = optimizer.update(grads, moments, params)
            layers = train.assemble(structure, grads, {}).layers()
            norms = jnp.stack([jnp.linalg.norm(layer.kernel[...]) for layer in layers])
            return (optax.apply_updates(params, updates), moments), (value, norms)

        start, keys = (params, optimizer.init(params)), jax.random.split(key_steps, config.steps)
        (params, _), (values, norms) = jax.lax.scan(step, start, keys)
        return values, score(train.assemble(structure, params, {}), key_score), norms

    keys = jax.random.split(jax.random.key(config.seed), len(networks))
    everything = jax.jit(jax.vmap(jax.vmap(one, (None, 0, 0)), (0, None, None)))
    values, scores, norms = map(np.asarray, everything(jnp.array(config.rates), params, keys))
    last = values[..., -max(config.steps // 10, 1) :].mean(axis=-1)
    chosen = np.argmin(np.nan_to_num(last.mean(axis=1), nan=np.inf))
    count = sum(x[0].size for x in jax.tree.leaves(params))
    return Trained(last[chosen], scores[chosen], norms[chosen], count)


def draw_blocks(path: Path) -> None:
    """Figure 3.3: the block with its sum, and with concatenation."""
    box = {"boxstyle": "round,pad=0.5", "fc": "none", "ec": color(0), "lw": 1.2}
    arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1.0, "shrinkA": 0, "shrinkB": 0}
    with plot(path, columns=2, height=2.9) as axes:
        for ax, sign, result in zip(axes, ("+", "‖"), ("x + F(x)", "[x, F(x)]"), strict=True):
            ax.set(xlim=(-1.6, 2.6), ylim=(-0.4, 5.6))
            ax.axis("off")
            for top, bottom in ((5.1, 4.05), (3.35, 2.85), (2.15, 1.43), (0.97, 0.15)):
                ax.annotate("", (0, bottom), (0, top), arrowprops=arrow)
            ax.plot([0, 1.6, 1.6], [4.7, 4.7, 1.2], color=color(1))
            ax.annotate("", (0.26, 1.2), (1.6, 1.2), arrowprops=arrow | {"color": color(1)})
            ax.plot(0, 1.2, "o", ms=13, mfc="none", mec=INK, mew=1.0)
            names = ((0, 5.3, "x"), (1.85, 3.1, "x"), (-0.5, 1.75, "F(x)"), (0, 1.18, sign))
            for x, y, text in (*names, (0, -0.1, result)):
                ax.text(x, y, text, ha="center", va="center")
            for y in (3.7, 2.5):
                ax.text(0, y, "ReLU, layer", ha="center", va="center", bbox=box)


def draw_gradients(runs: Runs, path: Path) -> None:
    """Norm of the gradient of each layer's kernel, at the first step and in the mean of all."""
    with plot(path, rows=2, height=4.6) as (first, mean):
        for (kind, init), trained in runs.items():
            style = {"color": color(list(JOINS).index(kind)), "ls": "-" if init == "He" else "--"}
            for ax, norms in ((first, trained.gradient[:, 0]), (mean, trained.gradient.mean(1))):
                middle = np.exp(np.mean(np.log(np.maximum(norms, 1e-12)), axis=0))
                ax.semilogy(np.arange(1, len(middle) + 1), middle, label=f"{kind}, {init}", **style)
        first.set(ylabel="at the first step")
        first.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        mean.set(ylabel="mean of all steps", xlabel="layer, from the input")


def depth_section(config: Config, digits: dict[int, Runs], path: Path) -> Section:
    """Loss, accuracy and gradient of all trainings on digits."""
    spread, rows = report.mean_and_deviation, []
    draw_gradients(digits[max(digits)], path)
    for depth, runs in digits.items():
        for (kind, init), x in runs.items():
            scores = spread(x.loss, digits=3), spread(x.score, digits=3)
            rows.append((depth, kind, init, x.parameters, *scores, x.gradient[:, 0, 0].mean()))
    header = ("layers", "kind", "initialization", "parameters", "training loss", "test accuracy")
    return Section(
        "Depth",
        f"Dense layers of {WIDTH} units, without normalization, {config.steps} steps of Adam at "
        "the rate of the least training loss. The last column is the norm of the gradient of the "
        "first layer's kernel at the first step. With LeCun's initialization each ReLU halves the "
        "mean square: a deep plain network has hardly a gradient, and most do not train. He's "
        "keeps the gradient, and a deep plain network trains in part. The sum doubles the "
        "variance with each block by He's, so that it needs the smaller weights; the "
        "concatenation trains with either.",
        figures=[Figure(path, "Norm of the gradient by layer in the deepest networks.")],
        table=Table((*header, "first gradient"), rows),
    )


def write_report(
    config: Config, out: Path, digits: dict[int, Runs], identities: Identities, numbers: dict
) -> None:
    """Writes `report.html`."""
    figures, gap, spread = out / "figures", numbers["accuracy_gap"], report.mean_and_deviation
    figures.mkdir(parents=True, exist_ok=True)
    draw_blocks(figures / "blocks.svg")
    block = Figure(figures / "blocks.svg", "Left the sum, right the concatenation.")
    rows = [(*name, spread(x.score, digits=5)) for name, x in identities.items()]
    logs = {f"{n} {k}": np.log10(np.maximum(x.score, 1e-12)) for (n, k), x in identities.items()}
    report.scores_by_seed(logs, figures / "identity.svg", label="log₁₀ of the relative error")
    report.page(
        out / "report.html",
        title="Residual learning",
        summary=f"At {max(digits)} layers, networks that add the input of a block to its output "
        f"have a test accuracy higher by {gap:.2f} than plain ones.",
        numbers={"accuracy, sum over plain": gap, "loss, plain over sum": numbers["loss_ratio"]},
        sections=[
            Section("The block", "F is two dense layers, each after a ReLU.", [block]),
            depth_section(config, digits, figures / "gradients.svg"),
            Section(
                "The identity",
                "Blocks are trained to give what they are given, positive numbers that a ReLU "
                "leaves as they are. With the connection F(x) = 0 is to be reached, without it "
                "F(x) = x. The error is the squared one over the mean square of x.",
                [Figure(figures / "identity.svg", "Dots: seeds; bars: means, dotted: the first.")],
                Table(("blocks", "kind", "relative error"), rows),
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
