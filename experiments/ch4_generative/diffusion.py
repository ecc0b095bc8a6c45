"""Images from noise by a small conditional U-Net. CPU, 2 min; classifier-Fréchet 2.6.

By default handwritten digits of 8×8 pixels; `--data idx --root DIR` takes MNIST's format, such as
Fashion-MNIST, `--data images` folders. The page shows how noise becomes images, how few steps
each sampler needs, the way back from an image to its noise, and guidance towards a class.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import data, ops, report, runtime
from lectures_jax.models.diffusion import Denoiser
from lectures_jax.recipes import diffusion
from lectures_jax.recipes.evaluator import Evaluator, evaluator
from lectures_jax.recipes.generator import Generator, Kind, to_unit_range
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import plot

EXPECTED = {"frechet": (None, 3.2)}
TINY = {
    "training": diffusion.Settings(
        steps=2, batch_size=8, channels=(8,), schedule_steps=21, sampling_steps=2
    ),
    "samplers": ("DDPM", "Heun"),
    "evaluator_steps": 2,
    "evaluator_images": 64,
}
THREADED_CONVOLUTIONS = True  # the maps are small, so the convolutions are XLA's own
SAMPLERS = {
    "DDIM": ops.sample_diffusion,
    "DDPM": partial(ops.sample_diffusion, eta=1.0),
    "fresh noise": partial(ops.sample_diffusion, fresh_noise=True),
    "Heun": ops.sample_heun,
    "DPM++(2M)": ops.sample_dpm,
}
CALLS = (2, 5, 10, 20)


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """images: the built-in digits, four files in MNIST's format, or folders"""
    root: Path | None = None
    """folder of the files"""
    training: diffusion.Settings = field(default_factory=diffusion.Settings)
    """of the network, and of its sampler"""
    samplers: tuple[str, ...] = tuple(SAMPLERS)
    """that are compared by their number of calls"""
    samples: int | None = None
    """images that are scored; None: as many as the evaluator takes, 2000 at most"""
    evaluator_steps: int | None = None
    """of the network that scores the samples; None: 500 for digits, 1500 for files"""
    evaluator_images: int = 5000
    """that the scores compare, at most"""
    seed: int = 0
    """of parameters, order, noise and samples"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains, samples in several ways, scores, and writes the report."""
    config = replace(config, training=diffusion.with_defaults(config.training, config.data))
    splits = data.read_classified(config.data, config.root)
    generator = diffusion.train(config.training, splits, out, seed=config.seed)
    scorer = evaluator(
        config.data, config.root, out, steps=config.evaluator_steps, most=config.evaluator_images
    )
    count = config.samples or min(scorer.count, 2000)
    images = generator.sample(jax.random.key(config.seed + 1), count)
    scores = scorer.scores(images)
    numbers: dict[str, Any] = {
        **scores,
        "bits_per_dim": generator.bits_per_dim,
        "ode_bits_per_dim": diffusion.ode_bits_per_dim(
            config.training, generator.model, splits, seed=config.seed
        ),
        "parameters": float(generator.parameters),
    }
    (out / "figures").mkdir(parents=True, exist_ok=True)
    write_page(
        config,
        out,
        generator,
        numbers,
        [
            report.samples(
                images[:100],
                splits.train["image"][: len(images[:100])],
                text="None is chosen. The classes have the shares that they have in the "
                "training set.",
            ),
            report.sample_scores({"this model": scores, **scorer.baselines}),
            *sampling_sections(config, out, generator, splits, scorer),
            likelihood_section(splits, numbers["bits_per_dim"], numbers["ode_bits_per_dim"]),
        ],
    )
    return numbers


