"""Walks through a VAE's latent space, and what its units mean. CPU, 1 min; FactorVAE score 0.7.

Digits: straight walks and arcs between images, directions of an attribute. Sprites with four
known factors (shape, size, column, row): each unit moved by itself, and scores of disentanglement
for several weights of the divergence.
"""

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from lectures_jax import data, metrics, objectives, ops, report, runtime, train
from lectures_jax.data.sprites import FACTORS
from lectures_jax.models.autoencoder import DenseDecoder, dense_encoder
from lectures_jax.models.vae import Vae
from lectures_jax.recipes import vae
from lectures_jax.recipes.evaluator import Evaluator, evaluator
from lectures_jax.recipes.generator import Kind
from lectures_jax.recipes.optimizers import adam
from lectures_jax.report.page import Figure, Section, Table

EXPECTED = {"factor_vae": (0.45, None), "turned": (0.8, None)}
TINY = {
    "training": vae.Settings(
        steps=2, hidden=8, latent=2, samples=(1,), components=2, bound_images=8
    ),
    "sprite_steps": 2,
    "sprite_hidden": 8,
    "betas": (1.0,),
    "evaluator_steps": 2,
    "evaluator_images": 64,
}
FRAMES = 11  # of a walk


@dataclass(frozen=True)
class Config:
    """The fields and their units."""

    data: Kind = "digits"
    """images: the built-in digits, files in MNIST's format, or folders"""
    root: Path | None = None
    """folder of the files"""
    training: vae.Settings = field(
        default_factory=partial(vae.Settings, samples=(1,), components=2)
    )
    """of the VAE of images"""
    sprite_steps: int = 1500
    """training steps on sprites, for each weight"""
    sprite_hidden: int = 128
    """units of each of the sprites' two dense layers"""
    betas: tuple[float, ...] = (1.0, 4.0, 16.0)
    """weights of the divergence on sprites"""
    evaluator_steps: int | None = None
    """of the network that classifies the images; None: 500 for digits, 1500 for files"""
    evaluator_images: int = 5000
    """that the network is tested on, at most"""
    seed: int = 0
    """of parameters, order and noise"""


def run(config: Config, out: Path) -> dict[str, float]:
    """Both parts, one page."""
    config = replace(config, training=vae.with_defaults(config.training, config.data))
    splits = data.read_classified(config.data, config.root)
    model = vae.train(config.training, splits, out, seed=config.seed).model
    classifier = evaluator(
        config.data, config.root, out, steps=config.evaluator_steps, most=config.evaluator_images
    )
    directions, turned = attribute_section(model, splits, classifier)
    sprites = data.factor_sprites()
    models = {beta: train_on_sprites(config, beta, sprites, out) for beta in config.betas}
    scores = {beta: disentanglement(model, sprites) for beta, model in models.items()}
    best = max(scores, key=lambda beta: scores[beta]["FactorVAE"])
    numbers = {
        "factor_vae": scores[best]["FactorVAE"],
        "mig": scores[best]["MIG"],
        "turned": turned,
        "best_beta": best,
    }
    report.page(
        out / "report.html",
        title="Walks through latent spaces",
        summary="Between the codes of two images, along the direction of an attribute, and along "
        f"single units: how much of the meaning each has. A direction turns {turned:.0%} of the "
        f"digits; units score {numbers['factor_vae']:.2f}, where 1 is one factor each.",
        numbers={
            "FactorVAE score": numbers["factor_vae"],
            "mutual information gap": numbers["mig"],
            "share of digits turned": turned,
        },
        sections=[
            walks_section(model, splits),
            directions,
            traversal_section(models[best], best, sprites),
            scores_section(scores),
            report.configuration(asdict(config)),
        ],
        footer=runtime.environment(),
    )
    return numbers


def walks_section(model: Vae, splits: data.Splits) -> Section:
    """From one class to another, on a line and on an arc, and with pixels for comparison."""
    images, labels = splits.test["image"], splits.test["labels"]
    ends = [np.flatnonzero(labels == label)[0] for label in range(0, 10, 2)]
    others = [np.flatnonzero(labels == label)[1] for label in range(1, 10, 2)]
    t = jnp.linspace(0, 1, FRAMES)
    walks = {"line": [], "arc": [], "pixels": []}
    for i, j in zip(ends, others, strict=True):
        a, b = (jnp.asarray(z) for z in vae.encode(model, images[[i, j]])[0])
        walks["line"].append(vae.decode(model, np.asarray(ops.lerp(a, b, t))))
        walks["arc"].append(vae.decode(model, np.asarray(ops.slerp(a, b, t))))
        weight = np.asarray(t)[:, None, None, None]
        walks["pixels"].append((1 - weight) * images[i] + weight * images[j])
    captions = {
        "line": "Straight lines between two codes.",
        "arc": "Arcs, which keep the codes' length.",
        "pixels": "For comparison, pixels mixed: two images at once.",
    }
    return Section(
        "Walks",
        "From the reconstruction of one test image to that of another.",
        figures=[
            Figure(report.sheet(np.concatenate(walks[name]), columns=FRAMES), text)
            for name, text in captions.items()
        ],
    )


