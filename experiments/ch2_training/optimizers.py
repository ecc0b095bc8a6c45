"""Optimizers on three landscapes, and what mini-batches miss. CPU, 20 s; floor ratio 0.5.

The seven optimizers of the course descend a ravine, past a saddle and along Rosenbrock's valley.
On least squares, full batches converge to the solution; mini-batches at a constant rate stay at a
distance that shrinks with the rate, and converge if the rate falls, or if one solution fits all
data.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lectures_jax import optim, report, runtime
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, MUTED, color, plot

TINY = {"steps": 2, "epochs": 4, "examples": 16}
EXPECTED = {
    "goals_missed": (None, 0),
    "full_batch": (None, 1e-10),
    "floor_ratio": (0.35, 0.65),
    "falling_rate": (None, 1e-3),
}


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

    text: str
    value: Callable[[jax.Array], jax.Array]
    start: tuple[float, float]
    limits: tuple[tuple[float, float], tuple[float, float]]
    rates: dict[str, float]
    goal: float


def ravine(p):
    """A parabola of curvatures 1 and 50."""
    return 0.5 * (p[0] ** 2 + 50 * p[1] ** 2)


def saddle(p):
    """A saddle point at the origin between two minima."""
    return 0.5 * p[0] ** 2 - 0.5 * p[1] ** 2 + 0.25 * p[1] ** 4


def rosenbrock(p):
    """A curved valley. Source: Rosenbrock (1960)."""
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


NAMES = ("gradient_descent", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw")
LANDSCAPES = {
    "ravine": Landscape(
        "Curvatures 1 and 50: a rate that is stable across the ravine is slow along it.",
        ravine,
        (-9.0, 1.5),
        ((-10, 3), (-2.2, 2.2)),
        dict(zip(NAMES, (0.035, 0.015, 0.015, 1.0, 0.01, 0.2, 0.2), strict=True)),
        1e-3,
    ),
    "saddle": Landscape(
        "The gradient is zero at the origin; two minima of −¼ are at y = ±1.",
        saddle,
        (-1.5, 1e-3),
        ((-1.7, 0.7), (-0.6, 1.4)),
        dict(zip(NAMES, (0.1, 0.05, 0.05, 0.2, 0.02, 0.05, 0.05), strict=True)),
        -0.249,
    ),
    "rosenbrock": Landscape(
        "A curved valley with its minimum at (1, 1).",
        rosenbrock,
        (-1.2, 1.0),
        ((-1.7, 1.6), (-0.6, 1.6)),
        dict(zip(NAMES, (1.5e-3, 6e-4, 6e-4, 0.5, 2e-3, 0.02, 0.02), strict=True)),
        1e-3,
    ),
}


def run(config: Config, out: Path) -> dict[str, float]:
    """Runs each optimizer on each landscape, and solves least squares by several schedules."""
    paths = {
        name: {o: descend(land, o, config.steps) for o in NAMES}
        for name, land in LANDSCAPES.items()
    }
    ravine, distances = paths["ravine"], least_squares(config)
    floor = floors(distances)
    numbers = {
        "ravine_descent_steps": ravine["gradient_descent"].steps,
        "ravine_momentum_steps": ravine["momentum"].steps,
        "full_batch": floor["full batch"],
        "mini_batch": floor["mini-batch, constant rate"],
        "floor_ratio": floor["mini-batch, half the rate"] / floor["mini-batch, constant rate"],
        "falling_rate": float(distances["mini-batch, falling rate"][-1]),
        "goals_missed": sum(d.steps < 0 for path in paths.values() for d in path.values()),
    }
    write_report(config, out, numbers, paths, distances)
    return numbers


class Descent(NamedTuple):
    """An optimizer's points and their values, from the start on."""

    points: np.ndarray
    values: np.ndarray
    steps: int
    """until the value was below the landscape's goal; −1 if it never was"""


def descend(land: Landscape, name: str, steps: int) -> Descent:
    """Runs one optimizer on one landscape."""
    optimizer = getattr(optim, name)(land.rates[name])
    start = jnp.array(land.start)

    def step(carry, _):
        point, state = carry
        value, gradient = jax.value_and_grad(land.value)(point)
        updates, state = optimizer.update(gradient, state, point)
        return (optax.apply_updates(point, updates), state), (point, value)

    scan = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[1])
    points, values = scan()
    below = np.flatnonzero(np.asarray(values) < land.goal)
    return Descent(np.asarray(points), np.asarray(values), int(below[0]) if len(below) else -1)


