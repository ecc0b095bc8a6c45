"""A GAN covers 11 of 25 Gaussians; R1, R2 and a relativistic loss mend it. CPU, 3 min; covered 25.

The generator of the usual GAN draws what fools the discriminator now, and that may be a few of the
modes. The method of Huang et al. (2024), sec. 3, changes two things: the loss compares a generated
point with a real one (relativistic), and the discriminator's gradient is penalized at real and at
generated points (R1 and R2). Each is measured alone as well. A mode is covered if a point lies
within three standard deviations of its center.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from lectures_jax import data, metrics, report, runtime, train
from lectures_jax.models.gan import Gan
from lectures_jax.models.mlp import Mlp
from lectures_jax.recipes import gan
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot

EXPECTED = {
    "covered": (24, None),
    "covered_plain": (None, 16),
    "covered_more": (9, None),
    "least_mode": (0.02, None),
}
TINY = {"steps": 2, "batch_size": 8, "hidden": 4, "count": 64, "seeds": 1}
METHODS: dict[
    str, tuple[gan.Loss, bool]
] = {  # of `gan.LOSSES`, and whether the gradient is penalized
    "plain": ("non-saturating", False),
    "relativistic": ("relativistic", False),
    "R1 and R2": ("non-saturating", True),
    "relativistic, R1 and R2": ("relativistic", True),
}
DEVIATION = 0.05  # of each Gaussian; the centers are 2 apart
UNIT = 2.0  # the networks see points in this unit, within the reach of their first parameters


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    side: int = 5
    """Gaussians in a row of the grid"""
    steps: int = 2500
    """of the generator, and as many of the discriminator"""
    batch_size: int = 128
    """real points per step"""
    hidden: int = 128
    """units of the three hidden layers of each network"""
    latent: int = 2
    """normal numbers that a point is drawn from"""
    penalty: float = 0.02
    """γ of R1 and R2; parting narrow modes takes steep gradients, which it must allow"""
    learning_rate: float = 3e-3
    """of Adam, both players; falls to 0 in the last half"""
    count: int = 2500
    """points that are drawn to measure"""
    seeds: int = 3
    """games of each method"""
    seed: int = 0
    """the first of them: of parameters, order and noise"""


class Game(NamedTuple):
    """What one game ended with: points drawn, their share of each mode, and the way there."""

    points: np.ndarray
    shares: np.ndarray
    history: list


def run(config: Config, out: Path) -> dict[str, float]:
    """Plays all games, counts the modes that are covered, and writes the report."""
    seeds = range(config.seed, config.seed + config.seeds)
    games = {
        name: [play(config, name, seed, out / name.replace(" ", "_") / str(seed)) for seed in seeds]
        for name in METHODS
    }
    table = {name: [scores(game.shares) for game in of_name] for name, of_name in games.items()}
    cured, plain = (
        [row["covered"] for row in table[name]] for name in (list(METHODS)[-1], "plain")
    )
    numbers = {
        "covered": float(np.mean(cured)),
        "covered_plain": float(np.mean(plain)),
        "covered_more": float(min(cured) - max(plain)),
        "good": float(np.mean([row["good"] for row in table[list(METHODS)[-1]]])),
        "least_mode": float(np.mean([row["least"] for row in table[list(METHODS)[-1]]])),
    }
    write_report(config, out, games, table, numbers)
    return numbers


def play(config: Config, name: str, seed: int, out: Path) -> Game:
    """Trains a generator against a discriminator by one of the methods."""
    key_init, key_data, key_train, key_z = jax.random.split(jax.random.key(seed), 4)
    rngs, hidden = nnx.Rngs(key_init), (config.hidden,) * 3
    nets = [Mlp(sizes, rngs=rngs) for sizes in ((config.latent, *hidden, 2), (2, *hidden, 1))]
    x = data.gaussian_grid(key_data, count=20_000, side=config.side, deviation=DEVIATION)["x"]
    loss, penalized = METHODS[name]
    penalty = config.penalty if penalized else 0.0
    settings = gan.Settings(
        loss=loss,
        r1=penalty,
        r2=penalty,
        steps=config.steps,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
    )
    z = jax.random.normal(key_z, (config.count, config.latent))
    out.mkdir(parents=True, exist_ok=True)
    model, history = train.fit_adversarial(
        key_train,
        Gan(*nets, latent=config.latent),
        *gan.players(settings),
        data.batches({"image": np.asarray(x) / UNIT}, batch_size=config.batch_size, seed=seed),
        steps=config.steps,
        out=out,
        ema_decay=settings.ema_decay,
        evaluate=partial(covered_now, config, z),
        evaluate_every=max(config.steps // 10, 1),
        log_every=max(config.steps // 5, 1),
    )
    points = draw(model, z)
    return Game(points, mode_shares(points, config.side), history)


def draw(model: Any, z: jax.Array) -> np.ndarray:
    """Points of the generator, in the unit of the data."""
    return UNIT * train.predict(model.generator, z)


def covered_now(config: Config, z: jax.Array, model: Any) -> dict[str, float]:
    """How many modes a generator covers during the training."""
    modes = data.grid_modes(side=config.side)
    return {
        "covered": float(metrics.mode_coverage(draw(model, z), modes, deviation=DEVIATION).modes)
    }


def mode_shares(points: np.ndarray, side: int) -> np.ndarray:
    """The share of the points that lie within three standard deviations of each center."""
    centers = np.asarray(data.grid_modes(side=side))
    distances = np.linalg.norm(points[:, None] - centers, axis=-1)
    return np.mean(distances <= 3 * DEVIATION, axis=0)


def scores(shares: np.ndarray) -> dict[str, float]:
    """Modes covered, share of good points, and the rarest mode's points over an equal share."""
    good = shares.sum()
    least = shares.min() * len(shares) / good if good else 0.0
    return {"covered": float((shares > 0).sum()), "good": float(good), "least": float(least)}


