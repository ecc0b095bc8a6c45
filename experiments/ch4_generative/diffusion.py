"""Pictures from noise by a small conditional U-Net. CPU, 2 min; classifier-Fréchet 3.

By default handwritten digits of 8×8 pixels; `--data idx --root DIR` takes MNIST's format, such as
Fashion-MNIST, `--data images` folders. The page shows how noise becomes pictures, how few steps
each sampler needs, the way back from a picture to its noise, and guidance towards a class.
"""

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _common import Generator, Kind, read
from _judge import NAMES, batches, judge, section
from flax import nnx
from jax.tree_util import Partial

from lectures_jax import data, losses, objectives, ops, report, train
from lectures_jax.models.diffusion import Denoiser
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import plot

TINY = {"steps": 2, "batch_size": 8, "channels": (8,), "sampling_steps": 2, "samples": 20}
CHUNK = 256  # pictures sampled by one call of the compiled program
FIRST_LOG_SNR = 12.0  # of the bound: a noise of 0.005, a fiftieth of a level of the digits
STEPS = {"digits": 800, "idx": 3000, "images": 4000}
CHANNELS = {"digits": (32, 64), "idx": (48, 96), "images": (64, 96, 128)}
SAMPLERS = {
    "DDIM": ops.sample_diffusion,
    "DDPM": partial(ops.sample_diffusion, eta=1.0),
    "fresh noise": partial(ops.sample_diffusion, fresh_noise=True),
    "Heun": ops.sample_heun,
    "DPM++(2M)": ops.sample_dpm,
}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """what to learn: the built-in digits, four files in MNIST's format, or folders of pictures"""
    root: Path | None = None
    """folder of the files"""
    steps: int | None = None
    """training steps; None: 800 for digits, 3000 for MNIST's format, 4000 for folders"""
    batch_size: int = 64
    """pictures per step"""
    channels: tuple[int, ...] | None = None
    """of the network's levels; None: 32, 64 for digits, more for larger pictures"""
    learning_rate: float = 2e-3
    """highest of Adam's one-cycle schedule"""
    ema_decay: float = 0.998
    """of the averaged parameters that sample"""
    class_dropout: float = 0.15
    """share of the pictures whose class is not told"""
    schedule_steps: int = 1000
    """levels of noise"""
    sampling_steps: int = 20
    """calls of the network for one picture"""
    samples: int | None = None
    """pictures that are scored; None: as many as the judge asks for"""
    seed: int = 0
    """of parameters, order, noise and samples"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains, samples in several ways, scores, and writes the report."""
    default, config = config == Config(), filled(config)
    splits = read(config.data, config.root)
    generator = learn(config, splits, out)
    numbers = write_report(config, out, splits, generator)
    if default and numbers["frechet"] > 5:
        raise RuntimeError(f"expected a classifier-Fréchet of 5 on the digits, got {numbers}.")
    return numbers


def learn(config: Config, splits: data.Splits, out: Path | None) -> Generator:
    """Trains the network to tell picture from noise, and returns it with its sampler."""
    config = filled(config)
    start = time.process_time()
    key_init, key_train = jax.random.split(jax.random.key(config.seed))
    images = splits.train["image"]
    model = Denoiser(
        channels=config.channels,
        inputs=images.shape[-1],
        num_classes=len(splits.classes),
        patch=1 if config.data == "digits" else 2,
        rngs=nnx.Rngs(key_init),
    )
    model, history = train.fit(
        key_train,
        model,
        partial(
            objectives.predict_velocity,
            alpha_bar=schedule(config),
            class_dropout=config.class_dropout,
        ),
        optax.adam(optax.cosine_onecycle_schedule(config.steps, config.learning_rate)),
        batches(splits.train, batch_size=min(config.batch_size, len(images)), seed=config.seed),
        steps=config.steps,
        out=out,
        ema_decay=config.ema_decay,
    )
    seconds = time.process_time() - start
    sample = partial(generate, config, model, splits, ops.sample_dpm, config.sampling_steps)
    parameters = sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))
    return Generator(
        sample, parameters, seconds, bits_per_dim(config, model, splits), history, model
    )


def filled(config: Config) -> Config:
    """The configuration with the defaults of its data."""
    return replace(
        config,
        steps=config.steps or STEPS[config.data],
        channels=config.channels or CHANNELS[config.data],
    )


def schedule(config: Config) -> jax.Array:
    """Signal ratios; nothing is left at the last, so that sampling starts where training ends."""
    return ops.zero_terminal_snr(ops.cosine_schedule(config.schedule_steps))


def predictor(model: Denoiser, labels: jax.Array) -> Partial:
    """What samplers ask: the network's velocity, as picture and noise."""
    return ops.predictor_of_velocity(Partial(answer, model, labels))


def answer(model: Denoiser, labels: jax.Array, x_t: jax.Array, alpha_bar: jax.Array) -> jax.Array:
    """The network's answer at one level of noise."""
    return model(x_t, jnp.broadcast_to(alpha_bar, len(x_t)), labels)