def write_page(
    config: Config, out: Path, generator: Generator, numbers: dict, sections: Sequence[Section]
) -> None:
    """Writes `report.html`."""
    settings, history = config.training, generator.history
    report.page(
        out / "report.html",
        title=f"Diffusion of {config.root.name if config.root else 'digits'}",
        summary=f"Images made from noise in {settings.sampling_steps} calls of a network that "
        f"was trained to predict the {settings.prediction}.",
        numbers={
            report.SAMPLE_SCORES["frechet"]: numbers["frechet"],
            "bits/dim, bound": numbers["bits_per_dim"],
            "bits/dim, ODE": numbers["ode_bits_per_dim"],
            "parameters": generator.parameters,
        },
        sections=[
            report.training(history, out / "figures", losses=[["loss"]], scores=[]),
            *sections,
            report.timing(history, batch_size=settings.batch_size),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def process(config: Config, model: Denoiser, labels: jax.Array) -> tuple[Any, jax.Array]:
    """What samplers call for these classes, and the ratios of the training."""
    kind, steps = config.training.prediction, config.training.schedule_steps
    alpha_bar = diffusion.signal_ratios(steps, prediction=kind)
    return diffusion.predictor(model, labels, prediction=kind), alpha_bar


def sampling_sections(
    config: Config, out: Path, generator: Generator, splits: data.Splits, scorer: Evaluator
) -> list[Section]:
    """From noise to images in several ways, and back."""
    model, key = generator.model, jax.random.key(config.seed + 1)
    return [
        steps_of_one_sample(config, model, splits, key),
        *compare_samplers(config, model, splits, scorer, out / "figures"),
        inversion(config, model, splits),
        guidance(config, model, splits, scorer, key),
    ]


def steps_of_one_sample(
    config: Config, model: Denoiser, splits: data.Splits, key: jax.Array
) -> Section:
    """From noise to an image, a row for each class."""
    labels = jnp.arange(len(splits.classes))
    noise = ops.per_sample_normal(key, (len(labels), *splits.train["image"].shape[1:]))
    predict, alpha_bar = process(config, model, labels)
    path = ops.sampling_schedule(alpha_bar, steps=min(20, len(alpha_bar)))
    levels, inputs = ops.solve_ddim(predict, noise, path)
    shown = np.rint(np.linspace(0, len(levels) - 1, 11)).astype(int)
    inputs = jnp.concatenate([inputs, levels[-1:]])

    def by_class(images: jax.Array) -> np.ndarray:
        rows = to_unit_range(images[shown]).swapaxes(0, 1)
        return report.sheet(rows.reshape(-1, *images.shape[2:]), columns=len(shown))

    return Section(
        "From noise to image",
        "Twenty steps of DDIM, every other one shown; a row for each class. Guesses at the image "
        "begin near the mean of the class, and details come last. Where the network predicts the "
        "noise, the very first is noisy: an error of the noise is divided by √ᾱ.",
        figures=[
            Figure(by_class(levels), "x_T to x_0."),
            Figure(by_class(inputs), "The image that the network predicts in each."),
        ],
    )


def compare_samplers(
    config: Config, model: Denoiser, splits: data.Splits, scorer: Evaluator, folder: Path
) -> tuple[Section, Section]:
    """How the score of each sampler falls with its calls of the network."""
    settings = config.training
    numbers = [n for n in CALLS if n <= settings.sampling_steps]
    count = min(config.samples or min(scorer.count, 2000), 2 * diffusion.CHUNK)
    sizes, labels = diffusion.model_settings(settings, splits), diffusion.mixed_labels(splits)
    distances, images = {}, {}
    for name in config.samplers:
        calls = 2 if name == "Heun" else 1
        draw = partial(diffusion.generate, model, sizes, labels, sampler=SAMPLERS[name])
        drawn = [
            draw(jax.random.key(config.seed + 2), count, steps=max(1, number // calls))
            for number in numbers
        ]
        distances[name] = [scorer.scores(some)["frechet"] for some in drawn]
        images[name] = np.concatenate([some[:10] for some in drawn])
    draw_distances(distances, numbers, folder / "steps.svg")
    rows = [[name, *values] for name, values in distances.items()]
    caption = f"rows of {', '.join(map(str, numbers))} calls."
    return Section(
        "Score by number of steps",
        f"Of {count} images each, so that the least possible is higher than above. Heun calls the "
        "network twice a step and so takes half as many steps, rounded down, of which a few end "
        "far from images. Drawing all noise afresh, the course's other reading, samples from "
        "another distribution, whatever the number of steps.",
        figures=[
            Figure(folder / "steps.svg", f"{report.SAMPLE_SCORES['frechet']}, lower is better.")
        ],
        table=Table(["sampler", *(f"{n} calls" for n in numbers)], rows),
    ), Section(
        "Samples by number of steps",
        "The same noise each time.",
        [Figure(report.sheet(some), f"{name}: {caption}") for name, some in images.items()],
    )


def draw_distances(distances: dict[str, list[float]], numbers: Sequence[int], path: Path) -> None:
    """Fréchet distance over the calls of the network, a line for each sampler."""
    with plot(path, height=3.4) as (ax,):
        for name, values in distances.items():
            ax.plot(numbers, values, marker="o", ms=3, label=f"{name}  {values[-1]:.1f}")
        label = report.SAMPLE_SCORES["frechet"]
        ax.set(xscale="log", yscale="log", xlabel="calls of the network", ylabel=label)
        ax.set_xticks(numbers, map(str, numbers))
        highest = 1.2 * max(map(max, distances.values()))
        ax.set_yticks([y for y in (3, 5, 10, 20, 50, 100) if y < highest])
        ax.yaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
        ax.legend(fontsize=8)


def inversion(config: Config, model: Denoiser, splits: data.Splits) -> Section:
    """Test images, the noise that makes them, and what that noise makes."""
    x0 = 2 * jnp.asarray(splits.test["image"][:10]) - 1
    predict, alpha_bar = process(config, model, jnp.asarray(splits.test["labels"][:10]))
    alpha_bar = alpha_bar[:-1]  # at the last ratio, if it is 0, all images have the same noise
    steps = min(50, len(alpha_bar))
    path = ops.sampling_schedule(alpha_bar, steps=steps)
    rows, measured = [x0], []
    for iterations in (1, 5):
        noise = ops.invert_diffusion(predict, x0, alpha_bar, steps=steps, iterations=iterations)
        back = ops.solve_ddim(predict, noise, path)[0][-1]
        rows += [noise, back]
        error = float(jnp.sqrt(jnp.mean((back - x0) ** 2))) / 2
        measured.append([iterations, error, float(jnp.std(noise))])
    return Section(
        "From image to noise and back",
        "DDIM run backwards gives the noise behind an image, here of images that were never "
        "trained on; run forwards again it gives back the image. Rows: the images; their "
        "noise and what it makes, with one substitution for each step; the same with five.",
        figures=[
            Figure(report.sheet(to_unit_range(jnp.concatenate(rows))), "Image, noise, image.")
        ],
        table=Table(["substitutions", "error (of 1)", "deviation of the noise"], measured),
    )


def guidance(
    config: Config, model: Denoiser, splits: data.Splits, scorer: Evaluator, key: jax.Array
) -> Section:
    """What asking for a class more and more strongly does."""
    classes, steps = len(splits.classes), config.training.sampling_steps
    labels = jnp.tile(jnp.arange(classes), 4)
    shape = (len(labels), *splits.train["image"].shape[1:])
    given, alpha_bar = process(config, model, labels)
    withheld, _ = process(config, model, jnp.full_like(labels, classes))
    figures, rows = [], []
    for scale in (0.0, 1.0, 3.0):
        predict = ops.classifier_free_guidance(given, withheld, scale=scale)
        images = to_unit_range(ops.sample_dpm(key, predict, shape, alpha_bar, steps=steps))
        agreed = float(np.mean(scorer.labels(images) == np.asarray(labels)))
        figures.append(Figure(report.sheet(images, columns=classes), f"Scale {scale:g}."))
        rows.append([scale, agreed, float(np.std(images.reshape(4, -1), axis=0).mean())])
    return Section(
        "Guidance by class",
        "A column for each class. At 0 the network gets no class, at 1 it does, above it the "
        "class is exaggerated: samples of a class become clearer and more alike.",
        figures=figures,
        table=Table(["scale", "predicted as the class asked for", "deviation in a class"], rows),
    )


def likelihood_section(splits: data.Splits, bound: float, ode: float) -> Section:
    """Both likelihoods beside what knowing nothing costs."""
    rows = [
        ["variational bound", bound],
        ["flow of the deterministic sampler, dequantized", ode],
        [f"even density, log2 {splits.levels}", float(np.log2(splits.levels))],
    ]
    return Section(
        "Likelihood",
        "Bits per pixel of test images of known class; fewer are better. The first bounds "
        "the cost of the levels, the second that of pixels moved evenly within their levels. "
        "The network was trained for samples, not for either.",
        table=Table(["measure", "bits per dimension"], rows),
    )
