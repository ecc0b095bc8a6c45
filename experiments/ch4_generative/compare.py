"""VAE, GAN, flow and diffusion on one page, each three times. CPU, 10 min; classifier-Fréchet 3.3.

Every model learns from the same images by its own experiment's settings and is scored by the same
judge, beside floors that need no network. It takes minutes because it trains twelve networks:
`--seeds 1` or `--steps 300` scale it down. What a seed has produced is kept in the run's folder,
so that the same command again goes on where it was stopped.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import diffusion
import flow
import gan
import jax
import numpy as np
import vae
from _common import Kind, read, sheet
from _judge import NAMES, Judge, judge

from lectures_jax import data, report, runtime
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot

THREADED_CONVOLUTIONS = True  # the maps are small, so the convolutions are XLA's own
TINY = {"steps": 2, "seeds": 1, "judge_steps": 2, "tiny": True}
MODELS: dict[str, Any] = {"VAE": vae, "GAN": gan, "flow": flow, "diffusion": diffusion}
COSTS = {
    "bits_per_dim": "bits/dim",
    "seconds": "CPU-seconds of training",
    "sampling_seconds": "CPU-seconds of sampling",
    "parameters": "parameters",
}
SHOWN = 40  # images of each model on the page


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """the built-in digits, four files in MNIST's format, or folders of images"""
    root: Path | None = None
    """where the files are"""
    seeds: int = 3
    """how often each model is trained"""
    steps: int | None = None
    """of each training; None: what the model's own experiment takes"""
    judge_steps: int | None = None
    """of the network that judges; None: as always"""
    tiny: bool = False
    """the smallest settings of each experiment, to try the page out"""
    seed: int = 0
    """the first of the seeds"""


