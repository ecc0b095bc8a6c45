"""A code is an area, and the divergence acts on all areas together. CPU, 30 s; same class 0.997.

The encoder of a VAE gives a mean μ and a deviation σ for each image. Around a code, decodings keep
their class as far as its σ reaches, and not at the same distance in any direction. The weight β of
the divergence pushes μ to 0 and σ to 1, and the distribution Q(z) of all codes together to the
prior: at β = 1 areas of single images are small, and still Q(z) has the prior's deviation.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse

from lectures_jax import data, metrics, objectives, report, runtime, weights
from lectures_jax.models.vae import Vae
from lectures_jax.recipes import vae
from lectures_jax.recipes.ensemble import Ensemble, train_ensemble
from lectures_jax.recipes.evaluator import Evaluator, evaluator
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, MUTED, color, plot
from lectures_jax.typing import Batch, Key, Metrics

EXPECTED = {
    "kept_at_1": (0.98, None),
    "kept_at_1_over_4": (0.1, None),
    "kept_over_any_direction": (0.02, None),
    "mean_size_fall": (1.5, None),
    "deviation_of_one": (None, 0.4),
    "deviation_of_all": (0.9, 1.15),
    "mean_size_at_most": (None, 0.05),
}
TINY = {"steps": 2, "betas": (0.0, 1.0), "seeds": 1, "decodings": 1, "evaluator_steps": 2}
DISTANCES: dict[str, dict[str, Any]] = {
    **{f"{size:g} σ": {"size": size} for size in (0.5, 1.0, 2.0, 4.0)},
    "2 σ, any direction": {"size": 2.0, "directed": False},
}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    betas: tuple[float, ...] = (0.0, 0.25, 1.0, 4.0, 16.0)
    """weights of the divergence, rising; decodings are of the weight 1"""
    latent: int = 16
    """units of the code"""
    hidden: int = 128
    """units of the hidden layer of encoder and decoder"""
    steps: int = 2000
    """of each training"""
    decodings: int = 10
    """around the code of each image, at each distance"""
    evaluator_steps: int | None = None
    """of the network that names the class of a decoding; None: 500"""
    seeds: int = 3
    """networks of each weight"""
    seed: int = 0
    """the first of them: of parameters, order and noise"""


def weighted(model: Vae, batch: Batch, key: Key, beta: jax.Array) -> tuple[jax.Array, Metrics]:
    """Minus the evidence lower bound, the divergence weighted by β."""
    return objectives.elbo(model, batch, key, beta=lambda _: beta)


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains all VAEs, measures their codes, and writes the report."""
    if 1.0 not in config.betas:
        raise ValueError(f"--betas: expected 1 among them, got {config.betas}.")
    splits = data.read_classified("digits")
    scorer = evaluator("digits", None, out, steps=config.evaluator_steps)
    images = splits.test["image"]
    vaes = train(config, config.latent, config.betas, splits)
    codes = vaes.call(Vae.posterior, jnp.asarray(images))
    by_beta = [x.reshape(len(config.betas), config.seeds, *x.shape[1:]) for x in codes]
    table = [measure_codes(*parts) for parts in zip(*by_beta, strict=True)]
    one = config.betas.index(1.0)
    models = [vaes.model(one * config.seeds + i) for i in range(config.seeds)]
    keys = jax.random.split(jax.random.key(config.seed), config.decodings)
    kept = [measure_areas(model, images, scorer, keys) for model in models]
    shares = {name: np.array([row[name] for row in kept]) for name in kept[0]}
    _, at_1, at_2, at_4, any_direction = (float(values.mean()) for values in shares.values())
    sizes = [row["mean_size"].mean() for row in table]
    numbers = {
        "kept_at_1": at_1,
        "kept_at_1_over_4": at_1 - at_4,
        "kept_over_any_direction": at_2 - any_direction,
        "mean_size_fall": float(sizes[0] / sizes[one]),
        "deviation_of_one": float(table[one]["deviation"].mean()),
        "deviation_of_all": float(table[one]["deviation_of_all"].mean()),
        "mean_size_at_most": float(sizes[-1]),
    }
    (folder := out / "figures").mkdir(parents=True, exist_ok=True)
    sections = [
        model_section(models[0], images[:1], folder / "model.svg"),
        areas_section(models[0], images[:1], shares),
        weights_section(config, table, folder / "weights.svg"),
        plane_section(config, splits, folder / "plane.svg"),
    ]
    write_report(config, out, numbers, sections)
    return numbers


