"""A GAN turns around its equilibrium; a penalty leads it there. CPU, 10 s; distance by R1 0.

The Dirac-GAN of Mescheder et al. (2018): the data are the point 0, the generator draws the point θ,
and the discriminator is D(x) = ψ x; the equilibrium is θ = ψ = 0. Both players' steps together are
at right angles to the way there, so that the plain game turns around it. A penalty on the gradient
of the discriminator at the data (R1) damps it; one that wants a gradient of 1 keeps it away.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lectures_jax import losses, report, runtime
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot
from lectures_jax.typing import Key

TINY = {"steps": 2}
EXPECTED = {
    "plain_distance": (0.65, 0.77),
    "plain_turns": (6, 9),
    "Wasserstein_distance": (0.95, 1.05),
    "R1_distance": (None, 1e-5),
    "gradient_penalty_distance": (1, None),
}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    steps: int = 2000
    """of both players"""
    rate: float = 0.05
    """of their gradient descent, constant"""
    start: tuple[float, float] = (0.2, 0.2)
    """θ and ψ"""
    penalty: float = 1.0
    """γ: half of it is the weight of a penalty"""
    alternating: bool = True
    """whether the generator sees the discriminator's step before its own"""
    seed: int = 0
    """of the points where the gradient is penalized; without effect, as it is ψ at all of them"""


class Method(NamedTuple):
    """The losses of both players, and what is added to the discriminator's."""

    discriminator: Callable[..., Array]
    generator: Callable[..., Array]
    penalty: Callable[[Key, Callable[..., Array], Array, Array], Array] | None = None


def r1(key: Key, discriminator: Callable[..., Array], real: Array, fake: Array) -> Array:
    """R1: the gradient at the data."""
    return losses.r1_penalty(discriminator, real)


non_saturating = partial(Method, losses.discriminator_minimax, losses.generator_non_saturating)
wasserstein = partial(Method, losses.discriminator_wasserstein, losses.generator_wasserstein)
METHODS = {
    "plain": non_saturating(),
    "Wasserstein": wasserstein(),
    "R1": non_saturating(r1),
    "gradient penalty": wasserstein(losses.gradient_penalty),
}


def run(config: Config, out: Path) -> dict[str, float]:
    """Plays all games, and writes the report."""
    if not any(config.start):
        raise ValueError("--start: expected a point other than the equilibrium, got 0 0.")
    games = {name: np.asarray(play(config, method)) for name, method in METHODS.items()}
    table = {name: score(config, points) for name, points in games.items()}
    numbers = {
        f"{name.replace(' ', '_')}_{key}": value
        for name, scores in table.items()
        for key, value in scores.items()
    }
    report.page(
        out / "report.html",
        title="The Dirac-GAN",
        summary=f"{config.steps} steps of both players from θ = {config.start[0]:g}, "
        f"ψ = {config.start[1]:g}; the equilibrium is at 0.",
        numbers={f"last over first distance, {name}": x["distance"] for name, x in table.items()},
        sections=[
            turns_section(games, table, out / "turns.svg"),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def play(config: Config, method: Method) -> Float[Array, "t 2"]:
    """The points (θ, ψ) of a game, from the first."""
    real = jnp.zeros(1)

    def loss(psi: Array, theta: Array, key: Key) -> Array:
        value = method.discriminator(psi * real, psi * theta[None])
        if method.penalty is not None:
            gradient = method.penalty(key, lambda x: psi * x, real, theta[None])
            value += config.penalty / 2 * gradient
        return jnp.sum(value)

    def step(point: tuple[Array, Array], key: Key) -> tuple[tuple[Array, Array], Array]:
        theta, psi = point
        new_psi = psi - config.rate * jax.grad(loss)(psi, theta, key)
        seen = new_psi if config.alternating else psi
        gradient = jax.grad(lambda theta: jnp.sum(method.generator(seen * theta[None])))(theta)
        return (theta - config.rate * gradient, new_psi), jnp.stack(point)

    keys = jax.random.split(jax.random.key(config.seed), config.steps)
    theta, psi = (jnp.float32(x) for x in config.start)
    return jax.lax.scan(step, (theta, psi), keys)[1]


def score(config: Config, points: np.ndarray) -> dict[str, float]:
    """The last distance from the equilibrium over the first, and the turns around it."""
    distance = np.hypot(*points.T)
    return {
        "distance": float(distance[-1] / distance[0]),
        "turns": float(np.count_nonzero(np.diff(np.sign(points[:, 0]))) / 2),
    }


def turns_section(
    games: dict[str, np.ndarray], table: dict[str, dict[str, float]], path: Path
) -> Section:
    """The ways of all games."""
    with plot(path, rows=2, columns=2, height=5.4) as axes:
        for number, (ax, (name, points)) in enumerate(zip(axes, games.items(), strict=True)):
            ax.plot(*points.T, color=color(number), lw=0.8)
            ax.plot(*points[0], "o", color=color(number), ms=5)
            ax.plot(0, 0, "+", color=INK, ms=9)
            ax.set(xlabel="θ, of the generator", ylabel="ψ, of the discriminator", title=name)
            ax.set_aspect("equal", "datalim")
    rows = [(name, f"{x['distance']:.2g}", f"{x['turns']:g}") for name, x in table.items()]
    far = [row[1] for row in rows]
    return Section(
        "Turns",
        f"The Wasserstein game turns around the equilibrium, the cross, and ends at {far[1]} of "
        f"its first distance. The plain one, which is non-saturating, comes nearer ever more "
        f"slowly: {far[0]}. R1 penalizes the gradient of the discriminator at the data, which is "
        f"0 at the equilibrium: {far[2]}. The gradient penalty of a Wasserstein GAN asks for a "
        f"gradient of 1, which the equilibrium does not have: {far[3]}.",
        figures=[Figure(path, "A game begins at its dot.")],
        table=Table(("game", "last distance over the first", "turns"), rows),
    )
