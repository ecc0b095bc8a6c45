"""One perceptron decides 14 of 16 gates, a circuit all. CPU, 10 s; errors 0.

A linear programme says which of the 16 gates of two inputs a perceptron can compute: for XOR and
its complement it has no solution, so that no learning rule can find one. The perceptron's rule
finds each of the others. NAND alone, wired up, then computes XOR and adds numbers.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linprog

from lectures_jax import ops, report, runtime
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, PAPER, color, plot

TINY = {"sets": 3, "points": 50, "bits": 2}

CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
NAMES = {
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
    """Asks the linear programme, learns the gates, measures the bound, tests the circuits."""
    gates = [gate(truth) for truth in np.ndindex(2, 2, 2, 2)]
    margins, mistakes, bounds = separable_sets(config)
    xor_errors = int(np.sum(np.asarray(xor(*CORNERS.T)) != [0, 1, 1, 0]))
    numbers = {
        "separable_gates": sum(row["separable"] for row in gates),
        "learnt_gates": sum(row["learnt"] for row in gates),
        "mistakes_over_bound": float(np.max(mistakes / bounds)),
        "xor_errors": xor_errors,
        "adder_errors": adder_errors(config.bits),
    }
    expected = {"separable_gates": 14, "learnt_gates": 14, "xor_errors": 0, "adder_errors": 0}
    write_report(config, out, numbers, gates, (margins, mistakes, bounds))
    if numbers["mistakes_over_bound"] > 1 or any(numbers[k] != v for k, v in expected.items()):
        raise RuntimeError(f"expected {expected} and at most the bound, got {numbers}.")
    return numbers


def separator(x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Weights and bias with `(2 y − 1)(w · x + b) ≥ 1` for all points; None if there are none.

    A perceptron that decides finitely many points, scaled up, keeps every one at 1: the programme
    has a solution exactly where a perceptron exists.
    """
    rows = -(2 * y - 1)[:, None] * np.column_stack([x, np.ones(len(x))])
    found = linprog(np.zeros(rows.shape[1]), A_ub=rows, b_ub=-np.ones(len(x)), bounds=(None, None))
    if found.status not in (0, 2):
        raise RuntimeError(f"the linear programme ended with {found.message}")
    return found.x if found.status == 0 else None


def gate(truth: tuple[int, ...]) -> dict[str, object]:
    """Whether a gate is separable, and what the rule learns of it."""
    y = np.array(truth, np.float32)
    fit = ops.train_perceptron(jnp.asarray(CORNERS), jnp.asarray(y), max_passes=100)
    return {
        "name": NAMES.get(truth, ""),
        "truth": " ".join(map(str, truth)),
        "separable": separator(CORNERS, y) is not None,
        "learnt": bool(fit.separated),
        "weights": fit.weights.tolist(),
        "bias": float(fit.bias),
        "mistakes": int(fit.updates),
    }


def separable_sets(config: Config) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Margin, mistakes of the rule and their bound on sets that are closer and closer."""
    rng = np.random.default_rng(config.seed)
    rows = []
    for margin in np.geomspace(0.3, 0.003, config.sets):
        angle = rng.uniform(0, 2 * np.pi)
        line = np.array([np.cos(angle), np.sin(angle), rng.uniform(-0.3, 0.3)])
        line /= np.linalg.norm(line)
        x = rng.uniform(-1, 1, (20 * config.points, 2))
        distance = np.column_stack([x, np.ones(len(x))]) @ line
        kept = np.flatnonzero(np.abs(distance) > margin)[: config.points]
        x, y = x[kept].astype(np.float32), (distance[kept] > 0).astype(np.float32)
        fit = ops.train_perceptron(jnp.asarray(x), jnp.asarray(y), max_passes=10_000)
        gamma, radius = (
            np.min(np.abs(distance[kept])),
            np.max(np.hypot(1, np.linalg.norm(x, axis=1))),
        )
        rows.append((gamma, int(fit.updates), (radius / gamma) ** 2))
    return tuple(np.array(rows).T)


def nand(a, b):
    """The only gate of the circuits: one perceptron."""
    return ops.perceptron(jnp.stack([a, b], axis=-1), jnp.array([-2.0, -2.0]), jnp.float32(3))


def xor(a, b):
    """Four NANDs, in three layers."""
    c = nand(a, b)
    return nand(nand(a, c), nand(b, c))


def full_adder(a, b, carry):
    """Nine NANDs: the sum of three bits, and what is carried on."""
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
    """How many of all the sums of two numbers of so many bits are wrong."""
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
    rows = [
        (r["truth"], r["name"], "yes", r["mistakes"], f"{r['weights']}, {r['bias']:g}")
        if r["learnt"]
        else (r["truth"], r["name"], "no", None, "never ends")
        for r in gates
    ]
    pairs = 4**config.bits
    report.page(
        out / "report.html",
        title="The perceptron",
        summary="One perceptron divides the plane by a line. That decides 14 of the 16 gates of "
        "two inputs; XOR and its complement need a second layer.",
        numbers=numbers,
        sections=[
            Section(
                "Gates",
                "For NAND some lines have the ones on one side and the zeros on the other. For XOR "
                "none has: the two pairs of opposite corners share their midpoint, so a line that "
                "has (0, 1) and (1, 0) on one side has one of (0, 0) and (1, 1) there, too. The "
                "linear programme is infeasible.",
                figures=[
                    Figure(
                        figures / "gates.svg",
                        "Learnt lines. Filled points are ones; on the line counts as one.",
                    )
                ],
                table=Table(
                    ("values at 00 01 10 11", "gate", "separable", "mistakes", "learnt w, b"), rows
                ),
            ),
            Section(
                "The rule's mistakes",
                "While it learns, the rule makes at most (R/γ)² mistakes, however many points "
                "there are and however often they are shown. Here it stays far below.",
                figures=[Figure(figures / "mistakes.svg", "Each point is one set.")],
            ),
            Section(
                "Circuits of NAND",
                f"XOR from four perceptrons; a full adder from nine; from {config.bits} of these "
                f"in a chain, the sums of all {pairs:,} pairs of {config.bits}-bit numbers: "
                f"{numbers['adder_errors']} are wrong.",
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def draw_gates(path: Path) -> None:
    """AND, OR and NAND with the lines that the rule found; XOR without one."""
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


def draw_mistakes(path: Path, margins, mistakes, bounds) -> None:
    with plot(path, height=2.8) as (ax,):
        ax.loglog(margins, bounds, label="(R/γ)², the bound")
        ax.loglog(margins, mistakes, "o", ms=4, label="measured")
        ax.set(xlabel="margin γ", ylabel="mistakes")
        ax.legend()
