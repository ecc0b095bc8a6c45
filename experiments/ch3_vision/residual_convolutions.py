"""Residual connections train deep convolutional networks. CPU, 5 min; accuracy over plain 0.35.

Networks of 8, 20 and 44 layers of 3×3 convolutions without normalization are trained on digits of
8×8 pixels: plain, with the input of each two layers added to their output, or concatenated with it.
The report shows training loss and test accuracy by depth, and the gradient of the first layer.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, objectives, ops, report, runtime, train
from lectures_jax.nn.convolution import Conv
from lectures_jax.nn.initializers import he_normal, lecun_normal
from lectures_jax.nn.linear import Linear
from lectures_jax.nn.residual import ResidualConcat, ResidualSum
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot
from lectures_jax.typing import Batch, Key

JOINS = {"plain": lambda f: f, "sum": ResidualSum, "concatenation": ResidualConcat}
INITS = {"He": he_normal, "LeCun": lecun_normal}
EXPECTED = {
    "shallow_gap": (-0.05, 0.1),
    "accuracy_gap": (0.15, None),
    "loss_ratio": (1.5, None),
    "sum_accuracy": (0.7, None),
    "concatenation_accuracy": (0.9, None),
    "plain_gradient": (None, 1e-6),
    "sum_gradient": (0.1, None),
}
TINY = {"depths": (4, 6), "channels": 2, "steps": 2, "rates": (5e-3,), "seeds": 1}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    depths: tuple[int, ...] = (8, 20, 44)
    """layers, even, at least 4: the first, two in each block, and the last, which is dense"""
    channels: int = 8
    """of each convolution"""
    steps: int = 200
    """of each training"""
    batch_size: int = 32
    """digits per step"""
    rates: tuple[float, ...] = (1e-3, 5e-3)
    """learning rates of Adam; each kind and depth has that of its least training loss"""
    seeds: int = 3
    """networks of each kind"""
    seed: int = 0
    """the first of them: of parameters and order"""


class Branch(nnx.Module):
    """`F`, two 3×3 convolutions, each after a ReLU."""

    def __init__(
        self, inputs: int, width: int, outputs: int, init: nnx.Initializer, *, rngs: nnx.Rngs
    ):
        self.first = Conv(inputs, width, (3, 3), kernel_init=init, rngs=rngs)
        self.second = Conv(width, outputs, (3, 3), kernel_init=init, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.second(jax.nn.relu(self.first(jax.nn.relu(x))))


class Network(nnx.Module):
    """A convolution, blocks, and a dense layer on the means of the map's four quarters."""

    def __init__(
        self, kind: str, blocks: int, width: int, init: nnx.Initializer, *, rngs: nnx.Rngs
    ):
        # With so few outputs of each block, concatenation has about the parameters of the others.
        grows = kind == "concatenation"
        outputs = max(1, round(2 * width / (blocks + 1))) if grows else width
        widths = [width + grows * n * outputs for n in range(blocks + 1)]
        self.first = Conv(1, width, (3, 3), kernel_init=init, rngs=rngs)
        self.branches = nnx.List(Branch(n, width, outputs, init, rngs=rngs) for n in widths[:-1])
        self.last = Linear(4 * widths[-1], 10, rngs=rngs)
        self.kind = kind

    def body(self, x: jax.Array) -> jax.Array:
        """The blocks alone; those of one shape are compiled once."""
        join = JOINS[self.kind]
        if self.kind == "concatenation":
            for branch in self.branches:
                x = join(branch)(x)
            return x
        structure = nnx.split(self.branches[0])[0]
        states = [nnx.to_pure_dict(nnx.state(branch)) for branch in self.branches]

        def block(x: jax.Array, params: Any) -> tuple[jax.Array, None]:
            return join(train.assemble(structure, params, {}))(x), None

        return jax.lax.scan(block, x, jax.tree.map(lambda *leaf: jnp.stack(leaf), *states))[0]

    def __call__(self, images: jax.Array, *, key: Key | None = None) -> jax.Array:
        """Scores of the classes."""
        x = jax.nn.relu(self.body(self.first(images)))
        return self.last(ops.mean_pool(x, size=4).reshape(len(x), -1))


