"""Optimizers on three landscapes, and what mini-batches miss. CPU, 20 s; floor ratio 0.5.

The seven optimizers of the course walk down a ravine, past a saddle and along Rosenbrock's valley.
Then least squares: full batches arrive at the solution; mini-batches at a constant rate stay at a
distance that shrinks with the rate, and arrive if the rate falls, or if one solution fits all data.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lectures_jax import optim, report, runtime
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, MUTED, color, plot

TINY = {"steps": 2, "epochs": 4, "examples": 16}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    steps: int = 5000
    """of each optimizer on each landscape"""
    examples: int = 256
    """of the least squares"""
    batch_size: int = 16
    """examples per step"""
    epochs: int = 400
    """passes over them"""
    learning_rate: float = 0.04
    """of mini-batches; also tried: half of it"""
    seed: int = 0
    """of data and order"""


class Landscape(NamedTuple):
    """A function of two numbers, where to start, what to draw, and the value to reach."""

    value: Callable[[jax.Array], jax.Array]
    start: tuple[float, float]
    limits: tuple[tuple[float, float], tuple[float, float]]
    rates: dict[str, float]
    goal: float


def ravine(p):
    """Curvatures 1 and 50: a rate that is safe across is slow along."""
    return 0.5 * (p[0] ** 2 + 50 * p[1] ** 2)


def saddle(p):
    """Flat at the origin; two minima of −¼ at y = ±1."""
    return 0.5 * p[0] ** 2 - 0.5 * p[1] ** 2 + 0.25 * p[1] ** 4


def rosenbrock(p):
    """A bent valley with its minimum at (1, 1). Source: Rosenbrock (1960)."""
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


NAMES = ("gradient_descent", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw")
LANDSCAPES = {
    "ravine": Landscape(
        ravine,
        (-9.0, 1.5),
        ((-10, 3), (-2.2, 2.2)),
        dict(zip(NAMES, (0.035, 0.015, 0.015, 1.0, 0.01, 0.2, 0.2), strict=True)),
        1e-3,
    ),
    "saddle": Landscape(
        saddle,
        (-1.5, 1e-3),
        ((-1.7, 0.7), (-0.6, 1.4)),
        dict(zip(NAMES, (0.1, 0.05, 0.05, 0.2, 0.02, 0.05, 0.05), strict=True)),
        -0.249,
    ),
    "rosenbrock": Landscape(
        rosenbrock,
        (-1.2, 1.0),
        ((-1.7, 1.6), (-0.6, 1.6)),
        dict(zip(NAMES, (1.5e-3, 6e-4, 6e-4, 0.5, 2e-3, 0.02, 0.02), strict=True)),
        1e-3,
    ),
}


def run(config: Config, out: Path) -> dict[str, float]:
    """Walks, and solves least squares in several ways."""
    walks = {
        name: {o: walk(land, o, config.steps) for o in NAMES} for name, land in LANDSCAPES.items()
    }
    needed = {
        name: {o: first_below(values, LANDSCAPES[name].goal) for o, (_, values) in found.items()}
        for name, found in walks.items()
    }
    solved = least_squares(config)
    distance = {
        name: float(np.mean(values[-len(values) // 4 :])) for name, values in solved.items()
    }
    numbers = {
        "ravine_descent_steps": needed["ravine"]["gradient_descent"],
        "ravine_momentum_steps": needed["ravine"]["momentum"],
        "full_batch": distance["full batch"],
        "mini_batch": distance["mini-batch, constant rate"],
        "floor_ratio": distance["mini-batch, half the rate"]
        / distance["mini-batch, constant rate"],
        "falling_rate": float(solved["mini-batch, falling rate"][-1]),
    }
    unreached = [n for n, steps in needed.items() if any(np.isnan(list(steps.values())))]
    numbers = {name: float(np.nan_to_num(value, nan=-1)) for name, value in numbers.items()}
    good = numbers["full_batch"] < 1e-10 and 0.35 < numbers["floor_ratio"] < 0.65
    write_report(config, out, numbers, walks, needed, solved)
    if config == Config() and (unreached or not good or numbers["falling_rate"] > 1e-3):
        raise RuntimeError(f"expected every goal and a floor that halves: {unreached}, {numbers}.")
    return numbers


def walk(land: Landscape, name: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and values from the start on."""
    optimizer = getattr(optim, name)(land.rates[name])
    start = jnp.array(land.start)

    def step(carry, _):
        point, state = carry
        value, gradient = jax.value_and_grad(land.value)(point)
        updates, state = optimizer.update(gradient, state, point)
        return (optax.apply_updates(point, updates), state), (point, value)

    scan = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[1])
    points, values = scan()
    return np.asarray(points), np.asarray(values)