def least_squares(config: Config) -> dict[str, np.ndarray]:
    """Squared distance from the full-batch solution after each epoch, for several schedules."""
    rng = np.random.default_rng(config.seed)
    x = rng.normal(size=(config.examples, 8))
    true = rng.normal(size=8)
    noisy = x @ true + rng.normal(size=config.examples)
    steps = config.epochs * (config.examples // config.batch_size)
    falling = optax.polynomial_schedule(config.learning_rate, 0.0, 2, steps)
    schedules = {
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
            name: solve(config, x, y, rate, size, replace="each example" not in name)
            for name, (y, rate, size) in schedules.items()
        }


def floors(distances: dict[str, np.ndarray]) -> dict[str, float]:
    """The mean of the last quarter of the epochs."""
    return {name: float(np.mean(d[-len(d) // 4 :])) for name, d in distances.items()}


def solve(config: Config, x, y, rate, size: int, *, replace: bool) -> np.ndarray:
    """Distance after each epoch of gradient descent on batches with or without replacement."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    solution = jnp.linalg.lstsq(x, y)[0]
    optimizer = optim.gradient_descent(rate)

    def step(carry, rows) -> tuple[Any, None]:
        weights, state = carry
        gradient = jax.grad(lambda w: 0.5 * jnp.mean((x[rows] @ w - y[rows]) ** 2))(weights)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(weights, updates), state), None

    def epoch(carry, key):
        order = (
            jax.random.permutation(key, len(x))
            if not replace or size == len(x)
            else jax.random.randint(key, (len(x),), 0, len(x))
        )
        rows = order[: len(x) // size * size].reshape(-1, size)
        carry, _ = jax.lax.scan(step, carry, rows)
        return carry, jnp.sum((carry[0] - solution) ** 2)

    start = jnp.zeros(x.shape[1])
    keys = jax.random.split(jax.random.key(config.seed), config.epochs)
    scan = jax.jit(lambda: jax.lax.scan(epoch, (start, optimizer.init(start)), keys)[1])
    return np.asarray(scan())


def write_report(config: Config, out: Path, numbers: dict, paths: dict, distances: dict) -> None:
    """Draws the paths and the distances, and writes the page."""
    (figures := out / "figures").mkdir(exist_ok=True)
    report.page(
        out / "report.html",
        title="Optimizers",
        summary="Each is written by its equation and equals Optax's step by step. Rates were "
        "chosen by hand for each landscape: the order holds for these.",
        numbers={
            "steps down the ravine": int(numbers["ravine_descent_steps"]),
            "with momentum": int(numbers["ravine_momentum_steps"]),
            "mini-batches' floor at half the rate": numbers["floor_ratio"],
        },
        sections=[
            *(landscape_section(figures, name, path) for name, path in paths.items()),
            batches_section(figures, distances),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def landscape_section(figures: Path, name: str, paths: dict[str, Descent]) -> Section:
    """The paths of all optimizers on one landscape, and how many steps each needed."""
    land = LANDSCAPES[name]
    lowest = min(path.values.min() for path in paths.values())
    above = {o.replace("_", " "): np.maximum(p.values - lowest, 1e-8) for o, p in paths.items()}
    labels = {"xlabel": "step", "ylabel": "value above the lowest seen", "xscale": "log"}
    draw_paths(figures / f"{name}.svg", land, paths)
    draw_curves(figures / f"{name}_values.svg", above, labels)
    steps = {o: path.steps if path.steps >= 0 else None for o, path in paths.items()}
    rows = [(o.replace("_", " "), land.rates[o], steps[o]) for o in paths]
    return Section(
        name.capitalize(),
        land.text,
        figures=[
            Figure(figures / f"{name}.svg", "From the ring; each path ends at its dot."),
            Figure(figures / f"{name}_values.svg", "Above the lowest seen, down to 1e-8."),
        ],
        table=Table(("optimizer", "rate", f"steps to a value below {land.goal:g}"), rows),
    )


def batches_section(figures: Path, distances: dict[str, np.ndarray]) -> Section:
    """Least squares by batches of several sizes and schedules."""
    floor, end = floors(distances), {name: f"{d[-1]:.1e}" for name, d in distances.items()}
    above = {name: np.maximum(d, 1e-16) for name, d in distances.items()}
    draw_curves(figures / "minibatch.svg", above, {"xlabel": "epoch", "ylabel": "squared distance"})
    constant = floor["mini-batch, constant rate"]
    half, once = (floor[f"mini-batch, {n}"] for n in ("half the rate", "each example once"))
    return Section(
        "Mini-batches",
        "Least squares with eight unknowns. The gradient of a batch is right on average, but not "
        "zero at the solution of all data: at a constant rate the weights keep fluctuating. Half "
        f"the rate leaves {half / constant:.2g} of their squared distance, and each example once "
        f"per epoch {once / constant:.2g} of it. With a falling rate it ends at "
        f"{end['mini-batch, falling rate']}, and where the data agree, so that every batch has the "
        f"same solution, at {end['mini-batch, data without noise']}.",
        figures=[Figure(figures / "minibatch.svg", "Squared distance, down to 1e-16.")],
        table=Table(
            ("batches", "squared distance, mean of the last quarter", "at the end"),
            [(name, f"{floor[name]:.1e}", end[name]) for name in distances],
        ),
    )


def draw_paths(path: Path, land: Landscape, paths: dict[str, Descent]) -> None:
    """The optimizers' paths over lines of equal height."""
    (x0, x1), (y0, y1) = land.limits
    x, y = np.meshgrid(np.linspace(x0, x1, 160), np.linspace(y0, y1, 160))
    height = np.array(land.value(jnp.stack([jnp.asarray(x), jnp.asarray(y)])))
    height -= min(height.min(), *(p.values.min() for p in paths.values()))
    with plot(path, height=3.6) as (ax,):
        levels = np.geomspace(1e-3, 1, 12) ** 0.8 * height.max()
        ax.contour(x, y, height, levels=levels, colors=MUTED, linewidths=0.4)
        for i, (name, (points, *_)) in enumerate(paths.items()):
            drawn = points[: 1 + min(len(points) - 1, 1500)]
            ax.plot(*drawn.T, ["--", "-"][i % 2], c=color(i), lw=1, label=name.replace("_", " "))
            ax.plot(*points[-1], "o", color=color(i), ms=4)
        ax.plot(*land.start, "o", mfc="none", mec=INK, ms=8)
        ax.set(xlim=(x0, x1), ylim=(y0, y1))
        ax.grid(visible=False)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=7)


def draw_curves(path: Path, curves: dict[str, np.ndarray], labels: dict[str, str]) -> None:
    """Positive values over steps or epochs from 1 on, every other line dashed: some coincide."""
    with plot(path, height=3.6) as (ax,):
        for i, (name, y) in enumerate(curves.items()):
            ax.semilogy(range(1, 1 + len(y)), y, ["--", "-"][i % 2], c=color(i), lw=1, label=name)
        ax.set(**labels)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=7)
