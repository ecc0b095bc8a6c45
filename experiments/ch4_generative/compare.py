"""VAE, GAN, flow and diffusion on one page, each three times. CPU, 4 min; classifier-Fréchet 3.3.

Every model is trained on the same images by its own recipe's settings and scored by the same
evaluator, beside baselines that need no network. It takes minutes because it trains twelve
networks: `--seeds 1` or `--steps 300` scale it down. What a seed has produced is kept in the run's
folder, so that the same command again goes on where it was stopped.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import jax
import numpy as np

from lectures_jax import data, report, runtime
from lectures_jax.recipes import diffusion, flow, gan, vae
from lectures_jax.recipes.evaluator import Evaluator, evaluator
from lectures_jax.recipes.generator import Generator, Kind
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import color, plot

EXPECTED = {"pca_gain": (0, None)}
THREADED_CONVOLUTIONS = True  # the maps are small, so the convolutions are XLA's own
TINY = {"steps": 2, "seeds": 1, "evaluator_steps": 2, "evaluator_images": 64, "tiny": True}
MODELS: dict[str, Any] = {"VAE": vae, "GAN": gan, "flow": flow, "diffusion": diffusion}
SMALLEST: dict[str, Any] = {
    "VAE": vae.Settings(
        batch_size=4, hidden=8, latent=2, components=2, samples=(1,), bound_images=8
    ),
    "GAN": gan.Settings(batch_size=4, channels=8),
    "flow": flow.Settings(batch_size=4, hidden=8),
    "diffusion": diffusion.Settings(
        batch_size=8, channels=(8,), schedule_steps=21, sampling_steps=2
    ),
}
"""Settings with which every model is trained in seconds, to try the page out."""
COSTS = {
    "bits_per_dim": "bits/dim",
    "seconds": "CPU-seconds of training",
    "sampling_seconds": "CPU-seconds of sampling",
    "parameters": "parameters",
    "steps": "training steps",
}
SHOWN = 40  # images of each model on the page


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """the built-in digits, four files in MNIST's format, or folders of images"""
    root: Path | None = None
    """where the files are"""
    seeds: int = 1
    """trainings of each model; the spread of a score needs three"""
    steps: int | None = None
    """of each training; None: as in the model's own recipe"""
    evaluator_steps: int | None = None
    """of the network that scores the samples; None: 500 for digits, 1500 for files"""
    evaluator_images: int = 5000
    """that the scores compare, at most"""
    tiny: bool = False
    """the smallest settings of each model, to try the page out"""
    seed: int = 0
    """the first of the seeds"""


class Result(NamedTuple):
    """What one training came to: scores and costs by name, and its first samples."""

    numbers: dict[str, Any]
    images: np.ndarray


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains what is not there yet, and writes the table."""
    splits = data.read_classified(config.data, config.root)
    scorer = evaluator(
        config.data, config.root, out, steps=config.evaluator_steps, most=config.evaluator_images
    )
    seeds = range(config.seed, config.seed + config.seeds)
    results = {
        name: [result(name, config, seed, splits, scorer, out) for seed in seeds] for name in MODELS
    }
    write_report(config, out, splits, scorer, results)
    means = {name: mean_of(trained, "frechet") for name, trained in results.items()}
    numbers = {f"{name.lower()}_frechet": value for name, value in means.items()}
    numbers["frechet"] = min(means.values())
    pca = scorer.baselines["probabilistic PCA"]["frechet"]
    numbers["pca_gain"] = pca - max(means.values())
    return numbers


def result(
    name: str, config: Config, seed: int, splits: data.Splits, scorer: Evaluator, out: Path
) -> Result:
    """Trains and scores one model, or reads what an earlier run of as many steps left."""
    folder = out / name.lower() / f"seed-{seed}"
    numbers_file, images_file = folder / "numbers.json", folder / "images.npy"
    numbers = runtime.read_json(numbers_file) if numbers_file.exists() else {}
    settings = settings_of(name, config)
    if numbers.get("steps") != settings.steps:
        # A training that was cut off or shorter starts anew, so that its seconds count in full.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        numbers, images = train(name, settings, seed, splits, scorer, folder)
        np.save(images_file, np.rint(255 * images[:SHOWN]).astype(np.uint8))
        runtime.write_json(numbers_file, numbers)  # last: its name says that all is there
    return Result(numbers, np.load(images_file) / np.float32(255))


def settings_of(name: str, config: Config) -> Any:
    """The settings of one model's recipe."""
    recipe = MODELS[name]
    settings = SMALLEST[name] if config.tiny else recipe.Settings()
    return recipe.with_defaults(replace(settings, steps=config.steps), config.data)