def attribute_section(
    model: Vae, splits: data.Splits, classifier: Evaluator
) -> tuple[Section, float]:
    """Turns one class into another by adding a direction; how often the evaluator agrees."""
    source, target = 3, 8
    labels = splits.train["labels"]
    chosen = np.isin(labels, (source, target))
    codes = jnp.asarray(vae.encode(model, splits.train["image"][chosen])[0])
    present = jnp.asarray(labels[chosen] == target)
    mean = ops.mean_direction(codes, present)
    normal = ops.fisher_direction(codes, present)
    # As long as needed to cover the distance of the means along it.
    directions = {"means": mean, "normal": normal * jnp.sum(normal * mean)}
    images = splits.test["image"][splits.test["labels"] == source]
    start = jnp.asarray(vae.encode(model, images)[0])
    rows, figures = [], []
    captions = {
        "means": "Along the difference of the class means.",
        "normal": "Along the normal of the plane that separates the classes (Fisher).",
    }
    for name, direction in directions.items():
        shares = []
        for step in (0.0, 0.5, 1.0, 1.5, 2.0):
            shifted = vae.decode(model, np.asarray(start + step * direction[None]))
            shares.append(float(np.mean(classifier.labels(shifted) == target)))
        rows.append((captions[name].rstrip("."), *shares))
        steps = jnp.linspace(0, 2, FRAMES)[:, None]
        frames = [np.asarray(z[None] + steps * direction[None]) for z in start[:4]]
        shown = report.sheet(vae.decode(model, np.concatenate(frames)), columns=FRAMES)
        figures.append(Figure(shown, captions[name]))
    names = [splits.classes[label] for label in (source, target)]
    section = Section(
        "Directions",
        f"From {names[0]} towards {names[1]}, up to twice the distance of the class means. The "
        f"table has the share of all test images of class {names[0]} that the evaluator takes for "
        f"{names[1]} after a step of that many distances.",
        figures=figures,
        table=Table(("direction", "0", "½", "1", "1½", "2"), rows),
    )
    return section, rows[0][-1]


def train_on_sprites(config: Config, beta: float, sprites: dict[str, np.ndarray], out: Path) -> Vae:
    """A β-VAE of ten units."""
    shape = sprites["image"].shape[1:]
    key_init, key_train = jax.random.split(jax.random.key(config.seed))
    rngs, size = nnx.Rngs(key_init), (config.sprite_hidden, config.sprite_hidden)
    model = Vae(
        dense_encoder(shape, 20, hidden=size, rngs=rngs),
        DenseDecoder(10, shape, hidden=size, rngs=rngs),
    )
    examples = {"image": sprites["image"], "labels": sprites["factors"][:, 0]}
    warmup: Any = optax.linear_schedule(0.0, beta, max(config.sprite_steps // 4, 1))
    objective = partial(objectives.elbo, beta=warmup, reconstruction=objectives.bernoulli_nll)
    model, _ = train.fit(
        key_train,
        model,
        objective,
        adam(optax.cosine_decay_schedule(2e-3, config.sprite_steps)),
        data.batches(examples, batch_size=64, seed=config.seed),
        steps=config.sprite_steps,
        out=out / "sprites" / f"beta-{beta}",
        log_every=config.sprite_steps,
    )
    return model


def disentanglement(model: Vae, sprites: dict[str, np.ndarray]) -> dict[str, float]:
    """All scores, and how good and how expensive the codes are."""
    codes, _ = vae.encode(model, sprites["image"])
    factors, key = sprites["factors"], jax.random.key(0)
    dci = metrics.dci(key, codes, factors)
    rebuilt = vae.decode(model, codes)
    return {
        "squared error of a pixel": float(np.mean((rebuilt - sprites["image"]) ** 2)),
        "active units": int(metrics.active_units(jnp.asarray(codes))),
        "MIG": metrics.mutual_information_gap(codes, factors),
        "SAP": metrics.separated_attributes(codes, factors),
        "FactorVAE": metrics.factor_vae_score(key, codes, factors),
        "DCI disentanglement": dci.disentanglement,
        "DCI completeness": dci.completeness,
        "DCI informativeness": dci.informativeness,
    }


def traversal_section(model: Vae, beta: float, sprites: dict[str, np.ndarray]) -> Section:
    """Each active unit moved through 2.5 deviations either way, the others fixed."""
    codes, _ = vae.encode(model, sprites["image"])
    spread = codes.std(axis=0)
    order = np.argsort(-spread)[: max(int((spread > 0.1).sum()), 1)]
    base = codes[len(codes) // 2 + 28]
    rows = np.repeat(base[None], FRAMES * len(order), axis=0).reshape(len(order), FRAMES, -1)
    for row, unit in zip(rows, order, strict=True):
        row[:, unit] = np.linspace(-2.5, 2.5, FRAMES) * spread[unit]
    shown = report.sheet(vae.decode(model, rows.reshape(-1, len(base))), columns=FRAMES)
    return Section(
        "Units",
        f"A row for each active unit of the VAE with β = {beta:g}, moved through 2.5 deviations "
        f"either way. The factors are {', '.join(FACTORS)}.",
        figures=[Figure(shown, f"Units {', '.join(map(str, order))}, from top to bottom.")],
    )


def scores_section(scores: dict[float, dict[str, float]]) -> Section:
    """A row for each weight."""
    names = list(next(iter(scores.values())))
    rows = [(f"{beta:g}", *(one[name] for name in names)) for beta, one in scores.items()]
    return Section(
        "Disentanglement",
        "1 is best: each unit means one factor; by chance FactorVAE has 0.25 here. The number at "
        "the top is the best of these rows, which flatters it. One seed: other seeds move these "
        "scores, so that small differences mean nothing.",
        table=Table(("β", *names), rows),
    )
