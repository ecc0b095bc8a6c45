"""What the diffusion experiment asks of its network, and the sections of its page."""

from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _common import sheet
from _judge import NAMES, Judge
from jax.tree_util import Partial

from lectures_jax import data, ops
from lectures_jax.models.diffusion import Denoiser
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import plot

CHUNK = 256  # images sampled by one call of the compiled program
SAMPLERS = {
    "DDIM": ops.sample_diffusion,
    "DDPM": partial(ops.sample_diffusion, eta=1.0),
    "fresh noise": partial(ops.sample_diffusion, fresh_noise=True),
    "Heun": ops.sample_heun,
    "DPM++(2M)": ops.sample_dpm,
}
CALLS = (2, 5, 10, 20)


def schedule(config: Any) -> jax.Array:
    """Signal ratios; nothing is left at the last, so that sampling starts where training ends."""
    return ops.zero_terminal_snr(ops.cosine_schedule(config.schedule_steps))


def predictor(model: Denoiser, labels: jax.Array) -> Partial:
    """What samplers ask: the network's velocity, as image and noise."""
    return ops.from_velocity_prediction(Partial(answer, model, labels))


def answer(model: Denoiser, labels: jax.Array, x_t: jax.Array, alpha_bar: jax.Array) -> jax.Array:
    """The network's answer at one level of noise."""
    return model(x_t, jnp.broadcast_to(alpha_bar, len(x_t)), labels)


def generate(
    config: Any,
    model: Denoiser,
    splits: data.Splits,
    sampler: Any,
    steps: int,
    key: jax.Array,
    count: int,
) -> np.ndarray:
    """Images of the classes that the training images have, in the same shares."""
    shape = (CHUNK, *splits.train["image"].shape[1:])
    known = splits.train["labels"]
    labels = np.resize(known[np.random.default_rng(0).permutation(len(known))], count)
    parts = []
    for start in range(0, count, CHUNK):
        wanted = jnp.asarray(np.resize(labels[start : start + CHUNK], CHUNK))
        predict = predictor(model, wanted)
        x = compiled(sampler, shape, steps)(key, predict, schedule(config), start)
        parts.append(to_pixels(x)[: count - start])
    return np.concatenate(parts)


@cache
def compiled(sampler: Any, shape: tuple[int, ...], steps: int) -> Any:
    """A sampler as one program."""

    def call(key: jax.Array, predict: Partial, alpha_bar: jax.Array, first: Any) -> jax.Array:
        return sampler(key, predict, shape, alpha_bar, steps=steps, first=first)

    return jax.jit(call)


def to_pixels(x: jax.Array) -> np.ndarray:
    """From [-1, 1] to [0, 1]."""
    return np.clip((np.asarray(x, np.float32) + 1) / 2, 0, 1)


def samples(splits: data.Splits, pictures: np.ndarray) -> Section:
    """Real images beside generated ones."""
    shown = pictures[:100]
    real = splits.train["image"][: len(shown)]
    return Section(
        "Samples",
        "None is chosen. The classes have the shares that they have in the training set.",
        figures=[
            Figure(sheet(shown), "Generated."),
            Figure(sheet(real), "From the training set."),
        ],
    )


def classes(splits: data.Splits, rows: int) -> jax.Array:
    """Labels for a sheet with a column for each class."""
    return jnp.tile(jnp.arange(len(splits.classes)), rows)


def strip(config: Any, model: Denoiser, splits: data.Splits, key: jax.Array) -> Section:
    """From noise to an image, a row for each class."""
    labels = classes(splits, 1)
    noise = ops.per_sample_normal(key, (len(labels), *splits.train["image"].shape[1:]))
    path = ops.sampling_schedule(schedule(config), steps=min(20, config.schedule_steps))
    levels, seen = ops.solve_ddim(predictor(model, labels), noise, path)
    shown = np.rint(np.linspace(0, len(levels) - 1, 11)).astype(int)
    seen = jnp.concatenate([seen, levels[-1:]])
    return Section(
        "From noise to image",
        "Twenty steps of DDIM, every other one shown; a row for each class. The network's first "
        "guess at the image is the mean of the class, and details come last.",
        figures=[
            Figure(sheet(by_class(levels[shown]), columns=11), "x_T to x_0."),
            Figure(
                sheet(by_class(seen[shown]), columns=11),
                "The image that the network sees in each.",
            ),
        ],
    )


def by_class(levels: jax.Array) -> np.ndarray:
    """Images of [level, class, ...] in the order of a sheet with a row for each class."""
    return to_pixels(levels).swapaxes(0, 1).reshape(-1, *levels.shape[2:])


