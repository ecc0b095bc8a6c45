"""Depth folds the line: 2^n pieces from n layers. CPU, 30 s; pieces from 8 layers 256.

The sawtooth of Telgarsky: a layer of two rectifiers computes one tooth, and every further layer
doubles the teeth. One hidden layer of n rectifiers has at most n + 1 straight pieces. That a deep
network can does not mean that training finds it: from a random start it does not, from a start near
the solution it does, and the shallow network of equally many parameters cannot from anywhere.
"""

from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lectures_jax import losses, ops, optim, report, runtime, train
from lectures_jax.models.mlp import Mlp
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot

TINY = {"steps": 2, "seeds": 2, "layers": 4, "teeth": 2}


WAYS = ("shallow", "deep, at random", "deep, near the solution")
SHORT = ("shallow_error", "deep_random_error", "deep_near_error")


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    layers: int = 8
    """of the written sawtooth, at most; each doubles its teeth"""
    teeth: int = 8
    """of the sawtooth that trained networks learn, a power of two"""
    disturbance: float = 0.02
    """standard deviation of what is added to the written weights before training"""
    steps: int = 5000
    """of Adam, on all points at once"""
    learning_rate: float = 1e-3
    """of Adam, falling along a cosine to zero"""
    seeds: int = 8
    """trained networks of each kind"""
    seed: int = 0
    """the first of them"""


def tooth(x: jax.Array) -> jax.Array:
    """One tooth on [0, 1] from two rectifiers: up with slope 2 to 1, and down again."""
    hidden = jax.nn.relu(ops.linear(x[:, None], jnp.ones((1, 2)), jnp.array([0.0, -0.5])))
    return ops.linear(hidden, jnp.array([[2.0], [-4.0]]))[:, 0]


def sawtooth(x: jax.Array, layers: int) -> jax.Array:
    """The tooth applied to itself: 2^(layers − 1) teeth, 2^layers pieces."""
    for _ in range(layers):
        x = tooth(x)
    return x


def pieces(values: np.ndarray) -> int:
    """Straight pieces of a function on an even grid that holds its corners."""
    slopes = np.round(np.diff(values) * (len(values) - 1), 3)
    return 1 + int(np.sum(np.diff(slopes) != 0))


def count(sizes: tuple[int, ...]) -> int:
    """Parameters of a network of these sizes."""
    return sum(ops.count_linear(n, m).parameters for n, m in pairwise(sizes))


def squared(model, batch, key):
    """Mean squared error."""
    loss = jnp.mean(losses.squared_error(model(batch["x"], key=key), batch["y"]))
    return loss, {}


