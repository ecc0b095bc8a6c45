"""Balance decides whether codes are used at all. CPU, 1 min; units in use 0, cured 16.

The decoder's variance σ² and the weight β of the divergence set the balance of a VAE's loss. Where
their product is large, the best that the encoder can do is the prior for every image: the posterior
collapses, and all images are decoded to their mean. Where it is small, images are rebuilt well from
codes that are far from the prior. The page has the sweep, and what cures the collapse: divergence
that costs nothing, a weight that rises from 0, and a variance that is computed from the error.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lectures_jax import data, losses, metrics, objectives, report, runtime, weights
from lectures_jax.models.vae import Vae
from lectures_jax.recipes.ensemble import Ensemble, EnsembleObjective, train_ensemble
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot
from lectures_jax.typing import Batch, Key, Metrics

EXPECTED = {
    "collapsed_units": (None, 0.5),
    "collapsed_divergence": (None, 0.05),
    "warm-up_units": (None, 0.5),
    "free_bits_units": (14, None),
    "free_bits_error_share": (None, 0.3),
    "computed_units": (14, None),
    "computed_error_share": (None, 0.2),
    "late_weight_error_share": (None, 0.8),
}
TINY = {"steps": 2, "betas": (1.0,), "variances": (1.0,), "hidden": 8, "seeds": 1}

LABELS = {
    "error": "squared error",
    "divergence": "divergence in nats",
    "units": "units in use",
    "mismatch": "KL(Q(z) ‖ p)",
}


class Setting(NamedTuple):
    """What differs between the VAEs.

    Attributes:
        variance: σ² of the decoder, where it is computed the first.
        beta: weight of the divergence.
        warmup: steps in which the weight rises from 0; 1 for none.
        free_bits: nats of each unit that cost nothing.
    """

    variance: Any = 1.0
    beta: Any = 1.0
    warmup: Any = 1.0
    free_bits: Any = 0.0


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    betas: tuple[float, ...] = (0.25, 1.0, 4.0)
    """weights of the divergence in the sweep"""
    variances: tuple[float, ...] = (0.003, 0.03, 0.1, 0.3, 1.0)
    """variances of the decoder in the sweep"""
    free_bits: float = 0.5
    """nats of each unit that cost nothing, as a cure"""
    latent: int = 16
    """units of the code"""
    hidden: int = 128
    """units of the hidden layer of encoder and decoder"""
    steps: int = 1000
    """of each training; a weight that rises does so in the first half"""
    seeds: int = 3
    """networks of each setting"""
    seed: int = 0
    """the first of them: of parameters, order and noise"""


def fixed(model: Vae, batch: Batch, key: Key, setting: Setting) -> tuple[jax.Array, Metrics]:
    """Minus the evidence lower bound with the decoder's variance as it is."""
    return bound(model, batch, key, setting, objectives.gaussian_nll)


def computed(model: Vae, batch: Batch, key: Key, setting: Setting) -> tuple[jax.Array, Metrics]:
    """Minus the evidence lower bound with the variance that is computed from the error."""
    return bound(model, batch, key, setting, objectives.optimal_sigma_nll)