class Result(NamedTuple):
    """What one training came to: scores and costs by name, and its first samples."""

    numbers: dict[str, float | None]
    pictures: np.ndarray


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains what is not there yet, and writes the table."""
    splits = read(config.data, config.root)
    referee = judge(config.data, config.root, steps=config.judge_steps)
    seeds = range(config.seed, config.seed + config.seeds)
    results = {
        name: [result(name, config, seed, splits, referee, out) for seed in seeds]
        for name in MODELS
    }
    write_report(config, out, splits, referee, results)
    means = {name: mean_of(found, "frechet") for name, found in results.items()}
    numbers = {f"{name.lower()}_frechet": value for name, value in means.items()}
    numbers["frechet"] = min(means.values())
    floor = referee.floors["probabilistic PCA"]["frechet"]
    if config == Config() and max(means.values()) > floor:
        raise RuntimeError(f"expected all below probabilistic PCA's {floor:.1f}, got {means}.")
    return numbers


def result(
    name: str, config: Config, seed: int, splits: data.Splits, referee: Judge, out: Path
) -> Result:
    """Trains and scores one model, or reads what an earlier run left."""
    folder = out / name.lower() / f"seed-{seed}"
    numbers_file, pictures_file = folder / "numbers.json", folder / "images.npy"
    if not numbers_file.exists():
        # A training that was cut off starts anew, so that its seconds count in full.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        numbers, pictures = learn(name, config, seed, splits, referee, folder)
        np.save(pictures_file, np.rint(255 * pictures[:SHOWN]).astype(np.uint8))
        runtime.write_json(numbers_file, numbers)  # last: its name says that all is there
    return Result(json.loads(numbers_file.read_text()), np.load(pictures_file) / np.float32(255))


def learn(
    name: str, config: Config, seed: int, splits: data.Splits, referee: Judge, folder: Path
) -> tuple[dict[str, float | None], np.ndarray]:
    """Trains one model with one seed; returns its numbers and its samples."""
    module = MODELS[name]
    settings = module.TINY if config.tiny else {}
    common = {"data": config.data, "root": config.root, "steps": config.steps, "seed": seed}
    generator = module.learn(module.Config(**{**settings, **common}), splits, folder)
    began = process_time()
    pictures = generator.sample(jax.random.key(1000 + seed), referee.count)
    costs = {
        "bits_per_dim": generator.bits_per_dim,
        "seconds": generator.seconds,
        "sampling_seconds": process_time() - began,
        "parameters": generator.parameters,
    }
    return {**referee.scores(pictures), **costs}, pictures


def mean_of(found: list[Result], key: str) -> float:
    """The mean over the seeds."""
    return float(np.mean([one.numbers[key] for one in found]))


def cell(found: list[Result], key: str) -> str:
    """Mean and standard deviation over the seeds, as text."""
    values = [one.numbers[key] for one in found]
    if None in values:
        return "–"
    if key == "parameters":
        return f"{int(values[0]):,}"
    spread = f" ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else ""
    return f"{np.mean(values):.3g}{spread}"


def table(results: Mapping[str, list[Result]]) -> Table:
    """Scores and costs, a row each; models, a column each."""
    names = {**NAMES, **COSTS}
    rows = [
        [text, *(cell(found, key) for found in results.values())] for key, text in names.items()
    ]
    return Table(["score", *results], rows)


def floor_table(floors: Mapping[str, Mapping[str, float]]) -> Table:
    """The same scores of what needs no network."""
    rows = [
        [text, *(f"{floor[key]:.3g}" for floor in floors.values())] for key, text in NAMES.items()
    ]
    return Table(["score", *floors], rows)


def write_report(
    config: Config,
    out: Path,
    splits: data.Splits,
    referee: Judge,
    results: dict[str, list[Result]],
) -> None:
    """Writes the table, the price of quality, and samples side by side."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    draw_price(results, referee.floors, figures / "price.svg")
    sections = [
        Section(
            "Scores",
            "Means over the seeds, with the standard deviation from seed to seed.",
            table=table(results),
        ),
        Section(
            "Floors",
            "Real against real compares two halves of the training images, half as many as "
            "everywhere else, so that its distance is larger than a perfect model's. Copies with "
            "noise win all but one line: their nearest-neighbor ratio is far below 1.",
            table=floor_table(referee.floors),
        ),
        Section(
            "Quality and its price",
            "To the left is cheaper, lower is better.",
            figures=[Figure(figures / "price.svg", "A point for each training; lines are floors.")],
        ),
        Section(
            "Samples",
            "The first ones of the first seed, none left out.",
            figures=[
                *(
                    Figure(sheet(found[0].pictures, columns=8), name)
                    for name, found in results.items()
                ),
                Figure(sheet(splits.train["image"][:SHOWN], columns=8), "Real."),
            ],
        ),
        report.configuration(asdict(config)),
    ]
    report.page(
        out / "report.html",
        title=f"Four ways to draw {config.root.name if config.root else 'digits'}",
        summary=f"Each of four kinds of model learnt {config.seeds} times from the same "
        f"{len(splits.train['labels'])} images, and was scored by a network that none saw "
        f"(right about {100 * referee.accuracy:.0f} % of the training images).",
        numbers={
            f"{name}, classifier-Fréchet": cell(found, "frechet") for name, found in results.items()
        },
        sections=sections,
        footer=runtime.environment(),
    )


def draw_price(
    results: Mapping[str, list[Result]], floors: Mapping[str, Mapping[str, float]], path: Path
) -> None:
    """Fréchet distance over the seconds of training."""
    with plot(path, height=3.2) as (ax,):
        for index, (name, found) in enumerate(results.items()):
            points = [(one.numbers["seconds"], one.numbers["frechet"]) for one in found]
            ax.scatter(*zip(*points, strict=True), s=22, color=color(index), label=name)
        for index, name in enumerate(("real against real", "Gaussian mixture")):
            value = floors[name]["frechet"]
            ax.axhline(value, lw=1, ls=("-", "--")[index], color=color(9), label=name)
        ax.set(xlabel="CPU-seconds of training", ylabel="classifier-Fréchet")
        ax.set(xlim=(0, None), ylim=(0, None))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
