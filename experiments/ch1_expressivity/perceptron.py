"""One perceptron computes 14 of 16 gates, a circuit all. CPU, 10 s; errors 0.

A linear program says which of the 16 gates of two inputs a perceptron can compute: for XOR and its
complement it has no solution, so that no training rule can find one. The perceptron's rule finds
each of the others. Circuits of NAND alone then compute XOR and add numbers.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linprog

from lectures_jax import ops, report, runtime
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, PAPER, color, plot

TINY = {"sets": 3, "points": 50, "bits": 2}
EXPECTED = {
    "separable_gates": (14, 14),
    "converged_gates": (14, 14),
    "mistakes_over_bound": (None, 1.0),
    "xor_errors": (None, 0),
    "adder_errors": (None, 0),
}

CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
NAMES: dict[tuple[int, ...], str] = {
    (0, 0, 0, 1): "AND",
    (0, 1, 1, 0): "XOR",
    (0, 1, 1, 1): "OR",
    (1, 0, 0, 0): "NOR",
    (1, 0, 0, 1): "XNOR",
    (1, 1, 1, 0): "NAND",
}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    sets: int = 24
    """separable sets of points on which the bound on the mistakes is measured"""
    points: int = 400
    """points in each"""
    bits: int = 8
    """length of the numbers that the circuit adds, every pair of them"""
    seed: int = 0
    """of the points"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Solves the linear programs, trains on the gates, measures the bound, tests the circuits."""
    gates = [gate(truth) for truth in np.ndindex(2, 2, 2, 2)]
    sets = separable_sets(config)
    _, mistakes, bounds = sets
    xor_errors = int(np.sum(np.asarray(xor(*CORNERS.T)) != [0, 1, 1, 0]))
    numbers = {
        "separable_gates": sum(row["separable"] for row in gates),
        "converged_gates": sum(row["converged"] for row in gates),
        "mistakes_over_bound": float(np.max(mistakes / bounds)),
        "xor_errors": xor_errors,
        "adder_errors": adder_errors(config.bits),
    }
    write_report(config, out, numbers, gates, sets)
    return numbers


