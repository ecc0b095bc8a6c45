"""A flow leaves a thread between two moons, a mixture of two none. CPU, 2 min; off the data 0.04.

An invertible map takes the connected normal plane to a connected one, and so cannot part the moons:
some of its samples lie between them, and the fewer they are, the steeper the map must be. A flow of
which a coin chooses one of two, one for each moon, is not invertible; it has as many parameters,
but is trained with the moons' labels. Off the data: where the true density is less than at 999 of
1000 real points.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from scipy.special import ndtr, ndtri

from lectures_jax import data, objectives, report, runtime, train
from lectures_jax.models.flow import Flow, coupling_flow
from lectures_jax.nn.parameters import count_parameters
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot

EXPECTED = {
    "off_flow": (0.01, None),
    "off_mixture": (None, 0.015),
    "off_less": (0.005, None),
    "steeper": (1.2, None),
}
TINY = {"depths": (2,), "steps": 2, "hidden": 4, "count": 64, "seeds": 1}
KINDS = {"flow": 0, "mixture": 2}  # and the flows that each is a mixture of
NOISE = 0.05  # of the moons


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    depths: tuple[int, ...] = (2, 4, 8)
    """affine couplings of the flows"""
    steps: int = 1500
    """of each training"""
    batch_size: int = 256
    """points per step"""
    hidden: int = 32
    """units of the two hidden layers of each coupling; one more without the coin"""
    learning_rate: float = 3e-3
    """highest of Adam's; falls to 0"""
    count: int = 4000
    """points that are drawn to measure"""
    seeds: int = 3
    """flows of each kind"""
    seed: int = 0
    """the first of them: of parameters, points and order"""


class Measured(NamedTuple):
    """What a flow draws, which of it is off the data, and how steep its map is."""

    points: np.ndarray
    off: np.ndarray
    steepness: float
    least: float
    log_det: float
    nll: float
    parameters: int