def start(key: jax.Array, layers: int, way: str, disturbance: float) -> Mlp:
    """A network before training: shallow or deep, at random or near the written one."""
    deep = (1, *[2] * layers, 1)
    shallow = (1, (count(deep) - 1) // 3, 1)
    model = Mlp(shallow if way == "shallow" else deep, rngs=nnx.Rngs(key))
    if way == "deep, near the solution":
        kernels = [jnp.ones((1, 2)), *[jnp.array([[2.0, 2.0], [-4.0, -4.0]])] * (layers - 1)]
        kernels.append(jnp.array([[2.0], [-4.0]]))
        for i, (layer, kernel) in enumerate(zip(model.layers, kernels, strict=True)):
            noise = disturbance * jax.random.normal(jax.random.fold_in(key, i), kernel.shape)
            layer.kernel[...] = kernel + noise
            layer.bias[...] = jnp.array([0.0, -0.5]) if i < layers else jnp.zeros(1)
    else:
        first = model.layers[0]  # kinks inside of [0, 1], not all of them at 0
        first.bias[...] = -first.kernel[...][0] * jax.random.uniform(key, first.bias.shape)
    return model


def learn(key: jax.Array, way: str, config: Config) -> dict[str, jax.Array]:
    """Error and pieces of one network, before and after training: a pure function of the key."""
    layers = config.teeth.bit_length()
    x = jnp.linspace(0, 1, 64 * config.teeth + 1)[:, None]
    batch = {"x": x, "y": sawtooth(x[:, 0], layers)[:, None]}
    model = start(key, layers, way, config.disturbance)
    rate = optim.flat_cosine(config.learning_rate, steps=config.steps, decay_share=1.0)
    optimizer = optim.adam(rate)
    structure, state = train.init(key, model, optimizer)
    step = train.make_step(structure, squared, optimizer)
    state, _ = jax.lax.scan(lambda state, _: step(state, batch), state, length=config.steps)
    found = {}
    for when, network in (("before", model), ("after", train.rebuild(structure, state))):
        values = network(x)
        error = jnp.sqrt(jnp.mean((values - batch["y"]) ** 2))
        found[when] = {"error": error, "pieces": patterns(network), "values": values[:, 0]}
    return found


def patterns(model: Mlp) -> jax.Array:
    """Linear regions on [0, 1]: how often the set of active rectifiers changes, and one."""
    x = jnp.linspace(0, 1, 20_001)[:, None]
    hidden = list(model.features(x).values())[:-1]
    active = jnp.concatenate([h > 0 for h in hidden], axis=1)
    return 1 + jnp.sum(jnp.any(active[1:] != active[:-1], axis=1))


def run(config: Config, out: Path) -> dict[str, float]:
    """Counts the pieces of written networks, and trains others of equal size."""
    grid = jnp.linspace(0, 1, 2**config.layers * 4 + 1)
    written = []
    for layers in range(1, config.layers + 1):
        values = np.asarray(sawtooth(grid, layers), np.float64)
        parameters = 2 * 2 + 3 + (layers - 1) * (2 * 2 + 2)
        written.append((layers, pieces(values), parameters, (parameters - 1) // 3 + 1))
    keys = jax.vmap(jax.random.key)(config.seed + jnp.arange(config.seeds))
    trained = {}
    for way in WAYS:
        learning = jax.jit(jax.vmap(partial(learn, way=way, config=config)))
        trained[way] = jax.device_get(learning(keys))
    numbers = {"pieces": written[-1][1]} | {
        name: float(np.median(trained[way]["after"]["error"]))
        for name, way in zip(SHORT, WAYS, strict=True)
    }
    found = numbers["deep_near_error"] < 0.05 < 0.2 < numbers["shallow_error"]
    write_report(config, out, numbers, written, trained)
    if config == Config() and (numbers["pieces"] != 256 or not found):
        raise RuntimeError(f"expected 256 pieces, and that only the deep one fits, got {numbers}.")
    return numbers


def write_report(config: Config, out: Path, numbers: dict, written: list, trained: dict) -> None:
    """Draws the sawteeth, the pieces over the parameters, and the trained networks."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    draw_written(figures, written)
    draw_trained(figures, config, trained)
    layers = config.teeth.bit_length()
    parameters = count((1, *[2] * layers, 1))
    rows = [
        (
            way,
            *(float(np.median(found[when]["error"])) for when in ("before", "after")),
            f"{np.min(found['after']['error']):.3f} to {np.max(found['after']['error']):.3f}",
            *(float(np.mean(found[when]["pieces"])) for when in ("before", "after")),
        )
        for way, found in trained.items()
    ]
    report.page(
        out / "report.html",
        title="Depth and width",
        summary="A few layers can fold the line into more pieces than any single layer of the same "
        "number of parameters; training has to be led there.",
        numbers=numbers,
        sections=[
            Section(
                "Written down",
                "Each layer of two rectifiers doubles the pieces. One hidden layer of n units has "
                "3 n + 1 parameters and at most n + 1 pieces.",
                figures=[
                    Figure(figures / "sawtooth.svg", "One to four layers of two rectifiers."),
                    Figure(figures / "pieces.svg", "Pieces over parameters."),
                ],
                table=Table(
                    ("layers", "pieces", "parameters", "one hidden layer, at most"), written
                ),
            ),
            Section(
                "Trained",
                f"Three networks of {parameters} parameters learn a sawtooth of {config.teeth} "
                f"teeth, {2 * config.teeth} pieces: one hidden layer of {(parameters - 1) // 3} "
                f"rectifiers, and {layers} layers of two. A constant has an error of 0.289.",
                figures=[
                    Figure(figures / "error.svg", "Root mean square error; each dot is a seed."),
                    Figure(figures / "learnt.svg", "The best seed of each."),
                ],
                table=Table(
                    ("network", "error at first", "at last", "seeds", "pieces at first", "at last"),
                    rows,
                ),
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def draw_written(figures: Path, written: list) -> None:
    x = np.linspace(0, 1, 1025)
    with plot(figures / "sawtooth.svg", rows=4, height=3.2) as axes:
        for layers, ax in enumerate(axes, start=1):
            ax.plot(x, sawtooth(jnp.asarray(x, jnp.float32), layers), lw=1.2)
            ax.set(yticks=[0, 1], xlim=(0, 1))
    _, deep, parameters, shallow = zip(*written, strict=True)
    with plot(figures / "pieces.svg", height=3.2) as (ax,):
        ax.semilogy(parameters, deep, "o-", ms=4, label="layers of two, measured")
        ax.semilogy(parameters, shallow, "--", color=INK, label="one hidden layer, at most")
        ax.set(xlabel="parameters", ylabel="straight pieces")
        ax.legend()


def draw_trained(figures: Path, config: Config, trained: dict) -> None:
    with plot(figures / "error.svg", height=2.2) as (ax,):
        for i, found in enumerate(trained.values()):
            error = found["after"]["error"]
            ax.plot(error, np.full(len(error), -i), "o", ms=4, color=color(i))
        ax.set_yticks([-i for i in range(len(trained))], list(trained))
        ax.set(xlabel="error", xlim=(0, None), ylim=(-len(trained) + 0.5, 0.5))
    x = np.linspace(0, 1, 64 * config.teeth + 1)
    wanted = sawtooth(jnp.asarray(x, jnp.float32), config.teeth.bit_length())
    with plot(figures / "learnt.svg", rows=len(trained), height=4.0) as axes:
        for i, (ax, (way, found)) in enumerate(zip(axes, trained.items(), strict=True)):
            best = np.argmin(found["after"]["error"])
            ax.plot(x, wanted, color=INK, lw=0.8)
            ax.plot(x, found["after"]["values"][best], color=color(i), label=way)
            ax.set(xlim=(0, 1), ylim=(-0.1, 1.1))
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1))
