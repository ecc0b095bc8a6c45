"""A linear map takes one model's codes to another's. CPU, 3 min; recovered image error 0.93.

Images are encoded by a source model, mapped, and decoded by a target model. The map is the least
squares of a few images that both encode, the support set. Models: two VAEs that differ in the
seed and an autoencoder, for which the score is; a GAN, a flow and a diffusion model beside them.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lectures_jax import data, ops, report, runtime
from lectures_jax.recipes.generator import Kind
from lectures_jax.recipes.latent_spaces import (
    KIN,
    Settings,
    Space,
    share_recovered,
    train_spaces,
)
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot

EXPECTED = {"recovered": (0.85, None)}
THREADED_CONVOLUTIONS = True  # the maps are small, so the convolutions are XLA's own
TINY = {
    "training": Settings(steps=2, hidden=8, latent=2, families=("GAN",)),
    "factors": (4.0,),
    "draws": 1,
    "support_images": 16,
    "test_images": 16,
}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """images: the built-in digits, files in MNIST's format, or folders"""
    root: Path | None = None
    """folder of the files"""
    training: Settings = field(default_factory=Settings)
    """of all models"""
    factors: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0)
    """sizes of the support set, in units of the code's size; 4 must be among them"""
    draws: int = 5
    """support sets of each size, over which errors are averaged"""
    ridge: float = 0.1
    """of the regularized map, times the number of images"""
    support_images: int = 2000
    """from which support sets are drawn, at most"""
    test_images: int = 500
    """that measure, at most"""
    seed: int = 0
    """of parameters, order and support sets"""


Fit = Callable[[jax.Array, jax.Array], ops.LatentMap]


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains the models, maps every pair both ways, and writes the report."""
    splits = data.read_classified(config.data, config.root)
    images = Images(
        splits.train["image"][: config.support_images], splits.test["image"][: config.test_images]
    )
    spaces = train_spaces(config.training, config.data, splits, out, seed=config.seed)
    coded = {name: encode_all(space, images) for name, space in spaces.items()}
    kinds, draws = fits(config), range(config.draws)
    curves = {  # of models for which the course's claim is measured in full
        (a, b): {
            name: [
                recovered(config, images, coded[a], coded[b], fit, size, draws)
                for size in config.factors
            ]
            for name, fit in kinds.items()
        }
        for a, b in permutations(KIN, 2)
    }
    families = {
        (a, b): recovered(config, images, coded[a], coded[b], kinds["ridge"], 4.0, draws[:2])
        for a, b in permutations(coded, 2)
    }
    four = config.factors.index(4.0)
    at_four = {pair: shares["least squares"][four] for pair, shares in curves.items()}
    numbers = {
        "recovered": float(np.mean(list(at_four.values()))),
        "recovered_worst": float(min(at_four.values())),
        "recovered_ridge": float(np.mean([shares["ridge"][four] for shares in curves.values()])),
        "recovered_families": float(np.mean(list(families.values()))),
        "recovered_families_worst": float(min(families.values())),
    }
    write_report(config, out, images, coded, curves, families, numbers)
    return numbers


def fits(config: Config) -> dict[str, Fit]:
    """The maps that are compared."""

    def ridge(source: jax.Array, target: jax.Array) -> ops.LatentMap:
        return ops.fit_latent_map(source, target, ridge=config.ridge * len(source))

    return {
        "least squares": ops.fit_latent_map,
        "ridge": ridge,
        "without intercept": partial(ops.fit_latent_map, intercept=False),
        "Procrustes": ops.fit_rotation,
    }


class Images(NamedTuple):
    """Images from which support sets are drawn, and images that no model was trained on."""

    trained: np.ndarray
    unseen: np.ndarray


class Coded(NamedTuple):
    """The codes of the images in one space, and the unseen ones as the model rebuilds them."""

    trained: jax.Array
    unseen: jax.Array
    rebuilt: np.ndarray
    decode: Callable[[np.ndarray], np.ndarray]


def encode_all(space: Space, images: Images) -> Coded:
    """Everything about this space that maps from it and to it need."""
    trained, unseen = (space.encode(some) for some in images)
    rebuilt = space.decode(unseen)
    return Coded(jnp.asarray(trained), jnp.asarray(unseen), rebuilt, space.decode)


def recovered(
    config: Config,
    images: Images,
    source: Coded,
    target: Coded,
    fit: Fit,
    factor: float,
    draws: Sequence[int],
) -> float:
    """The share that maps recover, their support `factor` × the size of the source's code."""
    maps = [fit_from(config, source, target, fit, factor, draw) for draw in draws]
    codes = [np.asarray(ops.apply_latent_map(map_, source.unseen)) for map_ in maps]
    return share_recovered(
        images.unseen,
        np.stack([target.decode(z) for z in codes]),
        rebuilt=target.rebuilt,
        mean=images.trained.mean(axis=0),
    )


def fit_from(
    config: Config, source: Coded, target: Coded, fit: Fit, factor: float, draw: int
) -> ops.LatentMap:
    """A map from random training images, the same for every pair and kind of map."""
    count = max(1, round(factor * source.trained.shape[1]))
    rng = np.random.default_rng((config.seed, draw))
    support = rng.permutation(len(source.trained))[:count]
    return fit(source.trained[support], target.trained[support])