class Trained(NamedTuple):
    """What the trainings of one kind and depth left [seed]."""

    loss: np.ndarray  # mean over the last tenth of the steps
    accuracy: np.ndarray  # on the test digits
    rate: float
    gradient: dict[str, np.ndarray]  # its norm for the first kernel at the start, by initialization
    parameters: int


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains all, and writes the report."""
    if any(n < 4 or n % 2 for n in config.depths):
        raise ValueError(f"--depths: expected even numbers from 4 on, got {config.depths}.")
    results = {n: {kind: train_all(config, kind, n) for kind in JOINS} for n in config.depths}
    shallow, deep = results[min(results)], results[max(results)]
    numbers = {
        "shallow_gap": np.mean(shallow["sum"].accuracy - shallow["plain"].accuracy),
        "accuracy_gap": np.mean(deep["sum"].accuracy - deep["plain"].accuracy),
        "loss_ratio": np.mean(deep["plain"].loss) / np.mean(deep["sum"].loss),
        **{f"{kind}_accuracy": np.mean(x.accuracy) for kind, x in deep.items()},
        **{f"{kind}_gradient": np.mean(x.gradient["LeCun"]) for kind, x in deep.items()},
    }
    numbers = {name: float(value) for name, value in numbers.items()}
    write_report(config, out, results, numbers)
    return numbers


def train_all(config: Config, kind: str, depth: int) -> Trained:
    """Trains a network of each seed at each rate, by one compiled step; those of one rate stay."""
    training, test = (data.digits(split=name) for name in ("train", "test"))
    optimizer = optax.scale_by_adam()

    def build(seed: int, init: str) -> tuple[Any, Any]:
        blocks, rngs = (depth - 2) // 2, nnx.Rngs(seed)
        network = Network(kind, blocks, config.channels, INITS[init], rngs=rngs)
        structure, state = nnx.split(network)
        return structure, nnx.to_pure_dict(state)

    structure = build(0, "He")[0]

    def loss(params: Any, batch: Batch) -> jax.Array:
        model = train.assemble(structure, params, {})
        return objectives.classification(model, batch, jax.random.key(0))[0]

    @jax.jit
    def step(params: Any, moments: Any, batch: Batch, rate: float) -> tuple:
        value, grads = jax.value_and_grad(loss)(params, batch)
        updates, moments = optimizer.update(grads, moments, params)
        norm = jnp.linalg.norm(grads["first"]["kernel"])
        updates = jax.tree.map(lambda x: -rate * x, updates)
        return optax.apply_updates(params, updates), moments, value, norm

    def fit(params: Any, seed: int, rate: float) -> tuple[float, float]:
        batches = data.batches(training, batch_size=config.batch_size, seed=seed)
        moments, values = optimizer.init(params), []
        for _ in range(config.steps):
            params, moments, value, _ = step(params, moments, next(batches), rate)
            values.append(value)
        model = train.assemble(structure, params, {})
        accuracy = train.evaluate(model, objectives.classification, [test])["accuracy"]
        return float(np.mean(values[-max(config.steps // 10, 1) :])), accuracy

    gradient, seeds = {}, range(config.seed, config.seed + config.seeds)
    start = {init: [build(seed, init)[1] for seed in seeds] for init in INITS}
    for init, networks in start.items():
        order = [data.batches(training, batch_size=config.batch_size, seed=seed) for seed in seeds]
        pairs = zip(networks, map(next, order), strict=True)
        norms = [step(params, optimizer.init(params), batch, 0.0)[3] for params, batch in pairs]
        gradient[init] = np.array(norms)
    networks = list(zip(start["He"], seeds, strict=True))
    scores = {rate: np.array([fit(*x, rate) for x in networks]).T for rate in config.rates}
    rate = min(scores, key=lambda rate: np.nan_to_num(scores[rate][0].mean(), nan=np.inf))
    count = sum(x.size for x in jax.tree.leaves(start["He"][0]))
    losses, accuracies = scores[rate]
    return Trained(losses, accuracies, rate, gradient, count)


def draw(results: dict[int, dict[str, Trained]], path: Path) -> None:
    """Test accuracy and the first gradient by depth."""
    depths = list(results)
    with plot(path, rows=2, height=4.4) as (accuracy, gradient):
        for i, kind in enumerate(JOINS):
            scores = [results[n][kind].accuracy for n in depths]
            deviation = [x.std(ddof=min(1, len(x) - 1)) for x in scores]
            means = [x.mean() for x in scores]
            style = {"color": color(i), "marker": "o", "ms": 4}
            accuracy.errorbar(depths, means, deviation, capsize=3, label=kind, **style)
            for init, line in (("He", "-"), ("LeCun", "--")):
                norms = [results[n][kind].gradient[init].mean() for n in depths]
                gradient.semilogy(depths, norms, line, label=f"{kind}, {init}", **style)
        accuracy.set(ylabel="test accuracy", ylim=(0, 1.02))
        accuracy.legend(loc="lower left")
        gradient.set(ylabel="gradient of the first layer", xlabel="layers", xticks=depths)
        gradient.legend(loc="upper left", bbox_to_anchor=(0, -0.3), ncols=2, handlelength=2.8)


def write_report(
    config: Config, out: Path, results: dict[int, dict[str, Trained]], numbers: dict[str, float]
) -> None:
    """Writes `report.html`."""
    figures, spread = out / "figures", report.mean_and_deviation
    figures.mkdir(parents=True, exist_ok=True)
    draw(results, figures / "depth.svg")
    rows = [
        (
            *(n, kind, x.parameters, x.rate),
            *(spread(values, digits=3) for values in (x.loss, x.accuracy)),
            *(x.gradient[init].mean() for init in INITS),
        )
        for n, kinds in results.items()
        for kind, x in kinds.items()
    ]
    header = ("layers", "kind", "parameters", "rate", "training loss", "test accuracy")
    deepest, deep = max(results.items())
    report.page(
        out / "report.html",
        title="Residual convolutions",
        summary=f"At {deepest} layers, networks that add the input of a block to its output "
        f"have a test accuracy higher by {numbers['accuracy_gap']:.2f} than plain ones.",
        numbers={f"accuracy of {k}, {deepest} layers": numbers[f"{k}_accuracy"] for k in JOINS},
        sections=[
            Section(
                "Convolutions by depth",
                f"3×3 convolutions of {config.channels} channels on 8×8 pixels, without "
                f"normalization, {config.steps} steps of Adam from He's weights. The last columns "
                "are the norm of the gradient of the first kernel at the first step, with these "
                "and with LeCun's weights, with which each ReLU halves the mean square. With the "
                "sum, He's weights double the variance with each block, and the gradient grows. "
                f"At {deepest} layers the accuracy is {numbers['plain_accuracy']:.2f} plain, "
                f"{numbers['sum_accuracy']:.2f} with the sum and "
                f"{numbers['concatenation_accuracy']:.2f} with the concatenation, which has "
                f"{deep['concatenation'].parameters / deep['plain'].parameters:.2f} times as many "
                "parameters.",
                [Figure(figures / "depth.svg", "Means and deviations over the seeds.")],
                Table((*header, "gradient, He", "gradient, LeCun"), rows),
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
