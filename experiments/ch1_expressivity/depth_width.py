"""Depth folds the line: 2^n pieces from n layers. CPU, 30 s; pieces from 8 layers 256.

The sawtooth of Telgarsky: a layer of two rectifiers computes one tooth, and every further layer
doubles the teeth. One hidden layer of n rectifiers has at most n + 1 linear pieces. That a deep
network can represent a function does not mean that training finds it: from a random start training
does not, from a start near the solution it does, and no start helps the shallow network of equally
many parameters.
"""

from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lectures_jax import objectives, ops, optim, report, runtime, train
from lectures_jax.models.mlp import Mlp
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot

TINY = {"steps": 2, "seeds": 2, "layers": 4, "teeth": 2}
EXPECTED = {"pieces": (256, 256), "deep_near_error": (None, 0.05), "shallow_error": (0.2, None)}

STARTS = {
    "shallow": "shallow_error",
    "deep, random start": "deep_random_error",
    "deep, start near the solution": "deep_near_error",
}
"""Networks that are trained, and the name of their number."""


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    layers: int = 8
    """of the constructed sawtooth, at most; each doubles its teeth"""
    teeth: int = 8
    """of the sawtooth that networks are trained on, a power of two"""
    disturbance: float = 0.02
    """standard deviation of the noise on the constructed weights before training"""
    steps: int = 5000
    """of Adam, on all points at once"""
    learning_rate: float = 1e-3
    """of Adam, falling along a cosine to zero"""
    seeds: int = 8
    """trained networks of each kind"""
    seed: int = 0
    """the first of them"""


def tooth(x: jax.Array) -> jax.Array:
    """One tooth on [0, 1] from two rectifiers: from 0 up to 1 at the middle, and down again."""
    hidden = jax.nn.relu(ops.linear(x[:, None], jnp.ones((1, 2)), jnp.array([0.0, -0.5])))
    return ops.linear(hidden, jnp.array([[2.0], [-4.0]]))[:, 0]


def sawtooth(x: jax.Array, layers: int) -> jax.Array:
    """The tooth applied to itself: 2^(layers − 1) teeth, 2^layers pieces."""
    for _ in range(layers):
        x = tooth(x)
    return x


def pieces(values: np.ndarray) -> int:
    """Linear pieces of a function on an even grid that holds its corners."""
    derivatives = np.round(np.diff(values) * (len(values) - 1), 3)
    return 1 + int(np.sum(np.diff(derivatives) != 0))


def mlp_parameters(sizes: tuple[int, ...]) -> int:
    """Parameters of a network of these sizes."""
    return sum(ops.count_linear(n, m).parameters for n, m in pairwise(sizes))


