"""Depth folds the line: 2^n pieces from n layers. CPU, 60 s; 256 pieces from 8 layers of 2 units.

The sawtooth of Telgarsky: a layer of two rectifiers computes one tooth, and every further layer
doubles the teeth. One hidden layer of n rectifiers has at most n + 1 straight pieces. Trained
networks of equally many parameters show how much of this learning can use.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lectures_jax import losses, ops, optim, report, train
from lectures_jax.models.mlp import Mlp
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot

TINY = {"steps": 2, "depths": (1, 2), "seeds": 1, "layers": 3}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    layers: int = 8
    """of the written sawtooth, at most; each doubles its teeth"""
    depths: tuple[int, ...] = (1, 2, 3, 4, 6)
    """hidden layers of the trained networks"""
    parameters: int = 400
    """of each trained network, as nearly as its widths allow"""
    teeth: int = 8
    """of the sawtooth that they learn, a power of two"""
    steps: int = 4000
    """of Adam, on all points at once"""
    learning_rate: float = 0.01
    """of Adam, falling along a cosine to zero"""
    seeds: int = 3
    """trained networks of each depth"""
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


def widths(depth: int, parameters: int) -> tuple[int, ...]:
    """Sizes of a network from one number to one number with about so many parameters."""

    def count(width: int) -> int:
        sizes = (1, *[width] * depth, 1)
        return sum(ops.count_linear(n, m).parameters for n, m in pairwise(sizes))

    width = min(range(1, parameters), key=lambda width: abs(count(width) - parameters))
    return (1, *[width] * depth, 1)


def squared(model, batch, key):
    """Mean squared error."""
    loss = jnp.mean(losses.squared_error(model(batch["x"], key=key), batch["y"]))
    return loss, {}


def learn(key: jax.Array, sizes: tuple[int, ...], config: Config) -> dict[str, jax.Array]:
    """Error, and pieces before and after training, of one network: a pure function of the key."""
    x = jnp.linspace(0, 1, 64 * config.teeth + 1)[:, None]
    batch = {"x": x, "y": sawtooth(x[:, 0], config.teeth.bit_length())[:, None]}
    model = Mlp(sizes, rngs=nnx.Rngs(key))
    first = model.layers[0]  # kinks inside of [0, 1], not all of them at 0
    first.bias[...] = -first.kernel[...][0] * jax.random.uniform(key, first.bias.shape)
    before = patterns(model)
    rate = optim.flat_cosine(config.learning_rate, steps=config.steps, decay_share=1.0)
    optimizer = optim.adam(rate)
    structure, state = train.init(key, model, optimizer)
    step = train.make_step(structure, squared, optimizer)
    state, _ = jax.lax.scan(lambda state, _: step(state, batch), state, length=config.steps)
    model = train.rebuild(structure, state)
    values = model(x)[:, 0]
    error = jnp.sqrt(jnp.mean((values - batch["y"][:, 0]) ** 2))
    return {"error": error, "before": before, "after": patterns(model), "values": values}


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
    for depth in config.depths:
        sizes = widths(depth, config.parameters)
        found = jax.jit(jax.vmap(lambda key: learn(key, sizes, config)))(keys)  # noqa: B023
        trained[depth] = sizes, jax.device_get(found)
    errors = {depth: float(np.median(found["error"])) for depth, (_, found) in trained.items()}
    numbers = {
        "pieces": written[-1][1],
        "shallow_error": errors[min(errors)],
        "deep_error": min(errors.values()),
    }
    deeper = numbers["deep_error"] < numbers["shallow_error"] / 2
    if config == Config() and (numbers["pieces"] != 256 or not deeper):
        raise RuntimeError(f"expected 256 pieces and half the error by depth, got {numbers}.")
    write_report(config, out, numbers, written, trained)
    return numbers


def write_report(config: Config, out: Path, numbers: dict, written: list, trained: dict) -> None:
    """Draws the sawteeth, the pieces over the parameters, and the trained networks."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    draw_written(figures, written)
    draw_trained(figures, config, trained)
    rows = [
        (depth, sizes[1], sum(ops.count_linear(n, m).parameters for n, m in pairwise(sizes)))
        + (float(np.median(f["error"])), float(np.min(f["error"])), float(np.max(f["error"])))
        + (float(np.mean(f["before"])), float(np.mean(f["after"])))
        for depth, (sizes, f) in trained.items()
    ]
    report.page(
        out / "report.html",
        title="Depth and width",
        summary="A few layers can fold the line into more pieces than any single layer of the same "
        "number of parameters; training finds only a part of them.",
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
                f"Networks of about {config.parameters} parameters learn a sawtooth of "
                f"{config.teeth} teeth. At the start depth hardly adds regions (their number grows "
                "with the units, not exponentially); training adds them where they are needed, and "
                "more of them in the deeper networks.",
                figures=[
                    Figure(figures / "error.svg", "Root mean square error; one dot per seed."),
                    Figure(figures / "learnt.svg", "The shallowest and the best, first seed."),
                ],
                table=Table(
                    ("hidden layers", "width", "parameters", "error, median", "least", "largest")
                    + ("regions before", "after"),
                    rows,
                ),
            ),
            report.configuration(asdict(config)),
        ],
        footer=train.environment(),
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
    with plot(figures / "error.svg", height=2.8) as (ax,):
        medians = [np.median(found["error"]) for _, found in trained.values()]
        ax.plot(list(trained), medians, color=color(0))
        for depth, (_, found) in trained.items():
            ax.plot([depth] * config.seeds, found["error"], "o", ms=4, color=color(0))
        ax.set(xlabel="hidden layers", ylabel="error", ylim=(0, None))
    x = np.linspace(0, 1, 64 * config.teeth + 1)
    best = min(trained, key=lambda depth: np.median(trained[depth][1]["error"]))
    with plot(figures / "learnt.svg", rows=2, height=2.8) as axes:
        for i, (ax, depth) in enumerate(zip(axes, (min(trained), best), strict=True)):
            wanted = sawtooth(jnp.asarray(x, jnp.float32), config.teeth.bit_length())
            ax.plot(x, wanted, color=INK, lw=0.8)
            ax.plot(x, trained[depth][1]["values"][0], color=color(i), label=f"{depth} hidden")
            ax.set(xlim=(0, 1))
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1))