def generate(config, model, splits, sampler, steps: int, key: jax.Array, count: int) -> np.ndarray:
    """Pictures of the classes that the training pictures have, in the same shares."""
    shape = (CHUNK, *splits.train["image"].shape[1:])
    known = splits.train["labels"]
    labels = np.resize(known[np.random.default_rng(0).permutation(len(known))], count)
    parts = []
    for start in range(0, count, CHUNK):
        wanted = jnp.asarray(np.resize(labels[start : start + CHUNK], CHUNK))
        predict = predictor(model, wanted)
        x = sampler(key, predict, shape, schedule(config), steps=steps, first=start)
        parts.append(to_pixels(x)[: count - start])
    return np.concatenate(parts)


def to_pixels(x: jax.Array) -> np.ndarray:
    """From [-1, 1] to [0, 1]."""
    return np.clip((np.asarray(x, np.float32) + 1) / 2, 0, 1)


def bits_per_dim(config: Config, model: Denoiser, splits: data.Splits) -> float:
    """Variational bound of some test pictures, whose classes are told, in bits for each pixel."""
    count = min(CHUNK, len(splits.test["labels"]))
    x = 2 * jnp.asarray(splits.test["image"][:count]) - 1
    # Finer at the end than the schedule of the training, so that the last noise hides no level.
    alpha_bar = jax.nn.sigmoid(jnp.linspace(FIRST_LOG_SNR, -10, config.schedule_steps))
    terms = losses.variational_bound(
        jax.random.key(config.seed),
        predictor(model, jnp.asarray(splits.test["labels"][:count])),
        x,
        alpha_bar,
        levels=splits.levels,
        draws=min(100, config.schedule_steps - 1),
    )
    return float(jnp.mean(sum(terms))) / (x[0].size * np.log(2))


def write_report(
    config: Config, out: Path, splits: data.Splits, generator: Generator
) -> dict[str, float]:
    """Writes `report.html`; returns the scores."""
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    model, critic = generator.model, judge(config.data, config.root)
    count = config.samples or critic.count
    key = jax.random.key(config.seed + 1)
    pictures = generator.sample(key, count)
    scores = critic.scores(pictures)
    named = {
        "bits_per_dim": generator.bits_per_dim,
        "parameters": float(generator.parameters),
        "seconds": generator.seconds,
    }
    curves, by_steps = few_steps(config, model, splits, critic, figures, min(count, 1000))
    report.page(
        out / "report.html",
        title=f"Diffusion of {config.root.name if config.root else 'digits'}",
        summary=f"Pictures made from noise in {config.sampling_steps} calls of a network that "
        f"learnt to take noise away.",
        numbers={NAMES["frechet"]: scores["frechet"], **named},
        sections=[
            report.training(generator.history, figures, losses=[["loss"]], scores=[["grad_norm"]]),
            samples(splits, pictures),
            section(scores, critic.floors),
            strip(config, model, splits, key),
            curves,
            by_steps,
            inversion(config, model, splits),
            guidance(config, model, splits, key),
            report.timing(generator.history, batch_size=config.batch_size),
            report.configuration(asdict(config)),
        ],
        footer=train.environment(),
    )
    return {**scores, **named}