def bound(
    model: Vae, batch: Batch, key: Key, setting: Setting, reconstruction: Any
) -> tuple[jax.Array, Metrics]:
    """Minus the evidence lower bound, with a network's own weight and free bits."""
    return objectives.elbo(
        model,
        batch,
        key,
        beta=lambda step: setting.beta * jnp.minimum(1, step / setting.warmup),
        free_bits=setting.free_bits,
        reconstruction=reconstruction,
    )


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains all VAEs, measures them on the test images, and writes the report."""
    splits = data.read_classified("digits")
    sweep = [Setting(variance, beta) for beta in config.betas for variance in config.variances]
    half = max(config.steps / 2, 1.0)
    cures = {
        "σ² = 1": Setting(),
        "σ² = 1, β rises": Setting(warmup=half),
        f"σ² = 1, {config.free_bits:g} free nats": Setting(free_bits=config.free_bits),
    }
    others = {
        "σ² computed": Setting(),
        "σ² computed, β = 4": Setting(beta=4.0),
        "σ² computed, β = 4, β rises": Setting(beta=4.0, warmup=half),
    }
    results, rebuilt = [], []
    for settings, objective in (([*sweep, *cures.values()], fixed), ([*others.values()], computed)):
        vaes = train(config, settings, objective, splits.train["image"])
        measured, images = measure(config, vaes, splits.test["image"])
        results += measured
        rebuilt += images
    table, drawn = (
        dict(zip([*cures, *others], x[len(sweep) :], strict=True)) for x in (results, rebuilt)
    )
    numbers = summarize(list(table.values()))
    (folder := out / "figures").mkdir(parents=True, exist_ok=True)
    report.page(
        out / "report.html",
        title="Collapse of the posterior",
        summary="When a VAE's encoder stops telling images apart, and what makes it start again.",
        numbers={
            "units in use, σ² = 1": numbers["collapsed_units"],
            "the same with free nats": numbers["free_bits_units"],
        },
        sections=[
            sweep_section(sweep, results[: len(sweep)], folder / "balance.svg"),
            cures_section(splits.test["image"], drawn, table),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def summarize(cures: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """The numbers of the cures in their order; errors as shares of that without the cure."""
    collapsed, rising, free, computed, heavy, late = (
        {name: float(values.mean()) for name, values in row.items()} for row in cures
    )
    return {
        "collapsed_units": collapsed["units"],
        "collapsed_divergence": collapsed["divergence"],
        "warm-up_units": rising["units"],
        "free_bits_units": free["units"],
        "free_bits_error_share": free["error"] / collapsed["error"],
        "computed_units": computed["units"],
        "computed_error_share": computed["error"] / collapsed["error"],
        "late_weight_error_share": late["error"] / heavy["error"],
    }


def train(
    config: Config, settings: list[Setting], objective: EnsembleObjective, images: np.ndarray
) -> Ensemble:
    """VAEs of each setting, those of one setting side by side."""
    sizes = {"shape": [8, 8, 1], "latent": config.latent, "hidden": config.hidden, "dense": True}
    models = [
        weights.build_model(
            "vae",
            sizes | {"variance": setting.variance, "learned_variance": False},
            rngs=nnx.Rngs(config.seed + i),
        )
        for setting in settings
        for i in range(config.seeds)
    ]
    columns = (jnp.asarray(column, jnp.float32) for column in zip(*settings, strict=True))
    return train_ensemble(
        models,
        objective,
        {"image": images},
        Setting(*(jnp.repeat(column, config.seeds) for column in columns)),
        steps=config.steps,
        batch_size=128,
        learning_rate=3e-3,
        seed=config.seed,
    )


def measure(
    config: Config, vaes: Ensemble, images: np.ndarray
) -> tuple[list[dict[str, np.ndarray]], list[np.ndarray]]:
    """For each setting what its networks score on images, and the images rebuilt by the first."""
    mean, log_var = map(jnp.asarray, vaes.call(Vae.posterior, jnp.asarray(images)))
    rebuilt = vaes.call(Vae.__call__, jnp.asarray(images))
    key = jax.random.key(config.seed)
    scores = {
        "error": np.mean((rebuilt - images) ** 2, axis=(1, 2, 3, 4)),
        "divergence": np.asarray(losses.gaussian_kl(mean, log_var).mean(axis=1)),
        "units": np.array([int(metrics.active_units(m)) for m in mean]),
        "mismatch": np.array(
            [
                max(float(metrics.aggregate_posterior(key, m, v).mismatch), 0.0)
                for m, v in zip(mean, log_var, strict=True)
            ]
        ),
    }
    starts = range(0, len(mean), config.seeds)
    rows = [{name: x[i : i + config.seeds] for name, x in scores.items()} for i in starts]
    return rows, [rebuilt[i] for i in starts]


def table_of(rows: dict[str, dict[str, np.ndarray]]) -> Table:
    """Means and deviations of the seeds by name."""
    digits = {"error": 4, "divergence": 2, "units": 1, "mismatch": 2}
    return Table(
        ("", *LABELS.values()),
        [
            (name, *(report.mean_and_deviation(row[k], digits=n) for k, n in digits.items()))
            for name, row in rows.items()
        ],
    )


def sweep_section(
    sweep: list[Setting], results: list[dict[str, np.ndarray]], path: Path
) -> Section:
    """Error, divergence and units in use over the product of weight and variance."""
    with plot(path, rows=3, height=4.4) as axes:
        for ax, name in zip(axes, ("error", "divergence", "units"), strict=True):
            for number, beta in enumerate(dict.fromkeys(s.beta for s in sweep)):
                chosen = [(s, row) for s, row in zip(sweep, results, strict=True) if s.beta == beta]
                products = [s.beta * s.variance for s, _ in chosen]
                values = [row[name].mean() for _, row in chosen]
                ax.plot(
                    products, values, marker="o", ms=4, color=color(number), label=f"β = {beta:g}"
                )
            ax.set(xscale="log", ylabel=LABELS[name])
        axes[0].legend()
        axes[2].set_xlabel("β σ²")
    rows = {f"β = {s.beta:g}, σ² = {s.variance:g}": r for s, r in zip(sweep, results, strict=True)}
    return Section(
        "Balance",
        "The loss is error / 2σ² + β divergence, so that only the product β σ² matters to its "
        "minimum: the curves of the three weights are one. To the right the divergence is 0, no "
        "unit is in use, and the error is that of the mean image: the posterior has collapsed. To "
        "the left images are rebuilt well, but all codes together, Q(z), are far from the prior "
        "that samples are drawn from. In between, each gains what the other loses.",
        figures=[Figure(path, "Means over the seeds, on test images.")],
        table=table_of(rows),
    )


def cures_section(
    images: np.ndarray, drawn: dict[str, np.ndarray], table: dict[str, dict[str, np.ndarray]]
) -> Section:
    """What each cure does where the posterior collapses, with images rebuilt."""
    rows = np.concatenate([x[:10] for x in (images, *drawn.values())])
    return Section(
        "Cures",
        "With σ² = 1 the collapse is the minimum of the loss. A weight that rises from 0 only "
        "delays it; free nats change the loss and keep all units, and a variance that is the "
        "squared error moves the balance as the error falls. Where β = 4 works against that, "
        "a collapse at the beginning keeps the computed variance large: there the rising weight "
        "helps.",
        figures=[
            Figure(report.sheet(rows), f"From top to bottom: test images; {'; '.join(drawn)}.")
        ],
        table=table_of(table),
    )