def first_below(values: np.ndarray, goal: float) -> float:
    """Steps until a value is below the goal; NaN if none is."""
    below = np.flatnonzero(values < goal)
    return float(below[0]) if len(below) else float("nan")


def least_squares(config: Config) -> dict[str, np.ndarray]:
    """Squared distance from the full-batch solution after each epoch, by way of going there."""
    rng = np.random.default_rng(config.seed)
    x = rng.normal(size=(config.examples, 8))
    true = rng.normal(size=8)
    noisy = x @ true + rng.normal(size=config.examples)
    steps = config.epochs * (config.examples // config.batch_size)
    falling = optax.polynomial_schedule(config.learning_rate, 0.0, 2, steps)
    ways = {
        "full batch": (noisy, 4 * config.learning_rate, config.examples),
        "online": (noisy, config.learning_rate / 4, 1),
        "mini-batch, constant rate": (noisy, config.learning_rate, config.batch_size),
        "mini-batch, half the rate": (noisy, config.learning_rate / 2, config.batch_size),
        "mini-batch, each example once": (noisy, config.learning_rate, config.batch_size),
        "mini-batch, falling rate": (noisy, falling, config.batch_size),
        "mini-batch, data without noise": (x @ true, config.learning_rate, config.batch_size),
    }
    with jax.enable_x64(True):
        return {
            name: np.asarray(
                solve(jnp.asarray(x), jnp.asarray(y), rate, size, "once" in name, config)
            )
            for name, (y, rate, size) in ways.items()
        }


def solve(
    x: jax.Array,
    y: jax.Array,
    rate: float | optax.Schedule,
    size: int,
    once: bool,
    config: Config,
) -> jax.Array:
    """Gradient descent on batches drawn at random, or all examples once in each epoch."""
    solution = jnp.linalg.lstsq(x, y)[0]
    optimizer = optim.gradient_descent(rate)

    def step(carry, rows):
        weights, state = carry
        gradient = jax.grad(lambda w: 0.5 * jnp.mean((x[rows] @ w - y[rows]) ** 2))(weights)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(weights, updates), state), None

    def epoch(carry, key):
        order = (
            jax.random.permutation(key, len(x))
            if once or size == len(x)
            else jax.random.randint(key, (len(x),), 0, len(x))
        )
        rows = order[: len(x) // size * size].reshape(-1, size)
        carry, _ = jax.lax.scan(step, carry, rows)
        return carry, jnp.sum((carry[0] - solution) ** 2)

    start = jnp.zeros(x.shape[1])
    keys = jax.random.split(jax.random.key(config.seed), config.epochs)
    return jax.jit(lambda: jax.lax.scan(epoch, (start, optimizer.init(start)), keys)[1])()


def write_report(config: Config, out: Path, numbers, walks, needed, solved) -> None:
    """Draws the walks and the distances, and writes the page."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    sections = []
    for name, land in LANDSCAPES.items():
        draw_walks(figures / f"{name}.svg", land, walks[name])
        draw_values(figures / f"{name}_values.svg", land, walks[name])
        doc = land.value.__doc__.split(" Source")[0]
        rows = [
            (o.replace("_", " "), land.rates[o], None if np.isnan(n) else int(n))
            for o, n in needed[name].items()
        ]
        sections.append(
            Section(
                name.capitalize(),
                doc,
                figures=[
                    Figure(figures / f"{name}.svg", "From the ring; each dot is where it ends."),
                    Figure(figures / f"{name}_values.svg", "Height above the minimum."),
                ],
                table=Table(("optimizer", "rate", f"steps to a value below {land.goal:g}"), rows),
            )
        )
    draw_distances(figures / "minibatch.svg", solved)
    least = Section(
        "Mini-batches",
        "Least squares with eight unknowns. The gradient of a batch is right on average, but not "
        "zero at the solution of all data: at a constant rate the weights keep trembling, at a "
        "distance whose square is in proportion to the rate. Showing each example once per epoch "
        "brings them much closer at its end. The distance goes on shrinking where the rate falls, "
        "and vanishes where the data agree, so that every batch has the same solution.",
        figures=[Figure(figures / "minibatch.svg", "Squared distance from the solution.")],
        table=Table(
            ("way", "squared distance, mean of the last quarter", "at the end"),
            [
                (name, f"{np.mean(v[-len(v) // 4 :]):.1e}", f"{v[-1]:.1e}")
                for name, v in solved.items()
            ],
        ),
    )
    report.page(
        out / "report.html",
        title="Optimizers",
        summary="Each is written by its equation and equals Optax's step by step. Rates were "
        "chosen by hand for each landscape; another choice changes the order.",
        numbers={
            "steps down the ravine": int(numbers["ravine_descent_steps"]),
            "with momentum": int(numbers["ravine_momentum_steps"]),
            "mini-batches' floor at half the rate": numbers["floor_ratio"],
        },
        sections=[*sections, least, report.configuration(asdict(config))],
        footer=runtime.environment(),
    )


def draw_walks(path: Path, land: Landscape, found: dict) -> None:
    (x0, x1), (y0, y1) = land.limits
    x, y = np.meshgrid(np.linspace(x0, x1, 160), np.linspace(y0, y1, 160))
    height = np.array(land.value(jnp.stack([jnp.asarray(x), jnp.asarray(y)])))
    height -= min(height.min(), *(v.min() for _, v in found.values()))
    with plot(path, height=3.6) as (ax,):
        levels = np.geomspace(1e-3, 1, 12) ** 0.8 * height.max()
        ax.contour(x, y, height, levels=levels, colors=MUTED, linewidths=0.4)
        for i, (name, (points, _)) in enumerate(found.items()):
            inside = points[: 1 + min(len(points) - 1, 1500)]
            ax.plot(*inside.T, color=color(i), lw=1, label=name.replace("_", " "))
            ax.plot(*points[-1], "o", color=color(i), ms=4)
        ax.plot(*land.start, "o", mfc="none", mec=INK, ms=8)
        ax.set(xlim=(x0, x1), ylim=(y0, y1))
        ax.grid(visible=False)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=7)


def draw_values(path: Path, land: Landscape, found: dict) -> None:
    lowest = min(v.min() for _, v in found.values())
    with plot(path, height=3.6) as (ax,):
        for i, (_, values) in enumerate(found.values()):
            above = np.maximum(values - lowest, 1e-8)
            ax.loglog(np.arange(1, len(values) + 1), above, color=color(i), lw=1)
        ax.set(xlabel="step", ylabel="value above the lowest seen", ylim=(1e-8, None))


def draw_distances(path: Path, solved: dict) -> None:
    with plot(path, height=3.6) as (ax,):
        for i, (name, values) in enumerate(solved.items()):
            ax.semilogy(np.maximum(values, 1e-16), color=color(i), lw=1, label=name)
        ax.set(xlabel="epoch", ylabel="squared distance", ylim=(1e-16, None))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=7)