def train(
    name: str, settings: Any, seed: int, splits: data.Splits, scorer: Evaluator, folder: Path
) -> tuple[dict[str, Any], np.ndarray]:
    """Trains one model with one seed; returns its numbers and its samples."""
    generator: Generator = MODELS[name].train(settings, splits, folder, seed=seed)
    start = process_time()
    images = generator.sample(jax.random.key(1000 + seed), scorer.count)
    costs = {
        "bits_per_dim": generator.bits_per_dim,
        "seconds": generator.seconds,
        "sampling_seconds": process_time() - start,
        "parameters": generator.parameters,
        "steps": settings.steps,
    }
    return {**scorer.scores(images), **costs}, images


def mean_of(trained: list[Result], key: str) -> float:
    """The mean over the seeds."""
    return float(np.mean([one.numbers[key] for one in trained]))


def cell(trained: list[Result], key: str) -> str:
    """Mean and standard deviation over the seeds, as text."""
    values = [one.numbers[key] for one in trained]
    if None in values:
        return "–"
    if key in ("parameters", "steps"):
        return f"{int(values[0]):,}"
    spread = f" ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else ""
    return f"{np.mean(values):.3g}{spread}"


def table(results: Mapping[str, list[Result]]) -> Table:
    """Scores and costs, a row each; models, a column each."""
    names = {**report.SAMPLE_SCORES, **COSTS}
    rows = [
        [text, *(cell(trained, key) for trained in results.values())] for key, text in names.items()
    ]
    return Table(["score", *results], rows)


def baseline_table(baselines: Mapping[str, Mapping[str, float]]) -> Table:
    """The same scores of what needs no network."""
    rows = [
        [text, *(f"{scores[key]:.3g}" for scores in baselines.values())]
        for key, text in report.SAMPLE_SCORES.items()
    ]
    return Table(["score", *baselines], rows)


def write_report(
    config: Config,
    out: Path,
    splits: data.Splits,
    scorer: Evaluator,
    results: dict[str, list[Result]],
) -> None:
    """Writes the page."""
    (out / "figures").mkdir(exist_ok=True)
    report.page(
        out / "report.html",
        title=f"Four ways to draw {config.root.name if config.root else 'digits'}",
        summary=f"Each of four kinds of model was trained with {config.seeds} seeds on the same "
        f"{len(splits.train['labels'])} images, and scored by a network that none saw "
        f"(right about {100 * scorer.accuracy:.0f} % of the training images).",
        numbers={
            f"{name}, classifier-Fréchet": cell(trained, "frechet")
            for name, trained in results.items()
        },
        sections=[
            Section(
                "Scores",
                "Means over the seeds, with the standard deviation from seed to seed. "
                + best_sentence(results),
                table=table(results),
            ),
            *baseline_sections(scorer.baselines, results, out / "figures" / "price.svg"),
            samples_section(splits, results),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def best_sentence(results: Mapping[str, list[Result]]) -> str:
    """Which model has the lowest distance, and which differ from it by more than the seeds do."""
    nearness = {name: [-one.numbers["frechet"] for one in some] for name, some in results.items()}
    best = max(nearness, key=lambda name: np.mean(nearness[name]))
    spread = report.best_by_seeds(nearness, than=best)
    return f"The lowest mean classifier-Fréchet is that of the model '{best}'. {spread}"


def baseline_sections(
    baselines: Mapping[str, Mapping[str, float]], results: Mapping[str, list[Result]], path: Path
) -> list[Section]:
    """What needs no network, and the price of quality."""
    draw_price(results, baselines, path)
    caption = "A point for each training; lines are baselines."
    return [
        Section(
            "Baselines",
            "Real against real compares two halves of the training images, half as many as "
            "everywhere else, so that its distance is larger than a perfect model's. "
            + report.copies_remark(baselines),
            table=baseline_table(baselines),
        ),
        Section(
            "Quality and its price",
            "To the left is cheaper, lower is better.",
            figures=[Figure(path, caption)],
        ),
    ]


def samples_section(splits: data.Splits, results: Mapping[str, list[Result]]) -> Section:
    """Samples of all models and real images side by side."""
    images = {name: trained[0].images for name, trained in results.items()}
    images["Real."] = splits.train["image"][:SHOWN]
    return Section(
        "Samples",
        "The first ones of the first seed, none left out.",
        figures=[Figure(report.sheet(some, columns=8), name) for name, some in images.items()],
    )


def draw_price(
    results: Mapping[str, list[Result]], baselines: Mapping[str, Mapping[str, float]], path: Path
) -> None:
    """Fréchet distance over the seconds of training."""
    with plot(path, height=3.2) as (ax,):
        for index, (name, trained) in enumerate(results.items()):
            points = [(one.numbers["seconds"], one.numbers["frechet"]) for one in trained]
            ax.scatter(*zip(*points, strict=True), s=22, color=color(index), label=name)
        for index, name in enumerate(("real against real", "Gaussian mixture")):
            value = baselines[name]["frechet"]
            ax.axhline(value, lw=1, ls=("-", "--")[index], color=color(9), label=name)
        ax.set(xlabel="CPU-seconds of training", ylabel="classifier-Fréchet")
        ax.set(xlim=(0, None), ylim=(0, None))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