def few_steps(
    config: Any, model: Denoiser, splits: data.Splits, critic: Judge, folder: Path, count: int
) -> tuple[Section, Section]:
    """How the score of each sampler falls with its calls of the network."""
    numbers = [n for n in CALLS if n <= config.sampling_steps]
    key = jax.random.key(config.seed + 2)
    found, pictures = {}, []
    for name, sampler in SAMPLERS.items():
        calls = 2 if name == "Heun" else 1
        found[name] = []
        for number in numbers:
            steps = max(1, number // calls)
            made = generate(config, model, splits, sampler, steps, key, count)
            found[name].append(critic.scores(made)["frechet"])
            pictures.append((name, made[:10]))
    with plot(folder / "steps.svg", height=3.4) as (ax,):
        for name, values in found.items():
            ax.plot(numbers, values, marker="o", ms=3, label=f"{name}  {values[-1]:.1f}")
        ax.set(xscale="log", yscale="log", xlabel="calls of the network", ylabel=NAMES["frechet"])
        ax.set_xticks(numbers, map(str, numbers))
        ax.set_yticks(
            [y for y in (3, 5, 10, 20, 50, 100) if y < 1.2 * max(map(max, found.values()))]
        )
        ax.yaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
        ax.legend(fontsize=8)
    rows = [[name, *values] for name, values in found.items()]
    curves = Section(
        "Score by number of steps",
        f"Of {count} images each, so that the floor is higher than above. Heun calls the network "
        "twice a step and so takes half as many steps. Drawing all noise afresh, the course's "
        "other reading, is a sampler of another distribution, whatever the number of steps.",
        figures=[Figure(folder / "steps.svg", f"{NAMES['frechet']}, lower is better.")],
        table=Table(["sampler", *(f"{n} calls" for n in numbers)], rows),
    )
    sheets = [
        Figure(
            sheet(np.concatenate([x for other, x in pictures if other == name])),
            f"{name}: rows of {', '.join(map(str, numbers))} calls.",
        )
        for name in SAMPLERS
    ]
    return curves, Section("Samples by number of steps", "The same noise each time.", sheets)


def inversion(config: Any, model: Denoiser, splits: data.Splits) -> Section:
    """Test images, the noise that makes them, and what that noise makes."""
    x0 = 2 * jnp.asarray(splits.test["image"][:10]) - 1
    predict = predictor(model, jnp.asarray(splits.test["labels"][:10]))
    # Without the last, endless step: where no signal is left all images have the same noise.
    alpha_bar, steps = schedule(config)[:-1], min(50, config.schedule_steps - 1)
    path = ops.sampling_schedule(alpha_bar, steps=steps)
    rows, found = [x0], []
    for iterations in (1, 5):
        noise = ops.invert_diffusion(predict, x0, alpha_bar, steps=steps, iterations=iterations)
        back = ops.solve_ddim(predict, noise, path)[0][-1]
        rows += [noise, back]
        error = float(jnp.sqrt(jnp.mean((back - x0) ** 2))) / 2
        found.append([iterations, error, float(jnp.std(noise))])
    return Section(
        "From image to noise and back",
        "DDIM run backwards gives the noise behind an image, here of images that were never "
        "learnt from; run forwards again it gives back the image. Rows: the images; their "
        "noise and what it makes, with one substitution for each step; the same with five.",
        figures=[Figure(sheet(to_pixels(jnp.concatenate(rows))), "Image, noise, image.")],
        table=Table(["substitutions", "error (of 1)", "deviation of the noise"], found),
    )


def guidance(
    config: Any, model: Denoiser, splits: data.Splits, critic: Judge, key: jax.Array
) -> Section:
    """What asking for a class more and more strongly does."""
    labels = classes(splits, 4)
    shape = (len(labels), *splits.train["image"].shape[1:])
    none = jnp.full_like(labels, len(splits.classes))
    figures, rows = [], []
    for scale in (0.0, 1.0, 3.0):
        predict = ops.classifier_free_guidance(
            predictor(model, labels), predictor(model, none), scale=scale
        )
        x = ops.sample_dpm(key, predict, shape, schedule(config), steps=config.sampling_steps)
        pictures = to_pixels(x)
        right = float(np.mean(critic.labels(pictures) == np.asarray(labels)))
        figures.append(Figure(sheet(pictures, columns=len(splits.classes)), f"Scale {scale:g}."))
        rows.append([scale, right, float(np.std(pictures.reshape(4, -1), axis=0).mean())])
    return Section(
        "Guidance by class",
        "A column for each class. At 0 the class is not told, at 1 it is, above it is exaggerated: "
        "samples of a class become clearer and more alike.",
        figures=figures,
        table=Table(["scale", "taken for the class asked for", "deviation in a class"], rows),
    )
