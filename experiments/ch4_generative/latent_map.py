"""A linear map takes one model's codes to another's. CPU, 1 min; recovered image error 0.93.

Pictures are encoded by a source model, mapped, and decoded by a target model. The map is the least
squares of a few pictures that both encode, the support set. Models: two VAEs that differ in the
seed, and an autoencoder.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import _codes
import _judge
import jax
import jax.numpy as jnp
import numpy as np
import optax
import vae
from _common import Kind, read
from flax import nnx

from lectures_jax import data, objectives, ops, report, train
from lectures_jax.models.autoencoder import (
    Autoencoder,
    ConvDecoder,
    ConvEncoder,
    DenseDecoder,
    dense_encoder,
)
from lectures_jax.report.page import Figure, Section, Table
from lectures_jax.report.theme import INK, color, plot

TINY = {"steps": 2, "hidden": 8, "latent": 2, "factors": (1.0, 4.0), "draws": 1}


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """pictures: the built-in digits, files in MNIST's format, or folders"""
    root: Path | None = None
    """folder of the files"""
    steps: int | None = None
    """training steps of each model; None: as in `vae`"""
    latent: int | None = None
    """units of the codes; None: as in `vae`"""
    hidden: int | None = None
    """units of the dense layers; None: as in `vae`"""
    factors: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0)
    """sizes of the support set, in units of the code's size; 4 must be among them"""
    draws: int = 5
    """support sets of each size, over which errors are averaged"""
    ridge: float = 0.1
    """of the regularized map, times the number of pictures"""
    seed: int = 0
    """of parameters, order and support sets"""


class Space(NamedTuple):
    """A model as the map sees it: pictures to codes and back."""

    encode: Callable[[np.ndarray], np.ndarray]
    decode: Callable[[np.ndarray], np.ndarray]


Fit = Callable[[jax.Array, jax.Array], ops.LatentMap]


def run(config: Config, out: Path) -> dict[str, float]:
    """Trains the models, maps every pair both ways, and writes the report."""
    default = config == Config(seed=config.seed)
    splits = read(config.data, config.root)
    spaces = learn_spaces(config, splits, out)
    kinds = fits(config)
    pairs = list(permutations(spaces, 2))
    curves = {
        pair: {name: recovered(config, splits, spaces, pair, fit) for name, fit in kinds.items()}
        for pair in pairs
    }
    four = config.factors.index(4.0)
    at_four = {pair: found["least squares"][four] for pair, found in curves.items()}
    numbers = {
        "recovered": float(np.mean(list(at_four.values()))),
        "recovered_worst": float(min(at_four.values())),
        "recovered_ridge": float(np.mean([found["ridge"][four] for found in curves.values()])),
    }
    write_report(config, out, splits, spaces, curves, numbers)
    if default and numbers["recovered"] < 0.85:
        raise RuntimeError(f"expected 0.85 of the image error to be recovered, got {numbers}.")
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


def learn_spaces(config: Config, splits: data.Splits, out: Path) -> dict[str, Space]:
    """Two VAEs of different seeds, and an autoencoder."""
    sizes = {"data": config.data, "root": config.root, "steps": config.steps}
    sizes |= {"latent": config.latent, "hidden": config.hidden}
    settings = vae.filled(vae.Config(**sizes, samples=(1,), components=2, seed=config.seed))
    spaces = {}
    for name, seed in (("VAE", 0), ("VAE, other seed", 1)):
        own = replace(settings, seed=config.seed + seed)
        model = vae.learn(own, splits, _folder(out, f"vae{seed}")).model
        spaces[name] = Space(
            lambda images, model=model: _codes.encode(model, images)[0],
            partial(_codes.decode, model),
        )
    model = learn_autoencoder(settings, splits, _folder(out, "autoencoder"))
    spaces["autoencoder"] = Space(partial(_encode, model), partial(_codes.decode, model))
    return spaces


def _folder(out: Path, name: str) -> Path:
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def learn_autoencoder(settings: vae.Config, splits: data.Splits, out: Path) -> Autoencoder:
    """The VAE's networks without its noise."""
    shape, rngs = splits.train["image"].shape[1:], nnx.Rngs(settings.seed + 7)
    z, size = settings.latent, settings.hidden
    if settings.data == "digits":
        encoder = dense_encoder(shape, z, hidden=(size,), rngs=rngs)
        decoder = DenseDecoder(z, shape, hidden=(size,), rngs=rngs)
    else:
        encoder = ConvEncoder(shape, z, hidden=size, rngs=rngs)
        decoder = ConvDecoder(z, shape, hidden=size, rngs=rngs)
    model, _ = train.fit(
        jax.random.key(settings.seed + 7),
        Autoencoder(encoder, decoder),
        objectives.autoencoder,
        optax.adam(optax.cosine_decay_schedule(settings.learning_rate / 3, settings.steps)),
        _judge.batches(splits.train, batch_size=settings.batch_size, seed=settings.seed),
        steps=settings.steps,
        out=out,
        ema_decay=settings.ema_decay,
        log_every=settings.steps,
    )
    return model