Results = dict[tuple[str, int], list[Measured]]
"""Of the seeds, by kind and depth."""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains all flows, measures what they draw, and writes the report."""
    real = data.two_moons(jax.random.key(1), count=config.count, noise=NOISE)
    points, labels = np.asarray(real["x"]), np.asarray(real["labels"])
    limit = float(np.quantile(true_log_prob(points), 1e-3))
    width = gap_width(
        points[true_log_prob(points) >= limit], labels[true_log_prob(points) >= limit]
    )
    results: Results = {}
    for kind in KINDS:
        for depth in config.depths:
            results[kind, depth] = [
                measure(config, train_flow(config, kind, depth, seed, out), points, limit, width)
                for seed in range(config.seed, config.seed + config.seeds)
            ]
    first, last = config.depths[0], config.depths[-1]
    numbers = {f"off_{kind}": mean_of(results[kind, last], "off") for kind in KINDS}
    numbers |= {f"steepness_{kind}": mean_of(results[kind, last], "steepness") for kind in KINDS}
    flows, mixtures = ([row.off.mean() for row in results[kind, last]] for kind in KINDS)
    numbers["off_less"] = float(min(flows) - max(mixtures))
    steepest = mean_of(results["flow", first], "steepness")
    numbers["steeper"] = numbers["steepness_flow"] / steepest
    write_report(config, out, points, results, numbers)
    return numbers


def mean_of(rows: list[Measured], name: str) -> float:
    """The mean of a measure over the seeds."""
    return float(np.mean([np.mean(getattr(row, name)) for row in rows]))


_true_log_prob = jax.jit(lambda x: data.two_moons_log_prob(x, noise=NOISE))


def true_log_prob(x: np.ndarray) -> np.ndarray:
    """The log-density of the data at points [n, 2], in nats."""
    return np.asarray(_true_log_prob(x))


def gap_width(points: np.ndarray, labels: np.ndarray) -> float:
    """The least distance of two points of different labels."""
    one, other = (points[labels == label] for label in (0, 1))
    return float(min(np.linalg.norm(other - point, axis=1).min() for point in one))


def least_share(width: float, steepness: float, share: float = 0.5) -> float:
    """The least share of samples between two regions that hold `share` and what is left.

    A map of the normal plane whose gradient is at most `steepness` takes no point nearer than
    width / steepness from one region's codes to the other region. Of all sets of codes with the
    same share a half plane has the fewest points so near.

    Source:
        Sudakov & Tsirelson (1978), Borell (1975): the Gaussian isoperimetric inequality.
    """
    return float(ndtr(ndtri(share) + width / steepness) - share)


def build(config: Config, kind: str, depth: int, seed: int) -> Flow:
    """A flow; one of two by a coin has a unit less in each layer, for as many parameters."""
    hidden = config.hidden + (0 if KINDS[kind] else 1)
    return coupling_flow(
        2, layers=depth, hidden=(hidden, hidden), classes=KINDS[kind], rngs=nnx.Rngs(seed)
    )


def train_flow(config: Config, kind: str, depth: int, seed: int, out: Path) -> Flow:
    """Trains on the likelihood of the points, of a mixture given the moon that each is from."""
    folder = out / f"{kind}{depth}" / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    moons = data.two_moons(jax.random.key(100 + seed), count=50_000, noise=NOISE)
    points = {"x": np.asarray(moons["x"])}
    if KINDS[kind]:
        points["condition"] = np.asarray(moons["labels"])
    rate = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    return train.fit(
        jax.random.key(seed),
        build(config, kind, depth, seed),
        objectives.flow,
        # As one vector: arrays as small as these cost Adam more kernels than the flow has.
        optax.flatten(optax.chain(optax.clip_by_global_norm(5.0), optax.adam(rate))),
        data.batches(points, batch_size=config.batch_size, seed=seed),
        steps=config.steps,
        out=folder,
        ema_decay=0.998,
        log_every=max(config.steps // 3, 1),
    )[0]


def measure(config: Config, model: Flow, real: np.ndarray, limit: float, width: float) -> Measured:
    """Draws points, and the map's steepness where they come from."""
    key_z, key_coin = jax.random.split(jax.random.key(7))
    z = jax.random.normal(key_z, (config.count, 2))
    coin = jax.random.bernoulli(key_coin, 0.5, (config.count,)).astype(jnp.int32)
    structure, state = nnx.split(model)

    def draw(z: jax.Array, coin: jax.Array) -> tuple[jax.Array, jax.Array]:
        flow: Any = nnx.merge(structure, state)
        x, log_det = flow.inverse(z[None], coin[None] if flow.classes else None)
        return x[0], log_det[0]

    def with_steepness(z: jax.Array, coin: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        (x, log_det), jacobian = draw(z, coin), jax.jacfwd(lambda z: draw(z, coin)[0])(z)
        return x, log_det, jnp.linalg.norm(jacobian, ord=2)

    x, log_det, steepness = jax.jit(jax.vmap(with_steepness))(z, coin)
    steepest = float(np.max(steepness))
    nll = -train.predict(model, real, function=Flow.log_prob, batch_size=2000).mean()
    return Measured(
        points=np.asarray(x),
        off=true_log_prob(np.asarray(x)) < limit,
        steepness=steepest,
        least=least_share(width, steepest),
        log_det=float(np.ptp(log_det)),
        nll=float(nll + true_log_prob(real).mean()),
        parameters=count_parameters(model),
    )


def write_report(
    config: Config, out: Path, real: np.ndarray, results: Results, numbers: dict[str, float]
) -> None:
    """Writes `report.html`."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    last = config.depths[-1]
    draw_threads(real, {kind: results[kind, last][0] for kind in KINDS}, figures / "threads.svg")
    draw_depths(config, results, figures / "depths.svg")
    report.page(
        out / "report.html",
        title="A thread between two moons",
        summary="An invertible map of a connected plane cannot part what it draws: "
        f"{numbers['off_flow']:.1%} of a flow's samples are off the data, of those of a mixture "
        f"of two flows {numbers['off_mixture']:.1%}.",
        numbers={
            "off the data, flow": numbers["off_flow"],
            "off the data, mixture": numbers["off_mixture"],
            "steepest place of the flow": numbers["steepness_flow"],
        },
        sections=[
            Section(
                "The thread",
                "Points that are drawn, orange where they are off the data. The flow's moons hang "
                "together by a thread; the mixture draws each moon by a map of its own.",
                figures=[Figure(figures / "threads.svg", f"{last} couplings, first seed.")],
            ),
            depths_section(config, results, figures),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def depths_section(config: Config, results: Results, figures: Path) -> Section:
    """What changes with the depth."""
    columns = {"off": 4, "least": 4, "steepness": 1, "log_det": 1, "nll": 2}
    rows = [
        (
            f"{kind}, {depth}",
            *(
                report.mean_and_deviation([np.mean(getattr(r, c)) for r in of_seeds], digits=digits)
                for c, digits in columns.items()
            ),
        )
        for (kind, depth), of_seeds in results.items()
    ]
    parameters = f"{results['flow', config.depths[-1]][0].parameters:,}"
    return Section(
        "Depth",
        "A deeper flow draws less off the data, and is steeper for it. 'Steepness' is the largest "
        "factor by which the map of a sample's code stretches, 'least' the share that must lie "
        "between the moons for a flow as steep as this. The mixture, of as many parameters "
        f"({parameters}) and trained with the moons' labels, draws less between them than any "
        "flow as gentle could. 'Log-det.' is the range of the log-determinant over the samples, "
        "'excess' the cross-entropy above the entropy, in nats.",
        figures=[Figure(figures / "depths.svg", "One point for each seed.")],
        table=Table(
            (
                "model, couplings",
                "off the data",
                "least",
                "steepness",
                "log-det.",
                "excess",
            ),
            rows,
        ),
    )


def draw_threads(real: np.ndarray, drawn: Mapping[str, Measured], path: Path) -> None:
    """Real points, and those of both kinds."""
    with plot(path, columns=3, height=1.4) as axes:
        axes[0].scatter(*real.T, s=1, lw=0, color=color(0), rasterized=True)
        axes[0].set_title("real", fontsize=8.5)
        for ax, (kind, row) in zip(axes[1:], drawn.items(), strict=True):
            for off, size in ((False, 1.0), (True, 3.0)):
                chosen = row.points[row.off == off]
                ax.scatter(*chosen.T, s=size, lw=0, color=color(int(off)), rasterized=True)
            ax.set_title(f"{kind}: {np.mean(row.off):.1%} off", fontsize=8.5)
        for ax in axes:
            ax.set(xlim=(-1.4, 2.4), ylim=(-0.9, 1.4), aspect="equal", xticks=[], yticks=[])


def draw_depths(config: Config, results: Results, path: Path) -> None:
    """Share off the data and steepness over the depth."""
    with plot(path, columns=2, height=2.6) as axes:
        for ax, name in zip(axes, ("off", "steepness"), strict=True):
            for i, kind in enumerate(KINDS):
                means = [mean_of(results[kind, depth], name) for depth in config.depths]
                ax.plot(config.depths, means, color=color(i), label=kind)
                for depth in config.depths:
                    values = [np.mean(getattr(row, name)) for row in results[kind, depth]]
                    ax.plot([depth] * len(values), values, "o", ms=3, color=color(i))
            ax.set_xscale("log", base=2)
            ax.set_xticks(config.depths, [str(depth) for depth in config.depths])
            ax.set(xlabel="couplings")
        axes[0].set_ylabel("share off the data")
        axes[1].set(ylabel="steepness", yscale="log")
        axes[0].legend()