def sheet(pictures: np.ndarray, columns: int) -> np.ndarray:
    """Pictures side by side, small ones enlarged."""
    times = max(1, 32 // pictures.shape[1])
    large = np.repeat(np.repeat(pictures, times, axis=1), times, axis=2)
    return report.grid(large, columns=columns)


def samples(splits: data.Splits, pictures: np.ndarray) -> Section:
    """Real pictures beside generated ones."""
    shown = pictures[:100]
    real = splits.train["image"][: len(shown)]
    return Section(
        "Samples",
        "None is chosen. The classes have the shares that they have in the training set.",
        figures=[
            Figure(sheet(shown, 10), "Generated."),
            Figure(sheet(real, 10), "From the training set."),
        ],
    )


def classes(splits: data.Splits, rows: int) -> jax.Array:
    """Labels for a sheet with a column for each class."""
    return jnp.tile(jnp.arange(len(splits.classes)), rows)


def strip(config: Config, model: Denoiser, splits: data.Splits, key: jax.Array) -> Section:
    """From noise to a picture, a row for each class."""
    labels = classes(splits, 1)
    noise = ops.normal_by_sample(key, (len(labels), *splits.train["image"].shape[1:]))
    path = ops.sampling_path(schedule(config), steps=min(20, config.schedule_steps))
    levels, seen = ops.solve_ddim(predictor(model, labels), noise, path)
    shown = np.rint(np.linspace(0, len(levels) - 1, 11)).astype(int)
    rows = lambda x: to_pixels(x).swapaxes(0, 1).reshape(-1, *noise.shape[1:])
    seen = jnp.concatenate([seen, levels[-1:]])
    return Section(
        "From noise to picture",
        "Twenty steps of DDIM, every other one shown; a row for each class. The network's first "
        "guess at the picture is the mean of the class, and details come last.",
        figures=[
            Figure(sheet(rows(levels[shown]), 11), "x_T to x_0."),
            Figure(sheet(rows(seen[shown]), 11), "The picture that the network sees in each."),
        ],
    )


def few_steps(
    config: Config, model: Denoiser, splits: data.Splits, critic, folder: Path, count: int
) -> tuple[Section, Section]:
    """How the score of each sampler falls with its calls of the network."""
    numbers = [n for n in (2, 5, 10, 20, 50) if n <= config.sampling_steps * 2.5]
    labels, key = classes(splits, 1), jax.random.key(config.seed + 2)
    shape = (len(labels), *splits.train["image"].shape[1:])
    found, pictures = {}, []
    for name, sampler in SAMPLERS.items():
        calls = 2 if name == "Heun" else 1
        found[name] = []
        for number in numbers:
            steps = max(1, number // calls)
            made = generate(config, model, splits, sampler, steps, key, count)
            found[name].append(critic.scores(made)["frechet"])
            if name in ("DDIM", "DPM++(2M)"):
                x = sampler(key, predictor(model, labels), shape, schedule(config), steps=steps)
                pictures.append((name, to_pixels(x)))
    with plot(folder / "steps.svg", height=3.4) as (ax,):
        for name, values in found.items():
            ax.plot(numbers, values, marker="o", ms=3, label=f"{name}  {values[-1]:.1f}")
        ax.set(xscale="log", yscale="log", xlabel="calls of the network", ylabel=NAMES["frechet"])
        ax.set_xticks(numbers, map(str, numbers))
        ax.minorticks_off()
        ax.legend(fontsize=8)
    rows = [[name, *values] for name, values in found.items()]
    curves = Section(
        "Score by number of steps",
        f"Of {count} pictures each, so that the floor is higher than above. Heun calls the network "
        "twice a step and so takes half as many steps. Drawing all noise afresh, the course's "
        "other reading, is a sampler of another distribution, whatever the number of steps.",
        figures=[Figure(folder / "steps.svg", f"{NAMES['frechet']}, lower is better.")],
        table=Table(["sampler", *(f"{n} calls" for n in numbers)], rows),
    )
    sheets = [
        Figure(
            sheet(np.concatenate([x for other, x in pictures if other == name]), len(labels)),
            f"{name}: rows of {', '.join(map(str, numbers))} steps.",
        )
        for name in ("DDIM", "DPM++(2M)")
    ]
    return curves, Section("Samples by number of steps", "The same noise each time.", sheets)


def inversion(config: Config, model: Denoiser, splits: data.Splits) -> Section:
    """Test pictures, the noise that makes them, and what that noise makes."""
    x0 = 2 * jnp.asarray(splits.test["image"][:10]) - 1
    predict = predictor(model, jnp.asarray(splits.test["labels"][:10]))
    # Without the last, endless step: where no signal is left all pictures have the same noise.
    alpha_bar, steps = schedule(config)[:-1], min(50, config.schedule_steps - 1)
    path = ops.sampling_path(alpha_bar, steps=steps)
    rows, found = [x0], []
    for iterations in (1, 5):
        noise = ops.invert_diffusion(predict, x0, alpha_bar, steps=steps, iterations=iterations)
        back = ops.solve_ddim(predict, noise, path)[0][-1]
        rows += [noise, back]
        error = float(jnp.sqrt(jnp.mean((back - x0) ** 2))) / 2
        found.append([iterations, error, float(jnp.std(noise))])
    return Section(
        "From picture to noise and back",
        "DDIM run backwards gives the noise behind a picture, here of pictures that were never "
        "learnt from; run forwards again it gives back the picture. Rows: the pictures; their "
        "noise and what it makes, with one substitution for each step; the same with five.",
        figures=[Figure(sheet(to_pixels(jnp.concatenate(rows)), 10), "Picture, noise, picture.")],
        table=Table(["substitutions", "error (of 1)", "deviation of the noise"], found),
    )


def guidance(config: Config, model: Denoiser, splits: data.Splits, key: jax.Array) -> Section:
    """What asking for a class more and more strongly does."""
    labels = classes(splits, 4)
    shape = (len(labels), *splits.train["image"].shape[1:])
    none = jnp.full_like(labels, len(splits.classes))
    critic, figures, rows = judge(config.data, config.root), [], []
    for scale in (0.0, 1.0, 3.0):
        predict = ops.guide(predictor(model, labels), predictor(model, none), scale=scale)
        x = ops.sample_dpm(key, predict, shape, schedule(config), steps=config.sampling_steps)
        pictures = to_pixels(x)
        right = float(np.mean(critic.labels(pictures) == np.asarray(labels)))
        figures.append(Figure(sheet(pictures, len(splits.classes)), f"Scale {scale:g}."))
        rows.append([scale, right, float(np.std(pictures.reshape(4, -1), axis=0).mean())])
    return Section(
        "Guidance by class",
        "A column for each class. At 0 the class is not told, at 1 it is, above it is exaggerated: "
        "samples of a class become clearer and more alike.",
        figures=figures,
        table=Table(["scale", "taken for the class asked for", "deviation in a class"], rows),
    )