@nnx.jit
def _codes_of(model: Autoencoder, images: jax.Array) -> jax.Array:
    return model.encode(images)


def _encode(model: Autoencoder, images: np.ndarray) -> np.ndarray:
    parts = range(0, len(images), _codes.PART)
    return np.concatenate([_codes_of(model, images[i : i + _codes.PART]) for i in parts])


def recovered(
    config: Config,
    splits: data.Splits,
    spaces: dict[str, Space],
    pair: tuple[str, str],
    fit: Fit,
) -> list[float]:
    """The share of the image error that each size of the support set recovers.

    0: as bad as the mean training picture; 1: as good as the target model's own reconstruction.
    """
    source, target = (spaces[name] for name in pair)
    test = splits.test["image"][:2000]
    mean = np.mean(splits.train["image"], axis=0, keepdims=True)
    worst = np.mean((test - mean) ** 2)
    best = np.mean((test - target.decode(target.encode(test))) ** 2)
    codes = jnp.asarray(source.encode(test))
    shares = []
    for factor in config.factors:
        errors = []
        for support in supports(config, splits, factor * codes.shape[1]):
            map_ = fit(*(jnp.asarray(space.encode(support)) for space in (source, target)))
            mapped = target.decode(np.asarray(ops.apply_latent_map(map_, codes)))
            errors.append(np.mean((test - mapped) ** 2))
        shares.append(float((worst - np.mean(errors)) / (worst - best)))
    return shares


def supports(config: Config, splits: data.Splits, count: float) -> Iterator[np.ndarray]:
    """Random training pictures, the same for every pair and map."""
    images = splits.train["image"]
    for draw in range(config.draws):
        rng = np.random.default_rng((config.seed, draw))
        yield images[rng.permutation(len(images))[: max(1, round(count))]]


def write_report(
    config: Config,
    out: Path,
    splits: data.Splits,
    spaces: dict[str, Space],
    curves: dict,
    numbers: dict[str, float],
) -> None:
    """The course's figure for each pair, and error against support-set size."""
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    draw_sizes(config, curves, figures)
    four = config.factors.index(4.0)
    maps = list(next(iter(curves.values())))
    rows = [
        (f"{source} → {target}", *(found[name][four] for name in maps))
        for (source, target), found in curves.items()
    ]
    sizes = Section(
        "Support set",
        "Share of the image error that the map recovers: 0 is predicting the mean picture, 1 the "
        "target model's own reconstruction. Few pictures are enough, since the map has few "
        "numbers; a ridge helps where there are hardly more pictures than units.",
        figures=[
            Figure(figures / "pairs.svg", "Least squares, every pair of models."),
            Figure(figures / "maps.svg", "Kinds of maps, mean over the pairs."),
        ],
        table=Table(("map, support of 4 × the code's size", *maps), rows),
    )
    report.page(
        out / "report.html",
        title="Maps between latent spaces",
        summary="Two models that learnt the same pictures differ in their codes by little more "
        "than a linear map.",
        numbers={
            "recovered, mean of the pairs": numbers["recovered"],
            "worst pair": numbers["recovered_worst"],
            "with a ridge": numbers["recovered_ridge"],
        },
        sections=[
            pictures_section(config, splits, spaces),
            sizes,
            report.configuration(asdict(config)),
        ],
        footer=train.environment(),
    )


def draw_sizes(config: Config, curves: dict, figures: Path) -> None:
    lines = {
        "pairs": {f"{s} → {t}": found["least squares"] for (s, t), found in curves.items()},
        "maps": {
            name: np.mean([found[name] for found in curves.values()], axis=0)
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


def pictures_section(config: Config, splits: data.Splits, spaces: dict[str, Space]) -> Section:
    """Rows of originals, own reconstructions and reconstructions through the map."""
    shown, found = splits.test["image"][:12], []
    for source, target in permutations(spaces, 2):
        here, there = spaces[source], spaces[target]
        size = 4 * there.encode(shown).shape[1]
        support = next(supports(config, splits, size))
        map_ = ops.fit_latent_map(*(jnp.asarray(s.encode(support)) for s in (here, there)))
        mapped = ops.apply_latent_map(map_, jnp.asarray(here.encode(shown)))
        rows = [
            shown,
            here.decode(here.encode(shown)),
            there.decode(there.encode(shown)),
            there.decode(np.asarray(mapped)),
        ]
        sheet = _codes.sheet(np.concatenate(rows), columns=len(shown))
        found.append(Figure(sheet, f"{source} → {target}"))
    return Section(
        "Pictures",
        "Each picture from top to bottom: original, the source model's reconstruction, the target "
        "model's, and the target's decoding of the source's code after a map from a support of 4 × "
        "the code's size. All are test pictures.",
        figures=found,
    )