def write_report(
    config: Config,
    out: Path,
    games: dict[str, list[Game]],
    table: dict[str, list[dict[str, float]]],
    numbers: dict[str, float],
) -> None:
    """Writes `report.html`."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    count = config.side**2
    draw_points(config, games, figures / "points.svg")
    draw_covered(games, count, figures / "covered.svg")
    report.page(
        out / "report.html",
        title="Mode collapse",
        summary=f"Of {count} narrow Gaussians the usual GAN covers {numbers['covered_plain']:.1f}; "
        f"with a relativistic loss, R1 and R2 it covers {numbers['covered']:.1f}.",
        numbers={
            f"of {count} covered, relativistic, R1 and R2": numbers["covered"],
            "covered, plain": numbers["covered_plain"],
            "share of good points": numbers["good"],
        },
        sections=[
            points_section(count, table, figures),
            Section(
                "During the training",
                "Without the penalty the game loses modes that it had covered: the generator "
                "follows the discriminator from one to the next. With the penalty it loses some "
                "in the first thousand steps, and then covers more and more.",
                figures=[
                    Figure(figures / "covered.svg", "Modes covered; one line for each seed."),
                ],
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def points_section(count: int, table: dict[str, list[dict[str, float]]], figures: Path) -> Section:
    """What the games of one seed draw, and the scores of all."""

    def column(rows: Sequence[dict[str, float]], score: str, digits: int) -> str:
        return report.mean_and_deviation([row[score] for row in rows], digits=digits)

    return Section(
        f"{count} Gaussians",
        "A generator that misses modes leaves circles empty; one that cannot part them draws "
        "points between. It is the penalty that covers the modes; the relativistic loss alone "
        "covers no more than the plain one, and with the penalty the last of them. 'Good' is the "
        "share of points within three standard deviations of a center, 'rarest mode' the good "
        "points at the mode that has fewest, over an equal share: the modes are covered, but not "
        "in equal shares, and a continuous generator leaves points on the way between them.",
        figures=[
            Figure(figures / "points.svg", "Points of the first seed; circles mark the centers.")
        ],
        table=Table(
            ("method", f"covered of {count}", "good", "rarest mode"),
            [
                (
                    name,
                    column(rows, "covered", 1),
                    column(rows, "good", 2),
                    column(rows, "least", 2),
                )
                for name, rows in table.items()
            ],
        ),
    )


def draw_points(config: Config, games: dict[str, list[Game]], path: Path) -> None:
    """The points of each method's first game."""
    centers = np.asarray(data.grid_modes(side=config.side))
    edge = config.side + 0.5
    with plot(path, rows=2, columns=2, height=5.2) as axes:
        for ax, (name, (game, *_)) in zip(axes, games.items(), strict=True):
            ax.scatter(*game.points.T, s=1.5, lw=0, color=color(0), rasterized=True)
            ax.scatter(*centers.T, s=30, fc="none", ec=INK, lw=0.5)
            ax.set(xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal")
            ax.set_title(f"{name}: {scores(game.shares)['covered']:.0f}", fontsize=8.5)
            ax.grid(visible=False)


def draw_covered(games: dict[str, list[Game]], count: int, path: Path) -> None:
    """Modes covered over the steps."""
    with plot(path, height=3.0) as (ax,):
        for i, (name, of_name) in enumerate(games.items()):
            for game in of_name:
                rows = [row for row in game.history if "covered" in row]
                steps, covered = zip(*((row["step"], row["covered"]) for row in rows), strict=True)
                label = name if game is of_name[0] else None
                ax.plot(steps, covered, color=color(i), lw=1.2, label=label)
        ax.axhline(count, color=INK, lw=0.6, ls=":")
        ax.set(xlabel="step", ylabel="modes covered", ylim=(0, None))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=7.5)