def initial(key: jax.Array, layers: int, start: str, disturbance: float) -> Mlp:
    """A network before training: shallow or deep, random or near the constructed one."""
    deep = (1, *[2] * layers, 1)
    shallow = (1, (mlp_parameters(deep) - 1) // 3, 1)
    model = Mlp(shallow if start == "shallow" else deep, rngs=nnx.Rngs(key))
    if start == "deep, start near the solution":
        kernels = [jnp.ones((1, 2)), *[jnp.array([[2.0, 2.0], [-4.0, -4.0]])] * (layers - 1)]
        kernels.append(jnp.array([[2.0], [-4.0]]))
        for i, (layer, kernel) in enumerate(zip(model.layers, kernels, strict=True)):
            noise = disturbance * jax.random.normal(jax.random.fold_in(key, i), kernel.shape)
            layer.kernel = nnx.Param(kernel + noise)
            layer.bias = nnx.Param(jnp.array([0.0, -0.5]) if i < layers else jnp.zeros(1))
    else:
        first = model.layers[0]  # kinks inside of [0, 1], not all of them at 0
        kernel = first.kernel[...]
        first.bias = nnx.Param(-kernel[0] * jax.random.uniform(key, kernel[0].shape))
    return model


def train_one(key: jax.Array, start: str, config: Config) -> dict[str, dict[str, jax.Array]]:
    """Error and pieces of one network, before and after training: a pure function of the key."""
    layers = config.teeth.bit_length()
    x = jnp.linspace(0, 1, 64 * config.teeth + 1)[:, None]
    batch = {"x": x, "y": sawtooth(x[:, 0], layers)[:, None]}
    model = initial(key, layers, start, config.disturbance)
    rate = optim.flat_cosine(config.learning_rate, steps=config.steps, decay_share=1.0)
    optimizer = optim.adam(rate)
    structure, state = train.init(key, model, optimizer)
    step = train.make_step(structure, objectives.regression, optimizer)
    state, _ = jax.lax.scan(lambda state, _: step(state, batch), state, length=config.steps)
    measured = {}
    for when, network in (("before", model), ("after", train.rebuild(structure, state))):
        values = network(x)
        error = jnp.sqrt(jnp.mean((values - batch["y"]) ** 2))
        measured[when] = {"error": error, "pieces": regions(network), "values": values[:, 0]}
    return measured


def regions(model: Mlp) -> jax.Array:
    """Linear regions on [0, 1]: how often the set of active rectifiers changes, and one."""
    x = jnp.linspace(0, 1, 20_001)[:, None]
    hidden = list(model.features(x).values())[:-1]
    active = jnp.concatenate([h > 0 for h in hidden], axis=1)
    return 1 + jnp.sum(jnp.any(active[1:] != active[:-1], axis=1))


def run(config: Config, out: Path) -> dict[str, float]:
    """Counts the pieces of constructed networks, and trains others of equal size."""
    constructed = count_pieces(config.layers)
    keys = jax.vmap(jax.random.key)(config.seed + jnp.arange(config.seeds))
    trained = {}
    for start in STARTS:
        training = jax.jit(jax.vmap(partial(train_one, start=start, config=config)))
        trained[start] = jax.device_get(training(keys))
    numbers: dict[str, float] = {"pieces": constructed[-1][1]} | {
        name: float(np.median(trained[start]["after"]["error"])) for start, name in STARTS.items()
    }
    write_report(config, out, numbers, constructed, trained)
    return numbers


def count_pieces(layers: int) -> list[tuple[int, int, int, int]]:
    """Layers, pieces and parameters of constructed sawteeth, and the pieces of a shallow net."""
    grid = jnp.linspace(0, 1, 2**layers * 4 + 1)
    rows = []
    for depth in range(1, layers + 1):
        values = np.asarray(sawtooth(grid, depth), np.float64)
        parameters = 2 * 2 + 3 + (depth - 1) * (2 * 2 + 2)
        rows.append((depth, pieces(values), parameters, (parameters - 1) // 3 + 1))
    return rows


def write_report(
    config: Config, out: Path, numbers: dict, constructed: list[tuple], trained: dict
) -> None:
    """Draws the sawteeth, the pieces over the parameters, and the trained networks."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    draw_constructed(figures, constructed)
    draw_trained(figures, config, trained)
    report.page(
        out / "report.html",
        title="Depth and width",
        summary="A few layers can fold the line into more pieces than any single layer of the same "
        "number of parameters. Errors of trained networks: "
        + ", ".join(f"{start} {numbers[name]:.3f}" for start, name in STARTS.items())
        + ".",
        numbers=numbers,
        sections=[
            Section(
                "Constructed",
                "Each layer of two rectifiers doubles the pieces. One hidden layer of n units has "
                "3 n + 1 parameters and at most n + 1 pieces.",
                figures=[
                    Figure(figures / "sawtooth.svg", "One to four layers of two rectifiers."),
                    Figure(figures / "pieces.svg", "Pieces over parameters."),
                ],
                table=Table(
                    ("layers", "pieces", "parameters", "one hidden layer, at most"), constructed
                ),
            ),
            trained_section(figures, config, trained),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def trained_section(figures: Path, config: Config, trained: dict) -> Section:
    """Errors and pieces of the trained networks."""
    layers = config.teeth.bit_length()
    parameters = mlp_parameters((1, *[2] * layers, 1))
    rows = [
        (
            start,
            *(float(np.median(measured[when]["error"])) for when in ("before", "after")),
            f"{measured['after']['error'].min():.3f} to {measured['after']['error'].max():.3f}",
            *(float(np.mean(measured[when]["pieces"])) for when in ("before", "after")),
        )
        for start, measured in trained.items()
    ]
    return Section(
        "Trained",
        f"Three networks of {parameters} parameters are trained on a sawtooth of {config.teeth} "
        f"teeth, {2 * config.teeth} pieces: one hidden layer of {(parameters - 1) // 3} "
        f"rectifiers, and {layers} layers of two. A constant has an error of 0.289.",
        figures=[
            Figure(
                figures / "error.svg",
                "Dots: seeds, with mean and deviation; dotted: the first mean.",
            ),
            Figure(figures / "trained.svg", "The best seed of each."),
        ],
        table=Table(
            ("network", "median at first", "at last", "seeds", "pieces at first", "at last"), rows
        ),
    )


def draw_constructed(figures: Path, constructed: list[tuple]) -> None:
    """One to four layers, and the pieces over the parameters."""
    x = np.linspace(0, 1, 1025)
    with plot(figures / "sawtooth.svg", rows=4, height=3.2) as axes:
        for layers, ax in enumerate(axes, start=1):
            ax.plot(x, sawtooth(jnp.asarray(x, jnp.float32), layers), lw=1.2)
            ax.set(yticks=[0, 1], xlim=(0, 1), ylabel="f(x)")
    _, deep, parameters, shallow = zip(*constructed, strict=True)
    with plot(figures / "pieces.svg", height=3.2) as (ax,):
        ax.semilogy(parameters, deep, "o-", ms=4, label="layers of two, measured")
        ax.semilogy(parameters, shallow, "--", color=INK, label="one hidden layer, at most")
        ax.set(xlabel="parameters", ylabel="linear pieces")
        ax.legend()


def draw_trained(figures: Path, config: Config, trained: dict) -> None:
    """Each seed's error, and the best seed's function beside the sawtooth."""
    errors = {start: measured["after"]["error"] for start, measured in trained.items()}
    report.scores_by_seed(errors, figures / "error.svg", label="root mean square error")
    x = np.linspace(0, 1, 64 * config.teeth + 1)
    target = sawtooth(jnp.asarray(x, jnp.float32), config.teeth.bit_length())
    with plot(figures / "trained.svg", rows=len(trained), height=4.0) as axes:
        for i, (ax, (start, measured)) in enumerate(zip(axes, trained.items(), strict=True)):
            best = np.argmin(measured["after"]["error"])
            ax.plot(x, target, color=INK, lw=0.8)
            ax.plot(x, measured["after"]["values"][best], color=color(i), label=start)
            ax.set(xlim=(0, 1), ylim=(-0.1, 1.1), ylabel="f(x)")
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1))