def separator(x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Weights and bias with `(2 y − 1)(w · x + b) ≥ 1` for all points; None if there are none.

    The weights of a perceptron that is right on finitely many points can be scaled until each
    point is at a distance of 1: the program has a solution exactly where such a perceptron exists.
    """
    rows = -(2 * y - 1)[:, None] * np.column_stack([x, np.ones(len(x))])
    solution = linprog(
        np.zeros(rows.shape[1]), A_ub=rows, b_ub=-np.ones(len(x)), bounds=(None, None)
    )
    if solution.status not in (0, 2):
        raise RuntimeError(f"the linear program ended with {solution.message}")
    return solution.x if solution.status == 0 else None


def gate(truth: tuple[int, ...]) -> dict[str, Any]:
    """Whether a gate is separable, and the perceptron that the rule trains on it."""
    y = np.array(truth, np.float32)
    fit = ops.train_perceptron(jnp.asarray(CORNERS), jnp.asarray(y), max_passes=100)
    return {
        "name": NAMES.get(truth, ""),
        "truth": " ".join(map(str, truth)),
        "separable": separator(CORNERS, y) is not None,
        "converged": bool(fit.separated),
        "weights": fit.weights.tolist(),
        "bias": float(fit.bias),
        "mistakes": int(fit.updates),
    }


def separable_sets(config: Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Margin, mistakes of the rule and their bound on sets of smaller and smaller margins."""
    rng = np.random.default_rng(config.seed)
    rows = []
    for margin in np.geomspace(0.3, 0.003, config.sets):
        angle = rng.uniform(0, 2 * np.pi)
        line = np.array([np.cos(angle), np.sin(angle), rng.uniform(-0.3, 0.3)])
        line /= np.linalg.norm(line)
        x = rng.uniform(-1, 1, (20 * config.points, 2))
        distance = np.column_stack([x, np.ones(len(x))]) @ line
        chosen = np.flatnonzero(np.abs(distance) > margin)[: config.points]
        x, y = x[chosen].astype(np.float32), (distance[chosen] > 0).astype(np.float32)
        fit = ops.train_perceptron(jnp.asarray(x), jnp.asarray(y), max_passes=10_000)
        gamma = np.min(np.abs(distance[chosen]))
        radius = np.max(np.hypot(1, np.linalg.norm(x, axis=1)))
        rows.append((gamma, int(fit.updates), (radius / gamma) ** 2))
    margins, mistakes, bounds = np.array(rows).T
    return margins, mistakes, bounds


def nand(a, b):
    """NAND of two bits by one perceptron, the only gate of the circuits."""
    return ops.perceptron(jnp.stack([a, b], axis=-1), jnp.array([-2.0, -2.0]), jnp.float32(3))


def xor(a, b):
    """XOR of two bits by four NANDs in three layers."""
    c = nand(a, b)
    return nand(nand(a, c), nand(b, c))


def full_adder(a, b, carry):
    """Sum and carry of three bits by nine NANDs."""
    c = nand(a, b)
    half = nand(nand(a, c), nand(b, c))
    d = nand(half, carry)
    return nand(nand(half, d), nand(carry, d)), nand(c, d)


@jax.jit
def add(a: jax.Array, b: jax.Array) -> jax.Array:
    """Adds numbers given as bits [bits, n], the lowest first; the result has one bit more."""
    carry, total = jnp.zeros_like(a[0]), []
    for x, y in zip(a, b, strict=True):
        digit, carry = full_adder(x, y, carry)
        total.append(digit)
    return jnp.stack([*total, carry])


def adder_errors(bits: int) -> int:
    """Number of wrong sums among those of all pairs of numbers with so many bits."""
    a, b = np.indices((2**bits, 2**bits)).reshape(2, -1)
    digits = np.arange(bits)[:, None]
    total = add(*(jnp.asarray((n >> digits) & 1, jnp.float32) for n in (a, b)))
    return int(np.sum((2 ** np.arange(bits + 1)) @ np.asarray(total) != a + b))


def write_report(config: Config, out: Path, numbers: dict, gates: list[dict], sets: tuple) -> None:
    """Draws the gates in their plane and the mistakes over the margin; writes the page."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    draw_gates(figures / "gates.svg")
    draw_mistakes(figures / "mistakes.svg", *sets)
    report.page(
        out / "report.html",
        title="The perceptron",
        summary="One perceptron divides the plane by a line. That computes 14 of the 16 gates of "
        "two inputs; XOR and its complement need a second layer.",
        numbers=numbers,
        sections=[
            gates_section(figures / "gates.svg", gates),
            Section(
                "The rule's mistakes",
                "During training the rule makes at most (R/γ)² mistakes, however many points "
                "there are and however often they are shown. Here it makes at most "
                f"{numbers['mistakes_over_bound']:.2g} of them.",
                figures=[Figure(figures / "mistakes.svg", "Each point is one set.")],
            ),
            circuits_section(config.bits, numbers["adder_errors"]),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def gates_section(figure: Path, gates: list[dict]) -> Section:
    """The 16 gates, and why no line separates two of them."""
    rows = [
        (r["truth"], r["name"], "yes", r["mistakes"], f"{r['weights']}, {r['bias']:g}")
        if r["converged"]
        else (r["truth"], r["name"], "no", None, "never ends")
        for r in gates
    ]
    return Section(
        "Gates",
        "For NAND some lines have the ones on one side and the zeros on the other. For XOR none "
        "has: the two pairs of opposite corners share their midpoint, so a line that has (0, 1) "
        "and (1, 0) on one side has one of (0, 0) and (1, 1) there, too. The linear program is "
        "infeasible.",
        figures=[
            Figure(figure, "Trained lines. Filled points are ones; a point on the line is a one.")
        ],
        table=Table(
            ("values at 00 01 10 11", "gate", "separable", "mistakes", "trained w, b"), rows
        ),
    )


def circuits_section(bits: int, errors: int) -> Section:
    """The sums that a circuit of NANDs computes."""
    return Section(
        "Circuits of NAND",
        f"XOR from four perceptrons; a full adder from nine; from {bits} of these in a chain, the "
        f"sums of all {4**bits:,} pairs of {bits}-bit numbers: {errors} are wrong.",
    )


def draw_gates(path: Path) -> None:
    """AND, OR and NAND with the trained lines; XOR has none."""
    with plot(path, height=1.5, columns=4) as axes:
        for ax, name in zip(axes, ("AND", "OR", "NAND", "XOR"), strict=True):
            truth = np.array(next(t for t, n in NAMES.items() if n == name), np.float32)
            fit = ops.train_perceptron(jnp.asarray(CORNERS), jnp.asarray(truth), max_passes=100)
            if fit.separated:
                (a, b), c = np.asarray(fit.weights), float(fit.bias)
                x = np.array([-0.5, 1.5])
                ax.plot(x, -(a * x + c) / b, color=color(1))
            for value, fill in ((0, PAPER), (1, INK)):
                points = CORNERS[truth == value].T
                ax.scatter(*points, s=28, facecolor=fill, edgecolor=INK, zorder=3)
            ax.set(title=name, xlim=(-0.5, 1.5), ylim=(-0.5, 1.5), aspect="equal")
            ax.set(xticks=[0, 1], yticks=[0, 1])


def draw_mistakes(
    path: Path, margins: np.ndarray, mistakes: np.ndarray, bounds: np.ndarray
) -> None:
    """Mistakes of each set over its margin, below the bound."""
    with plot(path, height=2.8) as (ax,):
        ax.loglog(margins, bounds, label="(R/γ)², the bound")
        ax.loglog(margins, mistakes, "o", ms=4, label="measured")
        ax.set(xlabel="margin γ", ylabel="mistakes")
        ax.legend()
