"""What a denoiser predicts, by what schedule, and flow matching. CPU, 2 min; velocity 13.

A dense network predicts the noise in a digit, the image, or the velocity. It is trained and sampled
with the linear schedule, the cosine schedule, or the latter stretched to end without any signal. In
one more row it predicts the velocity of straight lines from noise to image, which is flow matching
(rectified flow). All have networks of one kind, and the same numbers of steps and calls.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.tree_util import Partial
from jaxtyping import Array

from lectures_jax import data, objectives, ops, report, runtime
from lectures_jax.models.diffusion import DenseDenoiser
from lectures_jax.recipes.ensemble import EnsembleObjective, train_ensemble
from lectures_jax.recipes.evaluator import evaluator
from lectures_jax.recipes.generator import to_unit_range
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot
from lectures_jax.typing import Key

EXPECTED = {
    "noise, cosine": (None, 24),
    "velocity, cosine": (None, 16),
    "flow matching": (None, 16),
    "least gain of the cosine": (0.5, None),
    "noise over velocity": (1, None),
    "flow matching over velocity": (-3, 3),
}
TINY = {
    "steps": 2,
    "hidden": 8,
    "calls": 2,
    "seeds": 1,
    "evaluator_steps": 2,
    "evaluator_images": 32,
}
LEVELS = 1000
SCHEDULES = ("linear", "cosine", "to 0")
Predict = Callable[[Array, Array], Any]


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    steps: int = 1500
    """of each training"""
    hidden: int = 192
    """units of each of the network's layers"""
    calls: int = 20
    """of the network for a sample, by DPM-Solver++(2M), or Euler's method for flow matching"""
    evaluator_steps: int | None = None
    """of the network that scores the samples; None: 500"""
    evaluator_images: int = 5000
    """that the scores compare, at most"""
    seeds: int = 3
    """networks of each kind"""
    seed: int = 0
    """the first of them: of parameters, order and noise"""


def schedules() -> dict[str, Array]:
    """Signal ratios by the names of the schedules."""
    cosine = ops.cosine_schedule(LEVELS, max_beta=50 / LEVELS)
    return dict(
        zip(
            SCHEDULES,
            (ops.linear_schedule(LEVELS), cosine, ops.zero_terminal_snr(cosine)),
            strict=True,
        )
    )


def by_schedule(objective: Any) -> EnsembleObjective:
    """An objective of diffusion whose schedule is the network's own."""
    return lambda model, batch, key, alpha_bar: objective(model, batch, key, alpha_bar=alpha_bar)


def straight(model: Any, batch: Any, key: Key, alpha_bar: Array) -> Any:
    """Flow matching, which has no schedule."""
    return objectives.flow_matching(model, batch, key)


