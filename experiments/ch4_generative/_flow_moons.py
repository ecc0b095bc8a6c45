"""Flows in the plane: two moons, whose true density is known."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from _common import parameters
from flax import nnx

from lectures_jax import data, objectives, train
from lectures_jax.models.flow import coupling_flow
from lectures_jax.nn.transforms import Affine, Spline
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import MUTED, color, plot

SIZES = {  # transform, couplings, hidden layers
    "affine": (Affine(), 8, (64, 64)),
    "spline": (Spline(bins=8, bound=4.0), 4, (64, 64)),
}
ENTROPY = 1.0076  # nats, by quadrature: tests/data/test_toys.py
VIEW = ((-1.6, 2.6), (-1.2, 1.7))


class Learnt(NamedTuple):
    """A flow of the two moons.

    Attributes:
        model: the flow.
        excess: nats of its cross-entropy above the entropy, on points that it never saw.
        deviation: standard error of `excess`.
        seconds: processor time of the training.
        history: of the training.
    """

    model: Any
    excess: float
    deviation: float
    seconds: float
    history: list


def learn_moons(key: jax.Array, kind: str, *, steps: int, batch_size: int, points: int) -> Learnt:
    """Trains a flow on fresh points of the two moons, and measures it on others.

    Args:
        key: of parameters, training and test points.
        kind: of `SIZES`.
        steps: of the training.
        batch_size: points per step.
        points: of the test.
    """
    key_init, key_data, key_train, key_test = jax.random.split(key, 4)
    transform, layers, hidden = SIZES[kind]
    flow = coupling_flow(
        2, transform=transform, layers=layers, hidden=hidden, rngs=nnx.Rngs(key_init)
    )
    rate = optax.cosine_decay_schedule(2e-3, steps)
    start = time.process_time()
    model, history = train.fit(
        key_train,
        flow,
        objectives.flow,
        # As one vector: arrays as small as these cost Adam more kernels than the flow has.
        optax.flatten(optax.chain(optax.clip_by_global_norm(5.0), optax.adam(rate))),
        fresh(key_data, steps, batch_size),
        steps=steps,
        ema_decay=0.998,
    )
    seconds = time.process_time() - start
    x = np.asarray(data.two_moons(key_test, count=points)["x"])
    difference = truth(x) - log_prob(model, x)
    error = float(difference.std() / points**0.5)
    return Learnt(model, float(difference.mean()), error, seconds, history)


def fresh(key: jax.Array, steps: int, size: int) -> Iterator[dict[str, np.ndarray]]:
    """Batches of points of which none comes twice."""
    for number in range(0, steps, 500):
        points = data.two_moons(jax.random.fold_in(key, number), count=500 * size)["x"]
        yield from ({"x": x} for x in np.asarray(points).reshape(-1, size, 2))


_truth = jax.jit(data.two_moons_log_prob)


def truth(x: np.ndarray) -> np.ndarray:
    """The true log-density."""
    return in_parts(_truth, x)


@nnx.jit
def _log_prob(model: Any, x: jax.Array) -> jax.Array:
    return model.log_prob(x)


@nnx.jit
def _inverse(model: Any, z: jax.Array) -> jax.Array:
    return model.inverse(z)[0]


def log_prob(model: Any, x: np.ndarray) -> np.ndarray:
    """The model's log-density."""
    return in_parts(partial(_log_prob, model), x)


def inverse(model: Any, z: np.ndarray) -> np.ndarray:
    """Points of the plane that the model maps to z."""
    return in_parts(partial(_inverse, model), z)


def in_parts(function: Callable[[np.ndarray], Any], x: np.ndarray, size: int = 2000) -> np.ndarray:
    """The function of each row, always of `size` rows at a time, so that it is compiled once."""
    parts = []
    for start in range(0, len(x), size):
        part = x[start : start + size]
        padded = np.pad(part, [(0, size - len(part))] + [(0, 0)] * (x.ndim - 1))
        parts.append(np.asarray(function(padded))[: len(part)])
    return np.concatenate(parts)


def moons_section(found: dict[str, Learnt], figures: Path) -> Section:
    """Densities, samples, the plane's warping, and the table."""
    models = {kind: learnt.model for kind, learnt in found.items()}
    draw_densities(models, figures / "density.svg")
    draw_samples(models, figures / "samples.svg")
    draw_warp(models, figures / "warp.svg")
    rows = [
        (kind, ENTROPY + one.excess, one.excess, one.deviation, parameters(one.model), one.seconds)
        for kind, one in found.items()
    ]
    header = ("couplings", "cross-entropy, nats", "above the entropy", "±", "parameters", "CPU-s")
    return Section(
        "Two moons",
        f"The entropy of the two moons is {ENTROPY} nats: no density can code fresh points in "
        "less. Affine couplings stretch and shift; they must bridge the gap between the moons, and "
        "leave a thread of density there. Splines bend each coordinate and cut the thread almost.",
        figures=[
            Figure(figures / "density.svg", "Density: the true one, and what was learnt."),
            Figure(figures / "samples.svg", "Data, and as many samples of each flow."),
            Figure(figures / "warp.svg", "Where circles and rays of the normal plane go."),
        ],
        table=Table(header, rows),
    )


def draw_densities(models: dict[str, Any], path: Path) -> None:
    (x0, x1), (y0, y1) = VIEW
    x, y = np.meshgrid(np.linspace(x0, x1, 180), np.linspace(y0, y1, 120))
    grid = np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32)
    found = {"true": truth(grid)}
    found |= {kind: log_prob(model, grid) for kind, model in models.items()}
    with plot(path, columns=len(found), height=1.6) as axes:
        for ax, (name, values) in zip(axes, found.items(), strict=True):
            density = np.exp(values).reshape(x.shape)
            ax.imshow(
                density, origin="lower", extent=(x0, x1, y0, y1), cmap="magma", vmin=0, vmax=0.6
            )
            _bare(ax, name)


def draw_samples(models: dict[str, Any], path: Path) -> None:
    key = jax.random.key(1)
    z = np.asarray(jax.random.normal(key, (1500, 2)))
    found = {"data": data.two_moons(key, count=1500)["x"]}
    found |= {kind: inverse(model, z) for kind, model in models.items()}
    with plot(path, columns=len(found), height=1.6) as axes:
        for i, (ax, (name, points)) in enumerate(zip(axes, found.items(), strict=True)):
            ax.plot(*np.asarray(points).T, ".", color=color(i), ms=1.2, mew=0)
            _bare(ax, name)


def draw_warp(models: dict[str, Any], path: Path) -> None:
    turn, reach = np.linspace(0, 2 * np.pi, 400), np.linspace(0, 3, 400)
    radii, angles = (0.5, 1.0, 1.5, 2.0, 2.5), np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=-1)
    spokes = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    lines = [radius * ring for radius in radii] + [reach[:, None] * spoke for spoke in spokes]
    with plot(path, columns=len(models), height=1.9) as axes:
        for ax, (name, model) in zip(axes, models.items(), strict=True):
            points = inverse(model, np.concatenate(lines).astype(np.float32))
            for i, line in enumerate(points.reshape(len(lines), -1, 2)):
                circle = i < len(radii)
                shade = color(i) if circle else MUTED
                ax.plot(*line.T, color=shade, lw=0.9 if circle else 0.4)
            _bare(ax, name)


def _bare(ax: Any, name: str) -> None:
    """No ticks, equal units, the same part of the plane everywhere."""
    ax.set(xlim=VIEW[0], ylim=VIEW[1], xticks=[], yticks=[], aspect="equal")
    ax.set_title(name, fontsize=8.5)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
