"""To fool a discriminator is not to draw well, nor to count. CPU, 3 min; right counts 0.6 and 0.7.

A GAN on the digits: its discriminator's score of the samples and their classifier-Fréchet over the
training, and then with the discriminator fixed, so that the generator only fools it. And scenes of
exactly three disks: how often a sample of a GAN, and of a diffusion model that was trained for
about as long, has three.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy import ndimage

from lectures_jax import data, losses, metrics, report, runtime, train, weights
from lectures_jax.recipes import diffusion, gan
from lectures_jax.recipes.evaluator import Evaluator, evaluator
from lectures_jax.recipes.optimizers import adam
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot
from lectures_jax.typing import Batch, Key, Metrics

EXPECTED = {
    "fixed_margin": (0, None),
    "fixed_worse": (3, None),
    "count_real": (1, 1),
    "count_gan": (None, 0.7),
    "count_gap": (0, None),
}
STEPS = ("steps", "fixed_steps", "scene_steps", "diffusion_steps", "evaluator_steps")
TINY = dict.fromkeys(STEPS, 2) | {"channels": (8, 8), "scenes": 64, "samples": 64, "seeds": 1}
SCORES = "The discriminator's mean probability of samples being real, and their distance."
SIDE, DISKS, RADIUS, APART = 16, 3, 2.0, 5.5  # pixels; of scenes, their disks, between centers


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    steps: int = 800
    """of the GAN of digits"""
    fixed_steps: int = 200
    """of its generator alone, while the discriminator is fixed"""
    scene_steps: int = 800
    """of the GAN of scenes"""
    diffusion_steps: int = 650
    """of the diffusion model of scenes"""
    channels: tuple[int, ...] = (16, 32)
    """of the levels of the diffusion model's network"""
    scenes: int = 3500
    """scenes to train on"""
    samples: int = 512
    """scenes of each model that are counted"""
    evaluator_steps: int | None = None
    """of the network that scores the digits; None: 500"""
    seeds: int = 3
    """models of each kind"""
    seed: int = 0
    """the first of them: of parameters, order and noise"""


Scenes = dict[str, list[np.ndarray]]
"""Of the seeds, by their origin."""