OBJECTIVES = {
    "noise": by_schedule(objectives.diffusion_noise),
    "image": by_schedule(objectives.diffusion_x0),
    "velocity": by_schedule(objectives.diffusion_velocity),
    "flow matching": straight,
}
READ_AS: dict[str, Callable[[Predict], Predict]] = {
    "noise": lambda network: network,
    "image": ops.from_x0_prediction,
    "velocity": ops.from_velocity_prediction,
}


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains and scores all kinds, and writes the report."""
    images = data.read_classified("digits").train["image"]
    scorer = evaluator(
        "digits", None, out, steps=config.evaluator_steps, most=config.evaluator_images
    )
    scores, samples = {}, {}
    for kind in OBJECTIVES:
        for name, drawn in train_and_draw(config, kind, images, scorer.count).items():
            scores[name] = np.array([float(scorer.scores(x)["frechet"]) for x in drawn])
            samples[name] = drawn[0]
    numbers = {name: float(values.mean()) for name, values in scores.items()}
    gains = [numbers[f"{kind}, linear"] - numbers[f"{kind}, cosine"] for kind in READ_AS]
    numbers["least gain of the cosine"] = min(gains)
    for kind in ("noise, cosine", "flow matching"):
        over = numbers[kind] - numbers["velocity, cosine"]
        numbers[f"{kind.partition(',')[0]} over velocity"] = over
    (folder := out / "figures").mkdir(parents=True, exist_ok=True)
    names = ("noise, cosine", "image, cosine", "velocity, cosine", "flow matching")
    report.page(
        out / "report.html",
        title="Predicting the noise",
        summary="One small network, trained to predict noise, image or velocity by three "
        "schedules, and by flow matching.",
        numbers={name: numbers[name] for name in names},
        sections=[
            schedules_section(folder / "schedules.svg"),
            scores_section(scores, folder / "scores.svg"),
            samples_section(samples),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def train_and_draw(
    config: Config, kind: str, images: np.ndarray, count: int
) -> dict[str, list[np.ndarray]]:
    """Samples of networks that predict one thing, by schedule, those of each seed."""
    by_name = schedules()
    if kind == "flow matching":
        by_name = {"": by_name["cosine"]}  # which it does not look at
    models = [
        DenseDenoiser((8, 8, 1), hidden=config.hidden, rngs=nnx.Rngs(config.seed + i))
        for _ in by_name
        for i in range(config.seeds)
    ]
    networks = train_ensemble(
        models,
        OBJECTIVES[kind],
        {"image": images},
        jnp.repeat(jnp.stack(list(by_name.values())), config.seeds, axis=0),
        steps=config.steps,
        batch_size=128,
        learning_rate=2e-3,
        seed=config.seed,
    )
    drawn = {}
    for number, (name, alpha_bar) in enumerate(by_name.items()):
        of_seed = [networks.model(number * config.seeds + i) for i in range(config.seeds)]
        drawn[f"{kind}, {name}".rstrip(", ")] = [
            draw(kind, Partial(call, model), alpha_bar, count=count, calls=config.calls)
            for model in of_seed
        ]
    return drawn


def call(model: Any, x_t: Array, level: Array) -> Array:
    """The network at one level for all images, as samplers call it."""
    return model(x_t, jnp.broadcast_to(level, len(x_t)))


def draw(kind: str, network: Predict, alpha_bar: Array, *, count: int, calls: int) -> np.ndarray:
    """Samples of a network that predicts one thing, in [0, 1]."""
    key, shape = jax.random.key(0), (count, 8, 8, 1)
    if kind == "flow matching":
        return to_unit_range(ops.sample_flow_matching(key, network, shape, steps=calls))
    predict = READ_AS[kind](network)
    return to_unit_range(ops.sample_dpm(key, predict, shape, alpha_bar, steps=calls))


def schedules_section(path: Path) -> Section:
    """The share of the signal over the time of each schedule."""
    t = np.linspace(0, 1, LEVELS + 2)[1:-1]
    lines = {**schedules(), "flow matching": (1 - t) ** 2 / ((1 - t) ** 2 + t**2)}
    with plot(path, height=2.6) as (ax,):
        for number, (name, alpha_bar) in enumerate(lines.items()):
            dashes = "--" if name == "to 0" else "-"
            ax.plot(t, alpha_bar, dashes, color=color(number), label=name)
        ax.set(xlabel="time, from image to noise", ylabel="signal ratio")
        ax.legend()
    return Section(
        "Schedules",
        "The linear schedule, which was made for large images, spends half of its levels where "
        "hardly any of so small an image is left. 'To 0' is the cosine schedule stretched so that "
        f"its last ratio is 0 instead of {float(lines['cosine'][-1]):.4f}. The lines of flow "
        "matching, in the same terms, are close to the cosine.",
        figures=[Figure(path, "Share of the signal in the variance.")],
    )


def scores_section(scores: dict[str, np.ndarray], path: Path) -> Section:
    """One table of all."""
    report.scores_by_seed(scores, path, label=report.SAMPLE_SCORES["frechet"])
    rows = [
        (kind, *(report.mean_and_deviation(scores[f"{kind}, {s}"], digits=1) for s in SCHEDULES))
        for kind in READ_AS
    ]
    alone = report.mean_and_deviation(scores["flow matching"], digits=1)
    return Section(
        "Scores",
        "Classifier-Fréchet distance, lower is better, mean and deviation of the seeds. The cosine "
        "schedule is better than the linear one whatever is predicted. This network predicts "
        "velocities best, along the curves of diffusion or along the straight lines of flow "
        "matching, which are as good. A last ratio of 0 changes little over many calls, "
        "although noise alone, in a single call from there, tells nothing of the image. The order "
        "of noise, image and velocity is this network's: the U-Net of the experiment diffusion "
        "is as good with noise as with velocity.",
        figures=[
            Figure(path, "A dot for each seed; the dotted line is the mean of the first row.")
        ],
        table=Table(("predicted", *SCHEDULES), [*rows, ("flow matching", "", alone, "")]),
    )


def samples_section(samples: dict[str, np.ndarray]) -> Section:
    """Samples of each kind from the same noise."""
    rows = np.concatenate([images[:10] for images in samples.values()])
    return Section(
        "Samples",
        "Of the first seed, each column from the same noise, but for flow matching.",
        figures=[
            Figure(report.sheet(rows, width=40), f"From top to bottom: {'; '.join(samples)}.")
        ],
    )
