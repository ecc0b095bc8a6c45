"""One hidden layer approximates any continuous function. CPU, 30 s; built 1/n, trained error 0.01.

The weights of the network `Σ_i v_i σ(w_i x + b_i) + c` on [0, 1] are obtained in two ways:
constructed, as steps that follow the function from value to value, and trained. The error of the
constructed network falls as one over the width, as the proof promises; training finds far better
networks of the same width.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lectures_jax import objectives, ops, optim, report, runtime, train
from lectures_jax.models.mlp import Mlp
from lectures_jax.report.page import Figure, Section
from lectures_jax.report.theme import INK, color, plot

TINY = {"steps": 2, "widths": (2, 4), "seeds": 1}
EXPECTED = {"built_rate": (-1.15, -0.85), "trained_error": (None, 0.012)}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    widths: tuple[int, ...] = (4, 8, 16, 32, 64, 128)
    """hidden sigmoids"""
    steps: int = 6000
    """of Adam, on all points at once"""
    learning_rate: float = 0.02
    """of Adam, falling along a cosine to zero"""
    seeds: int = 3
    """trained networks of each width; the median counts"""
    seed: int = 0
    """the first of them"""


def target(x: jax.Array) -> jax.Array:
    """A continuous function to [0, 1] with smooth parts, a corner and a steep flank."""
    wave = 0.25 * jnp.sin(3 * jnp.pi * x**2) + 0.5
    return wave + 0.5 * jnp.abs(x - 0.6) - 0.25 * jnp.tanh(15 * (x - 0.8)) - 0.12


def built(width: int) -> Callable[[jax.Array], jax.Array]:
    """The network whose i-th sigmoid steps from the function's value at one point to the next.

    A bump is the difference of two sigmoids; side by side, the falling edge of one and the rising
    edge of the next are one step. A sigmoid is so steep that it steps within a fraction of a cell.
    """
    edges = jnp.arange(1, width + 1) / (width + 1)
    values = target((jnp.arange(width + 1) + 0.5) / (width + 1))
    steepness = 20.0 * (width + 1)

    def network(x: jax.Array) -> jax.Array:
        hidden = jax.nn.sigmoid(
            ops.linear(x[:, None], jnp.full((1, width), steepness), -steepness * edges)
        )
        return ops.linear(hidden, jnp.diff(values)[:, None], values[:1])[:, 0]

    return network


def trained(key: jax.Array, width: int, config: Config, points: jax.Array) -> jax.Array:
    """Values at the points of a network trained on the function."""
    x = jnp.linspace(0, 1, 256)[:, None]
    batch = {"x": x, "y": target(x)}
    model = Mlp((1, width, 1), activation=jax.nn.sigmoid, rngs=nnx.Rngs(key))
    # The sigmoids bend inside of [0, 1], each elsewhere; with the usual weights they are straight.
    hidden = model.layers[0]
    hidden.kernel[...] *= 10
    hidden.bias = nnx.Param(-hidden.kernel[...][0] * jax.random.uniform(key, (width,)))
    rate = optim.flat_cosine(config.learning_rate, steps=config.steps, decay_share=1.0)
    optimizer = optim.adam(rate)
    structure, state = train.init(key, model, optimizer)
    step = train.make_step(structure, objectives.regression, optimizer)
    state, _ = jax.lax.scan(lambda state, _: step(state, batch), state, length=config.steps)
    return train.rebuild(structure, state)(points[:, None])[:, 0]


def run(config: Config, out: Path) -> dict[str, float]:
    """Builds and trains networks of each width, and compares their largest errors."""
    points = jnp.linspace(0, 1, 4001)
    keys = jax.vmap(jax.random.key)(config.seed + jnp.arange(config.seeds))
    built_errors, trained_errors, curves = [], [], {}
    for width in config.widths:
        by_hand = built(width)(points)
        train_width = partial(trained, width=width, config=config, points=points)
        by_training = jax.jit(jax.vmap(train_width))(keys)
        curves[width] = by_hand, by_training[0]
        built_errors.append(float(jnp.max(jnp.abs(by_hand - target(points)))))
        largest = jnp.max(jnp.abs(by_training - target(points)[None]), axis=1)
        trained_errors.append(float(jnp.median(largest)))
    large = len(config.widths) // 3  # from where on the steps are smaller than the flank
    rate = np.polyfit(np.log(config.widths[large:]), np.log(built_errors[large:]), 1)[0]
    numbers = {
        "built_rate": float(rate),
        "built_error": built_errors[-1],
        "trained_error": min(trained_errors),
    }
    errors = built_errors, trained_errors
    write_report(config, out, numbers, np.asarray(points), curves, errors)
    return numbers


def write_report(
    config: Config,
    out: Path,
    numbers: dict[str, float],
    points: np.ndarray,
    curves: dict[int, tuple],
    errors: tuple[list[float], list[float]],
) -> None:
    """Draws the function with its networks, and the errors over the width; writes the page."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    draw_networks(figures, config, points, curves)
    draw_errors(figures / "error.svg", config, errors)
    report.page(
        out / "report.html",
        title="Universal approximation",
        summary="A hidden layer that is wide enough comes as close as one likes to a continuous "
        "function on an interval.",
        numbers=numbers,
        sections=[
            Section(
                "Constructed",
                "Each sigmoid is a step from the function's value in one cell to its value in the "
                "next. No training: the weights are read off the function.",
                figures=[
                    Figure(figures / "built.svg", "Steps of sigmoids."),
                    Figure(figures / "trained.svg", "The same network, trained."),
                ],
            ),
            Section(
                "Error and width",
                "The error of the steps is in proportion to a power of the width, "
                f"{numbers['built_rate']:.2f}; −1 means that twice the width halves it. Training "
                "bends the sigmoids to the function's own curves: its error is lowest at a width "
                f"of {config.widths[int(np.argmin(errors[1]))]}.",
                figures=[Figure(figures / "error.svg", "Largest error on [0, 1].")],
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def draw_networks(figures: Path, config: Config, points: np.ndarray, curves: dict) -> None:
    """The function, with the constructed and with the trained network of a middle width."""
    width = config.widths[len(config.widths) // 2 - 1]
    for name, values in zip(("built", "trained"), curves[width], strict=True):
        with plot(figures / f"{name}.svg", height=2.6) as (ax,):
            ax.plot(points, target(jnp.asarray(points)), color=INK, lw=1, label="f")
            ax.plot(points, values, color=color(name == "trained"), label=f"{name}, width {width}")
            ax.set(xlabel="x", ylim=(0, 1))
            ax.legend()


def draw_errors(path: Path, config: Config, errors: tuple[list[float], list[float]]) -> None:
    """Largest error over the width."""
    with plot(path, height=2.8) as (ax,):
        for name, values in zip(("built", "trained"), errors, strict=True):
            ax.loglog(config.widths, values, "o-", ms=4, label=name)
        ax.loglog(config.widths, 2 / np.array(config.widths), "--", color=INK, lw=1, label="2 / n")
        ax.set(xlabel="width n", ylabel="largest error")
        ax.legend()