Game = list[list[dict[str, float]]]
"""Rows of both trainings of a generator: against a discriminator that is trained, or fixed."""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains all models, scores and counts, and writes the report."""
    scorer = evaluator("digits", None, out, steps=config.evaluator_steps)
    splits, games = read_scenes(config), []
    drawn = {"real": [], "GAN": [], "diffusion": []}
    for seed in range(config.seed, config.seed + config.seeds):
        folder = out / str(seed)
        games.append(play(config, scorer, seed, folder))
        drawn["real"].append(splits.test["image"])
        drawn["GAN"].append(scenes_of_gan(config, splits, seed, folder))
        drawn["diffusion"].append(scenes_of_diffusion(config, splits, seed, folder))
    shares = {
        name: np.array([np.mean(count_disks(images) == DISKS) for images in of_name])
        for name, of_name in drawn.items()
    }
    numbers = score_games(games)
    numbers |= {f"count_{name.lower()}": float(np.mean(share)) for name, share in shares.items()}
    numbers["count_gap"] = numbers["count_diffusion"] - numbers["count_gan"]
    write_report(config, out, games, drawn, shares, numbers)
    return numbers


def three_disks(rng: np.random.Generator, count: int) -> np.ndarray:
    """Scenes of three disks with soft edges that do not touch: [n, side, side, 1] in [0, 1]."""
    centers = rng.uniform(2.5, SIDE - 2.5, (30 * count + 100, DISKS, 2))
    between = np.linalg.norm(centers[:, :, None] - centers[:, None], axis=-1)
    nearest = np.min(between + 99 * np.eye(DISKS), axis=(1, 2))
    chosen = centers[nearest >= APART][:count, ..., None, None]
    y, x = chosen[:, :, 0], chosen[:, :, 1]
    at = np.arange(SIDE) + 0.5
    distance = np.hypot(at[:, None] - y, at - x)
    disks = np.clip(RADIUS + 0.5 - distance, 0, 1).sum(axis=1)
    return disks[..., None].astype(np.float32)


def count_disks(images: np.ndarray) -> np.ndarray:
    """How many bright regions, connected by edges of pixels, each image has."""
    label: Any = ndimage.label
    return np.array([label(image[..., 0] > 0.5)[1] for image in images])


def read_scenes(config: Config) -> data.Splits:
    """Scenes to train on and to test with, all of one class."""
    scenes = three_disks(np.random.default_rng(0), config.scenes + config.samples)
    parts = np.split(scenes, [config.scenes])
    first, other = ({"image": x, "labels": np.zeros(len(x), np.int32)} for x in parts)
    return data.Splits(first, other, classes=("scene",), levels=256)


def play(config: Config, scorer: Evaluator, seed: int, out: Path) -> Game:
    """Scores over the training of a GAN, and over that of its generator alone."""
    splits = scorer.splits
    settings = gan.with_defaults(gan.Settings(steps=config.steps), "digits")
    sizes = gan.model_settings(settings, splits)
    (out / "game").mkdir(parents=True, exist_ok=True)
    (out / "fixed").mkdir(exist_ok=True)
    z = jax.random.normal(jax.random.key(seed), (scorer.count, settings.latent))

    def batches() -> Any:
        return data.batches(splits.train, batch_size=settings.batch_size, seed=seed)

    scores = partial(scores_of, scorer, z)
    model, game = train.fit_adversarial(
        jax.random.key(seed),
        weights.build_model("gan", sizes, rngs=nnx.Rngs(seed)),
        *gan.players(settings),
        batches(),
        steps=config.steps,
        out=out / "game",
        ema_decay=settings.ema_decay,
        evaluate=lambda model: scores(model.generator, model.discriminator),
        evaluate_every=max(config.steps // 10, 1),
    )
    _, fixed = train.fit(
        jax.random.key(seed + 1),
        model.generator,
        partial(fool, latent=settings.latent),
        adam(lambda _: settings.learning_rate / 3, b1=0.0, b2=0.99),
        batches(),
        fixed=model.discriminator,
        steps=config.fixed_steps,
        out=out / "fixed",
        evaluate=lambda generator: scores(generator, model.discriminator),
        evaluate_every=max(config.fixed_steps // 10, 1),
    )
    return [[row for row in rows if "score" in row] for rows in (game, fixed)]


def scores_of(scorer: Evaluator, z: Any, generator: Any, discriminator: Any) -> dict[str, float]:
    """What a discriminator believes of drawn and of real images, and how far they are apart."""
    images, real = train.predict(generator, z), scorer.splits.train["image"]
    logits = (train.predict(discriminator, x) for x in (images, real))
    believed, of_real = (float(np.mean(jax.nn.sigmoid(x))) for x in logits)
    frechet = metrics.frechet_distance(scorer.features(images), scorer.features(real))
    return {"score": believed, "score_of_real": of_real, "frechet": float(frechet)}


def fool(
    generator: Any, batch: Batch, key: Key, discriminator: Any, *, latent: int
) -> tuple[jax.Array, Metrics]:
    """The generator's loss against a discriminator that is not trained."""
    z = jax.random.normal(key, (len(batch["image"]), latent))
    return jnp.mean(losses.generator_non_saturating(discriminator(generator(z)))), {}


def scenes_of_gan(config: Config, splits: data.Splits, seed: int, out: Path) -> np.ndarray:
    """Scenes that a GAN draws."""
    settings = gan.Settings(steps=config.scene_steps)
    (out / "gan").mkdir(exist_ok=True)
    generator = gan.train(settings, splits, out / "gan", seed=seed)
    return generator.sample(jax.random.key(seed + 1), config.samples)


def scenes_of_diffusion(config: Config, splits: data.Splits, seed: int, out: Path) -> np.ndarray:
    """Scenes that a diffusion model draws."""
    steps, channels = config.diffusion_steps, config.channels
    settings = diffusion.Settings(steps=steps, channels=channels, patch=2, prediction="velocity")
    settings = diffusion.with_defaults(settings, "digits")
    (out / "diffusion").mkdir(exist_ok=True)
    model, _, sizes = diffusion.train_network(settings, splits, out / "diffusion", seed=seed)
    return diffusion.sample(model, sizes, jax.random.key(seed + 1), config.samples)