def train(config: Config, latent: int, betas: tuple[float, ...], splits: data.Splits) -> Ensemble:
    """VAEs of each weight, those of one weight side by side."""
    sizes = {"shape": [8, 8, 1], "latent": latent, "hidden": config.hidden, "dense": True}
    sizes |= {"variance": 0.05, "learned_variance": True}
    models = [
        weights.build_model("vae", sizes, rngs=nnx.Rngs(config.seed + i))
        for _ in betas
        for i in range(config.seeds)
    ]
    return train_ensemble(
        models,
        weighted,
        {"image": splits.train["image"]},
        jnp.repeat(jnp.asarray(betas), config.seeds),
        steps=config.steps,
        batch_size=128,
        learning_rate=3e-3,
        seed=config.seed,
    )


def measure_codes(mean: np.ndarray, log_var: np.ndarray) -> dict[str, np.ndarray]:
    """Of the codes [seed, image, unit] of one weight: sizes, and both parts of the divergence."""
    parts = [
        metrics.aggregate_posterior(jax.random.key(0), jnp.asarray(m), jnp.asarray(v))
        for m, v in zip(mean, log_var, strict=True)
    ]
    return {
        "mean_size": np.abs(mean).mean(axis=(1, 2)),
        "deviation": np.exp(log_var / 2).mean(axis=(1, 2)),
        "deviation_of_all": np.sqrt(mean.var(axis=1) + np.exp(log_var).mean(axis=1)).mean(axis=1),
        "information": np.array([float(part.information) for part in parts]),
        "mismatch": np.array([max(float(part.mismatch), 0.0) for part in parts]),
    }


def around(
    key: Key, mean: np.ndarray, log_var: np.ndarray, *, size: float, directed: bool = True
) -> np.ndarray:
    """Codes `μ + size σ ε`; not directed, all units of a code move by the same deviation."""
    variance = np.exp(log_var)
    if not directed:
        variance = variance.mean(axis=-1, keepdims=True)
    return mean + size * np.sqrt(variance) * np.asarray(jax.random.normal(key, mean.shape))


def measure_areas(model: Vae, images: np.ndarray, scorer: Evaluator, keys: Key) -> dict[str, float]:
    """Share of decodings around a code that keep the class of its own."""
    codes = vae.encode(model, images)
    own = np.tile(scorer.labels(vae.decode(model, codes[0])), len(keys))
    kept = {}
    for name, kind in DISTANCES.items():
        drawn = np.concatenate([around(key, *codes, **kind) for key in keys])
        kept[name] = float(np.mean(scorer.labels(vae.decode(model, drawn)) == own))
    return kept


def model_section(model: Vae, image: np.ndarray, path: Path) -> Section:
    """Figure 4.1: an image, its code, a sample of it, and what the decoder makes of that."""
    mean, log_var = vae.encode(model, image)
    z = vae.draw_codes(jax.random.key(0), model, image)
    columns = {"μ": mean, "σ": np.exp(log_var / 2), "z": z}
    boxes = [("x", 0, image[0, ..., 0]), ("encoder", 2.1, None)]
    boxes += [(name, 4 + 1.1 * i, x.T) for i, (name, x) in enumerate(columns.items())]
    boxes += [("decoder", 7.4, None), ("reconstruction", 9.3, vae.decode(model, z)[0, ..., 0])]
    with plot(path, height=1.2) as (ax,):
        for name, x, values in boxes:
            draw_box(ax, name, x, values)
        for start, end in ((1.45, 2.05), (3.25, 3.9), (6.6, 7.35), (8.55, 9.25)):
            ax.annotate("", (end, 0), (start, 0), arrowprops={"arrowstyle": "->", "color": MUTED})
        ax.set(xlim=(-0.1, 10.8), ylim=(-0.8, 1.1), aspect="equal")
        ax.axis("off")
    return Section(
        "The model",
        "The encoder gives a mean and a deviation for each unit of the code; a code is drawn, "
        "z = μ + σ ε with ε from N(0, I), and decoded. In training the divergence of N(μ, σ²) from "
        "N(0, I) is added to the reconstruction's error.",
        figures=[Figure(path, "A trained VAE with an image of the test set; a cell is a unit.")],
    )


def draw_box(ax: Axes, name: str, x: float, values: np.ndarray | None) -> None:
    """An image or a column of numbers in gray at a place, or an empty box for a network."""
    width, height = (1.1, 0.6) if values is None else (1.4 if values.shape[1] > 1 else 0.3, 0.7)
    if values is None:
        corners = [(x, -height), (x + width, -height), (x + width, height), (x, height)]
        ax.fill(*np.transpose(corners), fc="none", ec=INK, lw=0.8)
    else:
        ax.imshow(values, extent=(x, x + width, -height, height), cmap="gray")
    ax.text(x + width / 2, height + 0.12, name, ha="center", fontsize=8)