def write_report(
    config: Config,
    out: Path,
    images: Images,
    coded: dict[str, Coded],
    curves: dict,
    families: dict[tuple[str, str], float],
    numbers: dict[str, float],
) -> None:
    """The course's figure for each pair, and error against support-set size."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    draw_sizes(config, curves, figures)
    four = config.factors.index(4.0)
    maps = list(next(iter(curves.values())))
    rows = [
        (f"{source} → {target}", *(shares[name][four] for name in maps))
        for (source, target), shares in curves.items()
    ]
    sizes = Section(
        "Support set",
        "Share of the image error that the map recovers: 0 is predicting the mean image, 1 the "
        "target model's own reconstruction. Of a support of 4 × the code's size least squares "
        f"recover {numbers['recovered']:.2f}, with a ridge {numbers['recovered_ridge']:.2f}.",
        figures=[
            Figure(figures / "pairs.svg", "Least squares, every pair; dotted: the bound."),
            Figure(figures / "maps.svg", "Kinds of maps, mean over the pairs, down to -0.1."),
        ],
        table=Table(("map, support of 4 × the code's size", *maps), rows),
    )
    report.page(
        out / "report.html",
        title="Maps between latent spaces",
        summary="How far a linear map takes the codes of one model to those of another that was "
        f"trained on the same images: it recovers {numbers['recovered']:.0%} of the image error.",
        numbers={
            "recovered, mean of the pairs": numbers["recovered"],
            "worst pair": numbers["recovered_worst"],
            "with a ridge": numbers["recovered_ridge"],
            "all families, mean": numbers["recovered_families"],
        },
        sections=[
            sizes,
            families_section(families, figures),
            images_section(config, images, coded),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )


def families_section(families: dict[tuple[str, str], float], figures: Path) -> Section:
    """A matrix of all models."""
    names = list(dict.fromkeys(a for a, _ in families))
    shares = np.array([[families.get((a, b), 1.0) for b in names] for a in names])
    with plot(figures / "families.svg", height=3.6) as (ax,):
        ax.imshow(shares, vmin=-0.2, vmax=1, cmap="Blues")
        for (row, column), share in np.ndenumerate(shares):
            text = "" if row == column else f"{share:.2f}"
            dark = "white" if share > 0.6 else INK
            ax.text(column, row, text, ha="center", va="center", color=dark, fontsize=8)
        ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
        ax.set_yticks(range(len(names)), names)
        ax.set(xlabel="target", ylabel="source")
        ax.grid(visible=False)
    return Section(
        "Models of other kinds",
        "Share of the image error that a map with a ridge recovers from a support of 4 × the "
        "source's code. The GAN's codes come from an encoder that was trained afterwards; the "
        "flow's and the diffusion model's are exact and have as many numbers as the image has "
        "pixels.",
        figures=[Figure(figures / "families.svg", "From each model to each other one.")],
    )


def draw_sizes(config: Config, curves: dict, figures: Path) -> None:
    lines = {
        "pairs": {f"{s} → {t}": shares["least squares"] for (s, t), shares in curves.items()},
        "maps": {
            name: np.mean([shares[name] for shares in curves.values()], axis=0)
            for name in next(iter(curves.values()))
        },
    }
    for stem, named in lines.items():
        with plot(figures / f"{stem}.svg", height=3.4) as (ax,):
            for i, (name, shares) in enumerate(named.items()):
                ax.plot(config.factors, shares, marker="o", ms=3, color=color(i), label=name)
            ax.axhline(0.85, color=INK, lw=0.6, ls=":")
            ax.set_xscale("log", base=2)
            ax.set_xticks(config.factors, [f"{factor:g}" for factor in config.factors])
            ax.set(xlabel="support set, in units of the code's size", ylim=(-0.1, 1.02))
            ax.set_ylabel("share recovered")
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=7)


def images_section(config: Config, images: Images, coded: dict[str, Coded]) -> Section:
    """Rows of originals, own reconstructions and reconstructions through the map."""
    figures, fit, count = [], fits(config)["ridge"], 12
    others = [name for name in coded if name not in KIN]
    pairs = [*permutations(KIN, 2), *((KIN[0], other) for other in others)]
    for a, b in [*pairs, *((other, KIN[0]) for other in others)]:
        source, target = coded[a], coded[b]
        map_ = fit_from(config, source, target, fit, 4.0, draw=0)
        mapped = target.decode(np.asarray(ops.apply_latent_map(map_, source.unseen[:count])))
        rows = [images.unseen[:count], source.rebuilt[:count], target.rebuilt[:count], mapped]
        figures.append(Figure(report.sheet(np.concatenate(rows), columns=count), f"{a} → {b}"))
    return Section(
        "Images",
        "Each image from top to bottom: original, the source model's reconstruction, the target "
        "model's, and the target's decoding of the source's code after a map from a support of 4 × "
        "the source's code, with a ridge. All are test images.",
        figures=figures,
    )