def score_games(games: list[Game]) -> dict[str, float]:
    """What the games end with: means over the seeds, and the least factor of the distances."""
    ends = [(game[-1], fixed[-1]) for game, fixed in games]
    return {
        "score": float(np.mean([game["score"] for game, _ in ends])),
        "frechet": float(np.mean([game["frechet"] for game, _ in ends])),
        "score_of_real": float(np.mean([game["score_of_real"] for game, _ in ends])),
        "fixed_score": float(np.mean([fixed["score"] for _, fixed in ends])),
        "fixed_margin": float(min(fixed["score"] - fixed["score_of_real"] for _, fixed in ends)),
        "fixed_frechet": float(np.mean([fixed["frechet"] for _, fixed in ends])),
        "fixed_worse": float(min(fixed["frechet"] / game["frechet"] for game, fixed in ends)),
    }


def write_report(
    config: Config,
    out: Path,
    games: list[Game],
    drawn: Scenes,
    shares: Mapping[str, np.ndarray],
    numbers: dict[str, float],
) -> None:
    """Writes `report.html`."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    draw_scores(games, figures / "scores.svg")
    draw_counts(drawn, figures / "counts.svg")
    rows = [(name, report.mean_and_deviation(s, digits=3)) for name, s in shares.items()]
    text = (
        "On the left the usual game: the score that the discriminator gives to the samples does "
        "not tell how good they are, since it is trained as well. On the right the discriminator "
        f"is fixed: the generator's samples get a score of {numbers['fixed_score']:.3f}, where "
        f"real images have {numbers['score_of_real']:.3f} (dotted), and their distance from the "
        f"data rises from {numbers['frechet']:.0f} to {numbers['fixed_frechet']:.0f}."
    )
    counted = (
        "Every real scene has three disks. Most disks are drawn well by either model, but their "
        f"number is right in {numbers['count_gan']:.0%} of the GAN's samples and "
        f"{numbers['count_diffusion']:.0%} of the diffusion model's, which was trained for about "
        "as long and predicts the velocity. It is better by a little; neither counts."
    )
    report.page(
        out / "report.html",
        title="Fooling, drawing, counting",
        summary="A generator is trained to fool, and a discriminator is fooled by less than what "
        "makes an image right.",
        numbers={
            "Fréchet, discriminator fixed": numbers["fixed_frechet"],
            "right count, GAN": numbers["count_gan"],
            "right count, diffusion": numbers["count_diffusion"],
        },
        sections=[
            Section("Fooling", text, figures=[Figure(figures / "scores.svg", SCORES)]),
            Section(
                "Counting",
                counted,
                figures=scene_figures(drawn, figures),
                table=Table(("scenes", "with three disks"), rows),
            ),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def scene_figures(drawn: Scenes, figures: Path) -> list[Figure]:
    """Scenes of every origin, and how many disks they have."""
    rows = np.concatenate([images[0][:20] for images in drawn.values()])
    names = ", ".join(drawn)
    return [
        Figure(report.sheet(rows, columns=10, width=48), f"Two rows each: {names}."),
        Figure(figures / "counts.svg", "Share of the scenes by their number of disks."),
    ]


def draw_scores(games: list[Game], path: Path) -> None:
    """Score and distance over the steps of both trainings, a line for each seed."""
    with plot(path, rows=2, columns=2, height=4.2) as axes:
        for column, title in enumerate(("both trained", "discriminator fixed")):
            for row, score in enumerate(("score", "frechet")):
                ax = axes[2 * row + column]
                for game in games:
                    steps = [r["step"] for r in game[column]]
                    ax.plot(steps, [r[score] for r in game[column]], color=color(row), lw=1.2)
                    if not row:
                        real = [r["score_of_real"] for r in game[column]]
                        ax.plot(steps, real, color=INK, lw=0.8, ls=":")
            axes[column].set(ylabel="D(G(z))", title=title)
            axes[2 + column].set(xlabel="step", yscale="log", ylabel="Fréchet")


def draw_counts(drawn: Scenes, path: Path) -> None:
    """Numbers of disks as bars."""
    with plot(path, height=2.6) as (ax,):
        for i, (name, of_seeds) in enumerate(drawn.items()):
            counts = np.concatenate([count_disks(images) for images in of_seeds])
            shares = np.bincount(np.minimum(counts, 6), minlength=7) / len(counts)
            tint = color(i) if i else INK
            ax.bar(np.arange(7) + 0.27 * (i - 1), shares, width=0.25, color=tint, label=name)
        ax.set(xlabel="disks", ylabel="share of the scenes")
        ax.set_xticks(range(7), [*map(str, range(6)), "6 or more"])
        ax.legend()