def areas_section(model: Vae, image: np.ndarray, kept: dict[str, np.ndarray]) -> Section:
    """What is decoded around a code, and how much around all codes keeps its class."""
    mean, log_var = (np.tile(x, (10, 1)) for x in vae.encode(model, image))
    rows = [np.repeat(image, 10, axis=0), vae.decode(model, mean)]
    drawn = [around(jax.random.key(1), mean, log_var, **kind) for kind in DISTANCES.values()]
    rows += [vae.decode(model, codes) for codes in drawn]
    table = [(name, report.mean_and_deviation(x, digits=3)) for name, x in kept.items()]
    caption = f"From top to bottom: the image; its μ decoded; then {'; '.join(kept)}."
    return Section(
        "An area of similar codes",
        "Codes μ + r σ ε around those of test images, decoded; a network that was trained on other "
        "images than the VAE names the class of each. Within a σ or two the class stays. In the "
        "last row every unit moves by the same deviation, the root mean square of the image's σ: "
        "as far in all, but not along the axes that the encoder left wide.",
        figures=[Figure(report.sheet(np.concatenate(rows)), caption)],
        table=Table(("distance", "share that keeps the class"), table),
    )


def weights_section(config: Config, table: list[dict[str, np.ndarray]], path: Path) -> Section:
    """Sizes of codes and the parts of the divergence, by its weight."""
    labels = {
        "mean_size": "mean |μ|",
        "deviation": "mean σ",
        "deviation_of_all": "deviation of Q(z)",
        "information": "information",
        "mismatch": "KL(Q(z) ‖ p)",
    }
    ticks = np.arange(len(table))
    with plot(path, columns=2, height=2.4) as axes:
        for number, name in enumerate(labels):
            ax = axes[number > 2]
            values = np.array([row[name].mean() for row in table])
            ax.plot(ticks, values, marker="o", ms=3, color=color(number), label=labels[name])
        for ax, title in zip(axes, ("of the codes", "nats"), strict=True):
            ax.set_xticks(ticks, [f"{beta:g}" for beta in config.betas])
            ax.set(xlabel="β", ylabel=title)
            ax.legend(fontsize=7)
        axes[1].set(yscale="symlog", ylim=(0, None))
    rows = [
        (f"{beta:g}", *(report.mean_and_deviation(row[name], digits=2) for name in labels))
        for beta, row in zip(config.betas, table, strict=True)
    ]
    return Section(
        "What the divergence does",
        "With its weight β the means go to 0 and the deviations to 1, until no code tells images "
        "apart. The divergence is the sum of two parts: the information of a code about its image, "
        "and the divergence of all codes together, Q(z), from the prior. It is Q(z) that arrives "
        "first: at β = 1 an area is still small beside the prior, and the deviation of all "
        "codes is already that of the prior. These images can tell at most the logarithm of their "
        "number, 5.88 nats, apart; what they would tell beyond it counts as Q(z)'s.",
        figures=[Figure(path, "Means over the seeds and the test images.")],
        table=Table(("β", *labels.values()), rows),
    )


def plane_section(config: Config, splits: data.Splits, path: Path) -> Section:
    """Figure 4.2: codes of two units with their areas, and the decoded plane."""
    model = train(config, 2, (1.0,), splits).model(0)
    mean, log_var = vae.encode(model, splits.test["image"])
    labels = splits.test["labels"]
    with plot(path, height=4.4) as (ax,):
        for (x, y), (w, h), label in zip(mean, 2 * np.exp(log_var / 2), labels, strict=True):
            ax.add_patch(Ellipse((x, y), w, h, fc=color(int(label)), alpha=0.35, lw=0))
        for label, name in enumerate(splits.classes):
            x, y = np.median(mean[labels == label], axis=0)
            ax.text(x, y, name, ha="center", va="center", color=INK, weight="bold")
        ax.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xlabel="first unit", ylabel="second")
    line = np.linspace(-2.5, 2.5, 15)
    plane = np.stack(np.meshgrid(line, line[::-1]), axis=-1).reshape(-1, 2)
    decoded = vae.decode(model, plane.astype(np.float32))
    return Section(
        "A latent space of two units",
        "A VAE whose code is a point of the plane: each test image is an ellipse of one σ around "
        "its μ, in the color of its class, whose name stands at the median. Neighboring places "
        "are decoded to similar images.",
        figures=[
            Figure(path, "Codes of the test images."),
            Figure(report.sheet(decoded, columns=15, width=24), "The plane from -2.5 to 2.5."),
        ],
    )


def write_report(
    config: Config, out: Path, numbers: dict[str, float], sections: list[Section]
) -> None:
    """Writes `report.html`."""
    report.page(
        out / "report.html",
        title="Codes that are areas",
        summary="What the encoder's deviation means, and what the divergence pushes where.",
        numbers={
            "same class at 1 σ": numbers["kept_at_1"],
            "σ of an image, β = 1": numbers["deviation_of_one"],
            "deviation of Q(z), β = 1": numbers["deviation_of_all"],
        },
        sections=[*sections, report.configuration(asdict(config))],
        footer=runtime.environment(),
    )
